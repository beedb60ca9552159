"""API keys: what programs call with in a user's name, each within its scopes and until it expires."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from echain.accounts import keystore
from echain.accounts.tokens import KEY_PREFIX, hashed, new_token
from echain.accounts.types import ApiKey, ApiKeyNotFound, IssuedKey, TooManyKeys
from echain.edge.http import Caller
from echain.infra.database import Database, Tx
from echain.kernel.errors import Invalid
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
    expires_at: datetime | None,
    now: datetime,
) -> IssuedKey:
    """Return a new key, whose secret is told here and never again; without an end it lives for 90 days.

    Raises:
        Invalid: a scope does not exist, or the end is past or more than 366 days away.
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
    )
    if not await keystore.insert_key(tx, key, most_live=MOST_LIVE, forget_before=now - _DEAD_KEPT):
        raise TooManyKeys
    return IssuedKey(
        id=key.id,
        name=name,
        prefix=key.prefix,
        scopes=tuple(key.scopes),
        created_at=now,
        expires_at=expires_at,
        key=secret,
    )


async def shown(database: Database, user_id: UUID) -> Sequence[ApiKey]:
    """Return a user's keys without their secrets, the newest first; dead ones stay visible for 30 days."""
    rows = await keystore.keys_of(database, user_id, limit=MAX_SHOWN)
    return [
        ApiKey(
            id=row["id"],
            name=row["name"],
            prefix=row["prefix"],
            scopes=tuple(row["scopes"]),
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            last_used_at=row["last_used_at"],
            revoked_at=row["revoked_at"],
        )
        for row in rows
    ]


async def revoke(tx: Tx, user_id: UUID, key_id: UUID, *, now: datetime) -> None:
    """End a key, in every process once ``tx`` commits.

    Raises:
        ApiKeyNotFound: the user has no such live key.
    """
    if not await keystore.revoke_key(tx, user_id, key_id, now=now):
        raise ApiKeyNotFound
