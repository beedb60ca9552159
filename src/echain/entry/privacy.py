"""What every part of the platform holds of people, in the order in which it is forgotten."""

from __future__ import annotations

from datetime import datetime

from echain.accounts import oidc, personalrest
from echain.accounts import personal as accounts
from echain.accounts.service import Authenticator
from echain.admission import personal as admission
from echain.chain import personal as chain
from echain.chain.contractwallet import ContractWallets
from echain.edge.http import Endpoint
from echain.edge.http.idempotency_store import forget_answers
from echain.entry.connections import Services
from echain.events import personal as events
from echain.infra import messagestore
from echain.infra.audit import ClientSeals
from echain.infra.audit import personal as audit
from echain.infra.config import Config
from echain.infra.crypto import DataKeys
from echain.infra.database import Tx
from echain.infra.personal import Holding, Subject
from echain.infra.quota import Quotas
from echain.kernel.evm import checksum
from echain.media import personal as media
from echain.notify import personal as notify
from echain.organizations import personal as organizations
from echain.security import personal as security
from echain.tickets import personal as tickets
from echain.webhooks import personal as webhooks


async def _forget_traffic(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Forget kept answers, and the words of what the user's channels told within a day."""
    await forget_answers(tx, f"user:{subject.user_id}")
    channels = [f"user:{subject.user_id}", *(f"user:{checksum(wallet)}" for wallet in subject.wallets)]
    await messagestore.blank(tx, channels, "notification")


TRAFFIC = Holding(forget=_forget_traffic)
"""Copies, kept for a day, of what other parts hold: nothing of its own to show."""


def holdings(keys: DataKeys) -> list[Holding]:
    """Return every part's, those that refer to others first; ``keys`` open what is sealed."""
    return [
        security.HOLDING,
        webhooks.HOLDING,
        notify.holding(keys),
        admission.HOLDING,
        tickets.HOLDING,
        events.HOLDING,
        media.HOLDING,
        organizations.HOLDING,
        chain.HOLDING,
        TRAFFIC,
        audit.holding(ClientSeals(keys)),
        oidc.holding(keys),
        accounts.HOLDING,
    ]


def personal_endpoints(config: Config, parts: Services, users: Authenticator) -> list[Endpoint]:
    """Return the routes by which people see what is held of them, and have it erased."""
    return personalrest.endpoints(
        parts.database,
        users,
        Quotas(parts.redis),
        holdings(DataKeys(config.data_keys)),
        wallets=ContractWallets(parts.rpcs),
        refusals=(organizations.HandOverFirst, events.EventsRunning, accounts.StillAdministrator),
    )
