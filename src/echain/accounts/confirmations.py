"""Fresh signatures: what is dangerous is signed by the wallet in words before it is done, each time anew.

A session alone, stolen or left open, does none of it. The platform writes the text (EIP-4361) and keeps it;
what counts is a signature over that very text, so there is nothing in it to alter.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.accounts import confirmationstore, rules, siwe
from echain.accounts.confirmationstore import Asked
from echain.accounts.signature import parse_signature, personal_digest, require_signed_by
from echain.accounts.types import (
    Confirmation,
    ConfirmationInvalid,
    ConfirmationNeeded,
    SignatureInvalid,
    SignatureMalformed,
    address_of,
)
from echain.chain.contractwallet import ContractWallets
from echain.edge.http import Caller
from echain.infra.database import Database, Tx
from echain.kernel.errors import invalid_field
from echain.kernel.evm import checksum
from echain.kernel.ids import uuid7
from echain.kernel.time import rfc3339

HEADER: Final = "echain-confirmation"
MOST_OPEN: Final = 10
"""How many a session may have open; the oldest give way."""
MOST_FAILURES: Final = 5
"""With so many wrong signatures a confirmation is over."""

_SHOWN: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(0x[0-9a-fA-F]+)")


class Confirmed(msgspec.Struct, frozen=True):
    """A confirmation that the wallet signed; it is still to be consumed, by `consume`."""

    id: UUID
    session_id: UUID
    at: datetime


async def ask(
    tx: Tx,
    party: siwe.RelyingParty,
    user: Caller,
    action: str,
    target: str,
    *,
    chain_id: int | None,
    now: datetime,
) -> Confirmation:
    """Return the text that the session's wallet signs to confirm one action, within 5 minutes, once.

    ``chain_id`` is where a contract wallet's code is asked; a key's signature needs no chain.

    Raises:
        Invalid: there is no such action, it has no such target, or the chain is not configured here.
        WalletNeeded: the user signed in without one.
    """
    address = address_of(user)
    assert user.session is not None, "only sessions open this"
    sentence = rules.sentence(action, target)
    if sentence is None:
        raise invalid_field(
            "action" if action not in rules.ACTIONS else "target", "see the route's description"
        )
    chain = str(chain_id or min(map(int, party.chain_ids)))
    if chain not in party.chain_ids:
        raise invalid_field("chainId", f"one of {', '.join(sorted(party.chain_ids))}")
    confirmation_id, expires_at = uuid7(), now + rules.CONFIRMATION_LIFE
    text = siwe.worded(
        party,
        checksum(address),
        statement=f"{sentence} Sign only if you asked for this yourself.",
        chain_id=chain,
        nonce=secrets.token_hex(16),
        issued_at=rfc3339(now),
        expiration_time=rfc3339(expires_at),
        request_id=str(confirmation_id),
    )
    asked = Asked(
        confirmation_id, user.id, user.session, address, action, target, int(chain), text, expires_at
    )
    await confirmationstore.insert(tx, asked, most_open=MOST_OPEN, now=now)
    return Confirmation(confirmation_id, action, target, text, expires_at)


async def verify(
    database: Database,
    wallets: ContractWallets | None,
    caller: Caller,
    header: str | None,
    *,
    action: str,
    target: str,
    now: datetime,
) -> Confirmed:
    """Return what proves that the caller's wallet has just signed for this action on this target.

    ``header`` is the request's `Echain-Confirmation`. Call it before the transaction, as a contract wallet
    may have to be asked, and `consume` inside.

    Raises:
        ConfirmationNeeded: none is shown; the details say what to ask for.
        ConfirmationInvalid: it was used, has expired, or is for something or somebody else, or the wallet
            did not sign it: that counts as a guess, and five times end it.
        SignatureUnverifiable: the contract could not be asked.
    """
    if not header:
        raise needed(action, target)
    shown = _SHOWN.fullmatch(header)
    asked = shown and await confirmationstore.find(database, UUID(shown[1]), now=now)
    if not shown or not asked or not _is_for(asked, caller, action, target):
        raise ConfirmationInvalid
    digest = personal_digest(asked.message)
    try:
        signature = parse_signature(shown[2])
        try:
            require_signed_by(asked.address, digest, signature)
        except (SignatureInvalid, SignatureMalformed):
            if wallets is None or not await wallets.accepts(asked.chain_id, asked.address, digest, signature):
                raise
    except (SignatureInvalid, SignatureMalformed) as error:
        await confirmationstore.fail(database, asked.id, most=MOST_FAILURES, now=now)
        raise ConfirmationInvalid.guessed() from error
    return Confirmed(asked.id, asked.session_id, now)


def needed(action: str, target: str) -> ConfirmationNeeded:
    """Return the refusal of what nobody has signed for; its details say what to ask for."""
    return ConfirmationNeeded(action=action, target=target, ask="POST /api/v1/auth/confirmations")


async def consume(tx: Tx, confirmed: Confirmed) -> None:
    """Use a confirmation up, with what it confirms or not at all; of those who race one gets through.

    Raises:
        ConfirmationInvalid: it was used meanwhile.
    """
    if not await confirmationstore.delete(tx, confirmed.id, confirmed.session_id, now=confirmed.at):
        raise ConfirmationInvalid


def _is_for(asked: Asked, caller: Caller, action: str, target: str) -> bool:
    return (asked.user_id, asked.session_id, asked.address, asked.action, asked.target) == (
        caller.id,
        caller.session,
        caller.address,
        action,
        target,
    )
