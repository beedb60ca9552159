"""Use cases of e-mail addresses: asked, verified, changed, removed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

from echain.infra.crypto import DataKeys
from echain.infra.database import Connection, Row, Tx
from echain.infra.jobs import enqueue
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import uuid7
from echain.kernel.mailbox import parse_email
from echain.kernel.time import rfc3339
from echain.notify import addressstore, rules, service, store
from echain.notify.addressstore import ADDRESS, ASKED, Verification
from echain.notify.facts import Told
from echain.notify.kinds import FAREWELL, VERIFY, AskAddress, Farewell
from echain.notify.rendering import Templates
from echain.notify.types import (
    Email,
    EmailNotFound,
    TooManyVerifications,
    VerificationUnknown,
)

_TOKEN: Final = re.compile(r"ecv_[A-Za-z0-9_-]{43}")
_PREFIX: Final = "ecv_"


def token_context(verification_id: UUID) -> str:
    """Return the context under which a verification's token is sealed in its job."""
    return f"notify.verify:{verification_id}"


def farewell_context(farewell_id: UUID) -> str:
    """Return the context under which an address is sealed in the job of its last mail."""
    return f"notify.farewell:{farewell_id}"


async def ask(
    tx: Tx, user_id: UUID, wallet: Address, email: str, keys: DataKeys, *, language: str, now: datetime
) -> Email:
    """Send an address a mail that asks whether it wants ours; until it agrees, nothing changes.

    Asking for the address that is verified already and works sends nothing. Otherwise each mail is a row,
    and the rows of a day are the limit: for the user, and for the address whoever asks.

    Raises:
        Invalid: no e-mail address.
        TooManyVerifications: asked too often; the details say when it may be asked again.
    """
    address = parse_email(email)
    plain = address.encode()
    found_by = ASKED.indexes(keys, plain)
    await addressstore.lock_user(tx, user_id)
    await service.begin(tx, user_id, language, now=now)
    known = await addressstore.address(tx, user_id)
    if known is not None and known["suspended_at"] is None and _opened(known, keys) == address:
        await addressstore.void_verifications(tx, user_id, now=now)
        return await shown(tx, user_id, keys, now=now)
    await addressstore.lock_address(tx, found_by)
    await _check_pause(tx, user_id, found_by, now)
    token, verification_id = _PREFIX + secrets.token_urlsafe(32), uuid7()
    await addressstore.insert_verification(
        tx,
        Verification(
            id=verification_id,
            user_id=user_id,
            sealed=ASKED.seal(keys, verification_id, plain),
            found_by=found_by[0],
            token_hash=_hashed(token),
            created_at=now,
            expires_at=now + rules.VERIFICATION_LIFE,
        ),
    )
    sealed = keys.seal(token.encode(), context=token_context(verification_id))
    chosen = (await store.settings_of(tx, [user_id]))[user_id].language
    await enqueue(tx, VERIFY, [AskAddress(verification_id, sealed, checksum(wallet), chosen)])
    return await shown(tx, user_id, keys, now=now)


async def ask_again(tx: Tx, user_id: UUID, wallet: Address, keys: DataKeys, *, now: datetime) -> Email:
    """Send the pending address another mail; the link in the one before ends.

    Raises:
        EmailNotFound: no address is pending.
        TooManyVerifications: see `ask`.
    """
    await addressstore.lock_user(tx, user_id)
    waiting = await addressstore.pending(tx, user_id, now=now)
    if waiting is None:
        raise EmailNotFound
    address = ASKED.open(keys, waiting["id"], waiting["sealed"]).decode()
    return await ask(tx, user_id, wallet, address, keys, language="en", now=now)


