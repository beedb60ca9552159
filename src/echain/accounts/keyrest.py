"""Routes of API keys. No key opens them: who holds one can neither make more nor lengthen its life."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final
from uuid import UUID

import msgspec

from echain.accounts import keys, telling
from echain.accounts.admintypes import UserSuspended
from echain.accounts.authentication import Authenticator
from echain.accounts.types import ApiKey, ApiKeyNotFound, Ended, IssuedKey, KeyLimits, TooManyKeys
from echain.edge.http import (
    SESSIONS_ONLY,
    Auth,
    Call,
    Endpoint,
    Moment,
    Nothing,
    Reply,
    delete,
    get,
    post,
    put,
)
from echain.infra.audit import changed
from echain.infra.database import Database

TAG: Final = SESSIONS_ONLY
_NO_STORE: Final = (("Cache-Control", "no-store"),)
_WARNING: Final = (
    "It acts in your name until it expires or is revoked. If you did not make it, sign out everywhere and "
    "revoke your API keys."
)


KeyName = Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a new key is for."""

    name: KeyName
    scopes: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            min_length=1, max_length=64, description="Such as `events:read`; see GET /api-keys/scopes"
        ),
    ]
    limits: KeyLimits = KeyLimits()
    expires_at: Moment | None = None


class KeyUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a key is called and limited to from now on; its scopes and its end stay."""

    name: KeyName
    limits: KeyLimits = KeyLimits()


class KeyPath(msgspec.Struct, frozen=True):
    """A key in a path."""

    id: UUID


def endpoints(
    database: Database,
    authenticator: Authenticator,
    *,
    scopes: Collection[str],
    most: KeyLimits = KeyLimits(),  # noqa: B008 -- frozen
) -> list[Endpoint]:
    """Return the routes under ``/api/v1/api-keys``.

    Keys may be given any of ``scopes``, and limits of their own up to ``most``.
    """
    return [
        *_own(database, authenticator, most),
        _making(database, scopes, most),
        _scopes(scopes),
    ]


def _making(database: Database, scopes: Collection[str], most: KeyLimits) -> Endpoint:
    @post(
        "/api/v1/api-keys",
        summary="Make an API key",
        tag=TAG,
        answer=IssuedKey,
        body=NewKey,
        status=201,
        auth=Auth.USER,
        errors=(TooManyKeys, UserSuspended),
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
                limits=body.limits,
                most=most,
                expires_at=body.expires_at,
                now=call.now,
            )
            diff = {"scopes": [None, issued.scopes], "expiresAt": [None, issued.expires_at]}
            new = changed({}, _told(issued)) | diff
            await call.audit(tx, "api_key.created", resource=f"api_key:{issued.id}", diff=new)
            await telling.tell(
                tx, call.user.id, about="api_key_created", title="An API key was made", text=_WARNING
            )
        return Reply(issued, headers=_NO_STORE)

    return create


def _scopes(scopes: Collection[str]) -> Endpoint:
    @get("/api/v1/api-keys/scopes", summary="List what API keys may be allowed", tag=TAG, answer=list[str])
    async def allowed(_: Call[Nothing, Nothing, Nothing]) -> list[str]:
        return sorted(scopes)

    return allowed


def _own(database: Database, authenticator: Authenticator, most: KeyLimits) -> list[Endpoint]:
    @get("/api/v1/api-keys", summary="List my API keys", tag=TAG, answer=list[ApiKey], auth=Auth.USER)
    async def listed(call: Call[Nothing, Nothing, Nothing]) -> list[ApiKey]:
        return list(await keys.shown(database, call.user.id))

    @put(
        "/api/v1/api-keys/{id}",
        summary="Rename an API key, or limit it anew",
        tag=TAG,
        answer=ApiKey,
        auth=Auth.USER,
        path_params=KeyPath,
        body=KeyUpdate,
        errors=(ApiKeyNotFound,),
        description="Its scopes and its end stay; what it used of its limits under way stays used.",
    )
    async def change(call: Call[KeyPath, Nothing, KeyUpdate]) -> ApiKey:
        body, key_id = call.body, call.path.id
        async with database.transaction() as tx:
            before, after = await keys.change(
                tx, call.user.id, key_id, name=body.name, limits=body.limits, most=most, now=call.now
            )
            await call.audit(
                tx, "api_key.changed", resource=f"api_key:{key_id}", diff=changed(_told(before), _told(after))
            )
        authenticator.forget({key_id})
        return after

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
            await call.audit(
                tx,
                "api_key.revoked",
                resource=f"api_key:{call.path.id}",
                diff={"revokedAt": [None, call.now]},
            )
        authenticator.forget({call.path.id})
        return Ended(1)

    return [listed, change, revoke]


def _told(key: ApiKey) -> dict[str, object]:
    """Return what the audit log says of a key that may change; its label is its user's own, and not shown."""
    return {"label": key.name, "writes": key.limits.writes, "reads": key.limits.reads}
