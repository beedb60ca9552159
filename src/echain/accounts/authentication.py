"""Who a token stands for, asked of PostgreSQL once and remembered for at most 30 s."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from echain.accounts import keystore, store
from echain.accounts.accesstokens import AccessTokens, Claims, check_times, looks_like_token
from echain.accounts.admins import Administrators
from echain.accounts.cookies import SessionCookies
from echain.accounts.tokens import ACCESS_PREFIX, KEY_PREFIX, hashed, is_token
from echain.accounts.types import AccessTokenInvalid, ApiKeyInvalid, CookieGrant, Grant
from echain.edge.http import Caller, Reply
from echain.edge.http.refused import RefusedCredentials
from echain.infra.database import Database, DatabaseUnavailable, connect
from echain.kernel.time import Clock

REMEMBERED: Final = timedelta(seconds=30)
CAPACITY: Final = 10_000
_RETRY_SECONDS: Final = 1.0
_NO_STORE: Final = (("Cache-Control", "no-store"),)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.accounts")


class Authenticator:
    """Calls `Caller`s by their access tokens and API keys.

    An access token's signature is checked once; whether its session lives, and whether its wallet
    administers the platform, is asked again every 30 s.

    A session or key that ends is refused at once in the process that ends it (`forget`), within a round
    trip in those that run `follow`, and after 30 s wherever neither reaches. The last 10,000 used are
    remembered, and as many refused ones.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        tokens: AccessTokens,
        on_ended: Callable[[UUID | None], None] | None = None,
        admins: Administrators | None = None,
    ) -> None:
        """``on_ended`` is told what `follow` hears: an ended session, or None when any may have ended.

        ``admins`` says whose wallet administers the platform; nobody's does without.
        """
        self._admins = admins or Administrators()
        self._on_ended = on_ended
        self._database = database
        self._clock = clock
        self.tokens = tokens
        self.cookies = SessionCookies(https=tokens.https)
        self._known: OrderedDict[bytes, tuple[Caller, datetime]] = OrderedDict()
        self._checked: OrderedDict[bytes, Claims] = OrderedDict()
        self._refused = RefusedCredentials()
        self._generation = 0

    async def __call__(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Caller | None:
        """Return the user whose token or key is in ``Authorization: Bearer``, None when none of ours is.

        Without a bearer, the user whose access token is in the cookie; one that does not hold any more is
        nobody's, as browsers keep sending it to pages that anyone may see.

        Raises:
            AccessTokenInvalid: it is one of ours by its looks, but expired, or its session ended.
            ApiKeyInvalid: the same of a key.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._caller(token)
        if "cookie" not in headers or not looks_like_token(token := cookies.get(self.cookies.token, "")):
            return None
        try:
            caller = await self._caller(token)
        except AccessTokenInvalid:
            return None
        return None if caller is None else msgspec.structs.replace(caller, cookie=True)

    async def _caller(self, token: str) -> Caller | None:
        key = hashed(token)
        now = self._clock()
        known = self._known.get(key)
        if known is not None and now < known[1]:
            self._known.move_to_end(key)
            return known[0]
        if looks_like_token(token):
            look_up = self._by_jwt
        elif is_token(token, ACCESS_PREFIX):
            look_up = self._by_token
        elif is_token(token, KEY_PREFIX):
            look_up = self._by_key
        else:
            return None
        self._refused.require_unheard(key, now)
        generation = self._generation
        self._known.pop(key, None)
        caller, expires_at = await look_up(token, key, now)
        if caller.session is not None and await self._admins.include(self._database, caller.address):
            caller = msgspec.structs.replace(caller, admin=True)
        # It may have ended between the reading and this line; then the row is not worth remembering.
        if generation == self._generation:
            self._known[key] = caller, min(now + REMEMBERED, expires_at)
            if len(self._known) > CAPACITY:
                self._known.popitem(last=False)
        return caller

    async def _by_jwt(self, token: str, key: bytes, now: datetime) -> tuple[Caller, datetime]:
        claims = self._checked.get(key)
        if claims is None:
            claims = self.tokens.read(token, now=now)
            self._checked[key] = claims
            if len(self._checked) > CAPACITY:
                self._checked.popitem(last=False)
        else:
            check_times(claims, now=now)
        bearer = await store.session_bearer(self._database, claims.sid, claims.sub, now=now)
        if bearer is None:
            raise self._refused.remember(key, AccessTokenInvalid.over(), now)
        caller = Caller("user", bearer.user_id, bearer.address, bearer.session_id)
        return caller, min(bearer.expires_at, claims.expires_at)

    async def _by_token(self, _token: str, key: bytes, now: datetime) -> tuple[Caller, datetime]:
        bearer = await store.bearer(self._database, key, now=now)
        if bearer is None:
            raise self._refused.remember(key, AccessTokenInvalid(), now)
        return Caller("user", bearer.user_id, bearer.address, bearer.session_id), bearer.expires_at

    async def _by_key(self, _token: str, key: bytes, now: datetime) -> tuple[Caller, datetime]:
        bearer = await keystore.key_bearer(self._database, key, now=now)
        if bearer is None:
            raise self._refused.remember(key, ApiKeyInvalid(), now)
        if not bearer.live:
            raise self._refused.remember(key, ApiKeyInvalid.over(), now)
        caller = Caller(
            "user",
            bearer.user_id,
            bearer.address,
            key=bearer.key_id,
            scopes=frozenset(bearer.scopes),
            writes=bearer.most_writes,
            reads=bearer.most_reads,
        )
        return caller, bearer.expires_at

    def granted(self, grant: Grant, *, in_cookies: bool, now: datetime) -> Reply:
        """Return the answer to whom a session was opened or renewed: with its tokens, or as cookies."""
        if not in_cookies:
            return Reply(grant, headers=_NO_STORE)
        csrf = self.tokens.csrf.token(grant.session_id)
        shown = CookieGrant(
            access_expires_at=grant.access_expires_at,
            refresh_expires_at=grant.refresh_expires_at,
            session_id=grant.session_id,
            user_id=grant.user_id,
            address=grant.address,
            csrf_token=csrf,
        )
        return Reply(shown, headers=_NO_STORE, cookies=self.cookies.write(grant, csrf=csrf, now=now))

    def forget(self, ended: AbstractSet[UUID]) -> None:
        """Drop what is remembered of these sessions and keys, and of users whose role has changed.

        Call it once that has committed.
        """
        self._generation += 1
        known = self._known.items()
        for key in [key for key, (one, _) in known if not ended.isdisjoint((one.session, one.key, one.id))]:
            del self._known[key]

    def forget_all(self) -> None:
        """Drop everything that is remembered."""
        self._generation += 1
        self._known.clear()

    async def follow(self, database_url: str) -> None:
        """Forget sessions that other processes end, until cancelled; takes one connection of its own.

        While PostgreSQL is away sessions end late, by 30 s at most.
        """
        hears = True
        while True:
            try:
                await self._listen(database_url)
                hears = True
            except DatabaseUnavailable as error:
                if hears:
                    _log.warning("accounts.revocations_unheard", reason=error.message)
                hears = False
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen(self, database_url: str) -> None:
        connection = await connect(database_url, name="echain sessions")
        lost = asyncio.Event()

        def ended(_connection: object) -> None:
            lost.set()

        try:
            connection.add_termination_listener(ended)
            await connection.add_listener(store.ENDED_CHANNEL, self._heard)
            self.forget_all()
            if self._on_ended is not None:
                self._on_ended(None)
            await lost.wait()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnavailable from error
        finally:
            connection.terminate()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        session = UUID(str(payload))
        self.forget({session})
        if self._on_ended is not None:
            self._on_ended(session)
