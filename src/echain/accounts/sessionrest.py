"""Routes of open sessions: who am I, which devices are signed in, what they are called, their end."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from echain.accounts import keys, service
from echain.accounts.authentication import Authenticator
from echain.accounts.types import Ended, Me, Session, SessionNotFound
from echain.edge.http import Auth, Call, Caller, Endpoint, Nothing, Reply, delete, get, post, put
from echain.infra.database import Database
from echain.kernel.evm import checksum

TAG: Final = "auth"


class SessionPath(msgspec.Struct, frozen=True):
    """A session in a path."""

    id: UUID


class Everywhere(msgspec.Struct, frozen=True):
    """What ends besides all sessions."""

    keys: Annotated[bool, msgspec.Meta(description="Revoke all API keys as well")] = False


class DeviceName(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What its user calls a device; null takes the name away."""

    name: (
        Annotated[
            str, msgspec.Meta(min_length=1, max_length=80, description="Letters, digits, signs, spaces")
        ]
        | None
    )


def endpoints(database: Database, authenticator: Authenticator) -> list[Endpoint]:
    """Return the routes of the caller's sessions."""
    return [*_reading(database, authenticator), _naming(database), *_ending(database, authenticator)]


def _reading(database: Database, authenticator: Authenticator) -> list[Endpoint]:
    @get(
        "/api/v1/auth/me",
        summary="Who am I",
        tag=TAG,
        answer=Me,
        auth=Auth.USER,
        description="`csrfToken` is there for sessions that come by cookie.",
    )
    async def me(call: Call[Nothing, Nothing, Nothing]) -> Reply:
        caller = call.user
        address = None if caller.address is None else checksum(caller.address)
        session = session_of(caller)
        csrf = authenticator.tokens.csrf.token(session) if caller.cookie else None
        return Reply(Me(caller.id, address, session, csrf), headers=(("Cache-Control", "no-store"),))

    @get("/api/v1/auth/sessions", summary="List my sessions", tag=TAG, answer=list[Session], auth=Auth.USER)
    async def sessions(call: Call[Nothing, Nothing, Nothing]) -> list[Session]:
        return await service.sessions(database, call.user.id, current=call.user.session, now=call.now)

    return [me, sessions]


def _naming(database: Database) -> Endpoint:
    @put(
        "/api/v1/auth/sessions/{id}",
        summary="Name a device",
        tag=TAG,
        answer=Session,
        body=DeviceName,
        auth=Auth.USER,
        path_params=SessionPath,
        errors=(SessionNotFound,),
    )
    async def name(call: Call[SessionPath, Nothing, DeviceName]) -> Session:
        async with database.transaction() as tx:
            named = await service.name_session(tx, call.user, call.path.id, call.body.name, now=call.now)
            # What a device is called is its owner's own affair.
            diff = {"device": ["", named.device]}
            await call.audit(tx, "session.named", resource=f"session:{call.path.id}", diff=diff)
            return named

    return name


def _ending(database: Database, authenticator: Authenticator) -> list[Endpoint]:
    def ended(call: Call[Any, Any, Any], number: int, *, mine: bool) -> Reply:
        """Answer, and have the browser forget the cookies of its own session."""
        cookies = authenticator.cookies.clear() if mine and call.user.cookie else ()
        return Reply(Ended(number), cookies=cookies)

    @post("/api/v1/auth/logout", summary="Sign out", tag=TAG, answer=Ended, auth=Auth.USER)
    async def logout(call: Call[Nothing, Nothing, Nothing]) -> Reply:
        session = session_of(call.user)
        async with database.transaction() as tx:
            await service.sign_out(tx, call.user.id, session, now=call.now)
            await call.audit(tx, "session.ended", resource=f"session:{session}")
        authenticator.forget({session})
        return ended(call, 1, mine=True)

    @delete(
        "/api/v1/auth/sessions",
        summary="Sign out everywhere",
        tag=TAG,
        answer=Ended,
        auth=Auth.USER,
        query=Everywhere,
        description="API keys go on, unless `keys=true` revokes them too: whoever had a session may have "
        "made one. `ended` counts both.",
    )
    async def logout_everywhere(call: Call[Nothing, Everywhere, Nothing]) -> Reply:
        async with database.transaction() as tx:
            # Keys first: they lock the user, whom others lock before sessions.
            revoked = await keys.revoke_all(tx, call.user.id, now=call.now) if call.query.keys else ()
            sessions = await service.sign_out_everywhere(tx, call.user.id, now=call.now)
            gone = [*sessions, *revoked]
            diff = {"ended": [None, [str(one) for one in gone]]}
            await call.audit(tx, "session.all_ended", resource=f"user:{call.user.id}", diff=diff)
        authenticator.forget(set(gone))
        return ended(call, len(gone), mine=True)

    @delete(
        "/api/v1/auth/sessions/{id}",
        summary="Sign one device out",
        tag=TAG,
        answer=Ended,
        auth=Auth.USER,
        path_params=SessionPath,
        errors=(SessionNotFound,),
    )
    async def end(call: Call[SessionPath, Nothing, Nothing]) -> Reply:
        async with database.transaction() as tx:
            await service.end_session(tx, call.user.id, call.path.id, now=call.now)
            await call.audit(tx, "session.ended", resource=f"session:{call.path.id}")
        authenticator.forget({call.path.id})
        return ended(call, 1, mine=call.path.id == call.user.session)

    return [logout, logout_everywhere, end]


def session_of(caller: Caller) -> UUID:
    """Return the session of a caller whom no key brought."""
    assert caller.session is not None, "users come with their session"
    return caller.session
