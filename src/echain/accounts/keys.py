"""API keys: what programs call with in a user's name, each within its scopes and until it expires."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from echain.accounts import keystore
from echain.accounts.tokens import KEY_PREFIX, hashed, new_token
from echain.accounts.types import ApiKey, ApiKeyNotFound, IssuedKey, KeyLimits, TooManyKeys
from echain.edge.http import Caller
from echain.infra.database import Database, Row, Tx
from echain.kernel.errors import Invalid, invalid_field
from echain.kernel.ids import uuid7

MOST_LIVE: Final = 50
MAX_SHOWN: Final = 200
LIFE: Final = timedelta(days=90)
LONGEST_LIFE: Final = timedelta(days=366)
_DEAD_KEPT: Final = timedelta(days=30)
_SHOWN: Final = 12


async def create(
    tx: Tx,
    user: Caller,
    *,
    name: str,
    scopes: Collection[str],
    known_scopes: Collection[str],
    limits: KeyLimits,
    most: KeyLimits,
    expires_at: datetime | None,
    now: datetime,
) -> IssuedKey:
    """Return a new key, whose secret is told here and never again; without an end it lives for 90 days.

    ``most`` is what users may do: a key's own ``limits`` lie within.

    Raises:
        Invalid: a scope does not exist, a limit is above a user's, or the end is past or more than 366 days
            away.
        TooManyKeys: the user has 50 live keys.
    """
    unknown = sorted(set(scopes) - set(known_scopes))
    if unknown or not scopes:
        known = ", ".join(sorted(known_scopes))
        raise Invalid(
            f"scopes: {', '.join(unknown) or 'none'} given; there are {known}",
            fields=[{"path": "scopes", "reason": f"choose among {known}"}],
        )
    expires_at = expires_at or now + LIFE
    if not now < expires_at <= now + LONGEST_LIFE:
        reason = f"lies between now and {LONGEST_LIFE.days} days from now"
        raise Invalid(f"expiresAt: {reason}", fields=[{"path": "expiresAt", "reason": reason}])
    _check_limits(limits, most)
    secret = new_token(KEY_PREFIX)
    key = keystore.NewKey(
        id=uuid7(),
        user_id=user.id,
        address=user.address,
        name=name,
        prefix=secret[:_SHOWN],
        hash=hashed(secret),
        scopes=sorted(set(scopes)),
        created_at=now,
        expires_at=expires_at,
        most_writes=limits.writes,
        most_reads=limits.reads,
    )
    if not await keystore.insert_key(tx, key, most_live=MOST_LIVE, forget_before=now - _DEAD_KEPT):
        raise TooManyKeys
    return IssuedKey(
        id=key.id,
        name=name,
        prefix=key.prefix,
        scopes=tuple(key.scopes),
        limits=limits,
        created_at=now,
        expires_at=expires_at,
        key=secret,
    )


async def shown(database: Database, user_id: UUID) -> Sequence[ApiKey]:
    """Return a user's keys without their secrets, the newest first; dead ones stay visible for 30 days."""
    rows = await keystore.keys_of(database, user_id, limit=MAX_SHOWN)
    return [_shown(row) for row in rows]


async def change(
    tx: Tx, user_id: UUID, key_id: UUID, *, name: str, limits: KeyLimits, most: KeyLimits, now: datetime
) -> tuple[ApiKey, ApiKey]:
    """Rename a key and limit it anew, in every process once ``tx`` commits; return it before and after.

    What it used of a window that is under way stays used.

    Raises:
        ApiKeyNotFound: the user has no such live key.
        Invalid: a limit is above a user's.
    """
    row = await keystore.lock_key(tx, user_id, key_id, now=now)
    if row is None:
        raise ApiKeyNotFound
    _check_limits(limits, most)
    await keystore.change_key(tx, key_id, name=name, most_writes=limits.writes, most_reads=limits.reads)
    before = _shown(row)
    return before, msgspec.structs.replace(before, name=name, limits=limits)


def _shown(row: Row) -> ApiKey:
    return ApiKey(
        id=row["id"],
        name=row["name"],
        prefix=row["prefix"],
        scopes=tuple(row["scopes"]),
        limits=KeyLimits(row["most_writes"], row["most_reads"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )


def _check_limits(limits: KeyLimits, most: KeyLimits) -> None:
    for name in ("writes", "reads"):
        wanted, bound = getattr(limits, name), getattr(most, name)
        if wanted is not None and bound is not None and wanted > bound:
            raise invalid_field(f"limits.{name}", f"is at most {bound}, which is what you may do yourself")


async def revoke_all(tx: Tx, user_id: UUID, *, now: datetime) -> Sequence[UUID]:
    """End all keys of a user, in every process once ``tx`` commits; return which were live."""
    return await keystore.revoke_all(tx, user_id, now=now)


async def revoke(tx: Tx, user_id: UUID, key_id: UUID, *, now: datetime) -> None:
    """End a key, in every process once ``tx`` commits.

    Raises:
        ApiKeyNotFound: the user has no such live key.
    """
    if not await keystore.revoke_key(tx, user_id, key_id, now=now):
        raise ApiKeyNotFound
