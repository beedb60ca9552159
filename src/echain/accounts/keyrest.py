"""Routes of API keys. No key opens them: who holds one can neither make more nor lengthen its life."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final
from uuid import UUID

import msgspec

from echain.accounts import keys
from echain.accounts.authentication import Authenticator
from echain.accounts.types import ApiKey, ApiKeyNotFound, Ended, IssuedKey, TooManyKeys
from echain.edge.http import SESSIONS_ONLY, Auth, Call, Endpoint, Moment, Nothing, Reply, delete, get, post
from echain.infra.database import Database

TAG: Final = SESSIONS_ONLY
_NO_STORE: Final = (("Cache-Control", "no-store"),)


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a new key is for."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]
    scopes: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            min_length=1, max_length=64, description="Such as `events:read`; see GET /api-keys/scopes"
        ),
    ]
    expires_at: Moment | None = None


class KeyPath(msgspec.Struct, frozen=True):
    """A key in a path."""

    id: UUID


def endpoints(database: Database, authenticator: Authenticator, *, scopes: Collection[str]) -> list[Endpoint]:
    """Return the routes under ``/api/v1/api-keys``; keys may be given any of ``scopes``."""

    @post(
        "/api/v1/api-keys",
        summary="Make an API key",
        tag=TAG,
        answer=IssuedKey,
        body=NewKey,
        status=201,
        auth=Auth.USER,
        errors=(TooManyKeys,),
        description="The key is shown here and never again. Send it as `Authorization: Bearer <key>`.",
    )
    async def create(call: Call[Nothing, Nothing, NewKey]) -> Reply:
        body = call.body
        async with database.transaction() as tx:
            issued = await keys.create(
                tx,
                call.user,
                name=body.name,
                scopes=body.scopes,
                known_scopes=scopes,
                expires_at=body.expires_at,
                now=call.now,
            )
        return Reply(issued, headers=_NO_STORE)

    @get("/api/v1/api-keys", summary="List my API keys", tag=TAG, answer=list[ApiKey], auth=Auth.USER)
    async def listed(call: Call[Nothing, Nothing, Nothing]) -> list[ApiKey]:
        return list(await keys.shown(database, call.user.id))

    @get("/api/v1/api-keys/scopes", summary="List what API keys may be allowed", tag=TAG, answer=list[str])
    async def allowed(_: Call[Nothing, Nothing, Nothing]) -> list[str]:
        return sorted(scopes)

    @delete(
        "/api/v1/api-keys/{id}",
        summary="Revoke an API key",
        tag=TAG,
        answer=Ended,
        auth=Auth.USER,
        path_params=KeyPath,
        errors=(ApiKeyNotFound,),
    )
    async def revoke(call: Call[KeyPath, Nothing, Nothing]) -> Ended:
        async with database.transaction() as tx:
            await keys.revoke(tx, call.user.id, call.path.id, now=call.now)
        authenticator.forget({call.path.id})
        return Ended(1)

    return [create, listed, allowed, revoke]
