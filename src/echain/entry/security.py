"""The administrators of this installation, and the monitor that tells them of what should not happen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from echain.accounts import adminrest
from echain.accounts.admins import Administrators
from echain.accounts.authentication import Authenticator
from echain.chain.contractwallet import ContractWallets
from echain.edge.http import Endpoint
from echain.entry.addressbook import AddressBook
from echain.entry.connections import Services
from echain.entry.deployment import platform_key
from echain.infra.audit.chain import AuditKeys
from echain.infra.audit.verify import verify
from echain.infra.config import Config
from echain.infra.database import Database
from echain.infra.jobs import Handler, JobKind
from echain.kernel.time import utc_now
from echain.notify.rendering import Templates
from echain.notify.service import Reach
from echain.organizations import inviting
from echain.security import deskrest, jobs
from echain.security import rest as alarms_rest
from echain.security.hearing import NAME, Hearing, Valuables
from echain.security.jobs import Tools, Watched
from echain.security.service import Watchmen

__all__ = ["NAME", "administrators", "hearing", "security_endpoints", "security_handlers"]


def administrators(config: Config) -> Administrators:
    """Return who administers this platform, the appointed ones not counted."""
    return Administrators(config.admins, inviting.leave)


def hearing(config: Config) -> Hearing:
    """Return what hears the relay's messages."""
    chains = {one.chain_id: Valuables(one.alarm_value_wei, one.unit_scale) for one in config.chains}
    return Hearing(chains, utc_now)


def security_endpoints(
    config: Config, parts: Services, book: AddressBook, users: Authenticator
) -> list[Endpoint]:
    """Return the routes under ``/api/v1/admin``."""
    wallets = ContractWallets(parts.rpcs)
    return [
        *adminrest.endpoints(parts.database, users, administrators(config), wallets),
        *alarms_rest.endpoints(parts.database),
        *deskrest.endpoints(parts.database, parts.rpcs, lambda: book.deployments),
    ]


def security_handlers(config: Config, parts: Services, book: AddressBook) -> dict[JobKind[Any], Handler[Any]]:
    """Return what runs the jobs of security.

    Raises:
        KeyUnusable: the platform has no key whose balance could be watched.
    """
    keys = AuditKeys(config.audit_keys)

    async def audited(database: Database, span: timedelta) -> Sequence[str]:
        report = await verify(database, keys, since=utc_now() - span)
        return [f"row {one.number} of {one.chain}: {one.what}" for one in report.findings]

    tools = Tools(
        chains={one: _watched(config, parts, one) for one in parts.rpcs},
        deployments=lambda: book.deployments,
        platform=platform_key(config).address,
        watchmen=Watchmen(
            administrators(config), Templates(), Reach(email=config.smtp_url is not None, push=True)
        ),
        audit=audited,
        metrics=parts.metrics,
        clock=utc_now,
    )
    return jobs.handlers(tools)


def _watched(config: Config, parts: Services, chain_id: int) -> Watched:
    chain = config.chain(chain_id)
    return Watched(parts.rpcs[chain_id], chain.unit_scale, chain.max_log_span, chain.alarm_balance_wei)