async def verify(tx: Tx, token: str, keys: DataKeys, templates: Templates, *, now: datetime) -> UUID:
    """Make the address of a link the user's own, and return whose; the one before, if any, is told.

    Raises:
        VerificationUnknown: no such link, used, replaced by a later one, or over a day old.
    """
    if not _TOKEN.fullmatch(token):
        raise VerificationUnknown
    await addressstore.lock_asker(tx, _hashed(token))
    row = await addressstore.use_verification(tx, _hashed(token), now=now)
    if row is None:
        raise VerificationUnknown
    user_id = row["user_id"]
    plain = ASKED.open(keys, row["id"], row["sealed"])
    before = await addressstore.address(tx, user_id)
    if before is not None and _opened(before, keys) != plain.decode():
        await _take_leave(tx, user_id, before, keys)
    await addressstore.keep_address(
        tx, user_id, ADDRESS.seal(keys, user_id, plain), ADDRESS.indexes(keys, plain)[0], now=now
    )
    await _tell(tx, user_id, "email_set", templates, now=now)
    return user_id


async def remove(tx: Tx, user_id: UUID, keys: DataKeys, templates: Templates, *, now: datetime) -> None:
    """Forget a user's address and what was asked; a last mail tells the address.

    Raises:
        EmailNotFound: there is neither.
    """
    await addressstore.lock_user(tx, user_id)
    asked = await addressstore.void_verifications(tx, user_id, now=now)
    before = await addressstore.address(tx, user_id)
    if before is not None:
        await _take_leave(tx, user_id, before, keys)
        await addressstore.remove_address(tx, user_id)
        await _tell(tx, user_id, "email_removed", templates, now=now)
    elif not asked:
        raise EmailNotFound


async def shown(connection: Connection, user_id: UUID, keys: DataKeys, *, now: datetime) -> Email:
    """Return a user's address as the user sees it."""
    known = await addressstore.address(connection, user_id)
    waiting = await addressstore.pending(connection, user_id, now=now)
    rows = await addressstore.asked_since(connection, user_id, [], now - rules.VERIFICATION_WINDOW)
    return Email(
        email=None if known is None else _opened(known, keys),
        verified_at=None if known is None else known["verified_at"],
        suspended=known is not None and known["suspended_at"] is not None,
        pending=None if waiting is None else ASKED.open(keys, waiting["id"], waiting["sealed"]).decode(),
        pending_until=None if waiting is None else waiting["expires_at"],
        resend_after=None
        if waiting is None
        else rules.may_verify_at([row["created_at"] for row in rows], now=now),
    )


async def _check_pause(tx: Tx, user_id: UUID, found_by: Sequence[bytes], now: datetime) -> None:
    rows = await addressstore.asked_since(tx, user_id, found_by, now - rules.VERIFICATION_WINDOW)
    of_user = [row["created_at"] for row in rows if row["own"]]
    of_address = [row["created_at"] for row in rows if row["same_address"]]
    again = max(rules.may_verify_at(of_user, now=now), rules.may_verify_at(of_address, now=now))
    if again > now:
        raise TooManyVerifications(
            None, retryAfterSeconds=int((again - now).total_seconds()) + 1, resendAfter=rfc3339(again)
        )


async def _take_leave(tx: Tx, user_id: UUID, before: Row, keys: DataKeys) -> None:
    """Have a last mail sent to an address that is not the user's any more: perhaps it was not them."""
    farewell_id, wallet = uuid7(), await service.wallet_of(tx, user_id)
    if wallet is None or before["suspended_at"] is not None:
        return
    sealed = keys.seal(_opened(before, keys).encode(), context=farewell_context(farewell_id))
    language = (await store.settings_of(tx, [user_id]))[user_id].language
    await enqueue(tx, FAREWELL, [Farewell(farewell_id, sealed, checksum(wallet), language, user_id)])


async def _tell(tx: Tx, user_id: UUID, about: str, templates: Templates, *, now: datetime) -> None:
    """Tell the user in the app that their address changed."""
    wallet = await service.wallet_of(tx, user_id)
    if wallet is None:
        return
    texts = {
        "email_set": ("Your e-mail address is confirmed", "Mail goes to it from now on."),
        "email_removed": ("Your e-mail address was removed", "No more mail is sent."),
    }
    told = Told(*texts[about], about)
    await service.warn(tx, wallet, told, templates, now=now, occasion=f"{about} {now.isoformat()}")


def _opened(row: Row, keys: DataKeys) -> str:
    return ADDRESS.open(keys, row["user_id"], row["sealed"]).decode()


def _hashed(token: str) -> bytes:
    return sha256(token.encode()).digest()
