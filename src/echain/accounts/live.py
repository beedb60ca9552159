"""Who listens to live updates: tokens, what ends them, and the channels that belong to one wallet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final
from uuid import UUID

import msgspec

from echain.accounts import store
from echain.accounts.accesstokens import AccessTokens, looks_like_token
from echain.accounts.admins import Administrators
from echain.accounts.authentication import Authenticator
from echain.accounts.cookies import SessionCookies
from echain.accounts.tokens import ACCESS_PREFIX, hashed, is_token
from echain.accounts.types import AccessTokenInvalid
from echain.edge.live.access import ChannelPrivate, Grant, Identity
from echain.infra.database import Database, DatabaseUnavailable
from echain.kernel.evm import checksum, parse_address
from echain.kernel.time import Clock

_RETRY_SECONDS: Final = 1.0


def token_cookie(*, https: bool) -> str:
    """Return the name of the cookie that may carry an access token."""
    return SessionCookies(https=https).token


class LiveSessions:
    """Tells whom an access token stands for now, and hears of every session that ends."""

    def __init__(self, database: Database, clock: Clock, tokens: AccessTokens) -> None:
        self._database = database
        self._clock = clock
        self._heard = 0
        self._ended: asyncio.Queue[UUID | None] = asyncio.Queue()
        self._tokens = tokens
        self._authenticator = Authenticator(database, clock, tokens, self._hear)

    async def identify(self, token: str) -> Identity | None:
        """Return whom a live token of a live session stands for.

        A session that ends while it is looked up is not returned as live: whoever calls this takes note of
        the identity before anything else is heard.

        Raises:
            DatabaseUnavailable: nobody can tell now.
        """
        try:
            while True:
                heard = self._heard
                bearer = await self._bearer(token)
                if bearer is None:
                    return None
                if heard == self._heard:
                    address = None if bearer.address is None else checksum(bearer.address)
                    return Identity(bearer.session_id, address, bearer.expires_at, bearer.user_id)
        except AccessTokenInvalid:
            return None

    async def _bearer(self, token: str) -> store.Bearer | None:
        now = self._clock()
        if looks_like_token(token):
            claims = self._tokens.read(token, now=now)
            bearer = await store.session_bearer(self._database, claims.sid, claims.sub, now=now)
            if bearer is not None and claims.expires_at < bearer.expires_at:
                return msgspec.structs.replace(bearer, expires_at=claims.expires_at)
            return bearer
        if is_token(token, ACCESS_PREFIX):
            return await store.bearer(self._database, hashed(token), now=now)
        return None

    async def follow(
        self,
        database_url: str,
        *,
        connected: Callable[[], Collection[UUID]],
        ended: Callable[[Collection[UUID]], None],
    ) -> None:
        """Call ``ended`` with sessions as they end, until cancelled; takes one connection of its own.

        After an outage those in ``connected`` are looked up, as nobody said meanwhile which of them ended.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._authenticator.follow(database_url))
            while True:
                session = await self._ended.get()
                if session is not None:
                    ended([session])
                elif sessions := list(connected()):
                    ended(await self._ended_among(sessions))

    async def _ended_among(self, sessions: list[UUID]) -> list[UUID]:
        while True:
            try:
                return await store.ended_among(self._database, sessions)
            except DatabaseUnavailable:
                await asyncio.sleep(_RETRY_SECONDS)

    def _hear(self, session: UUID | None) -> None:
        self._heard += 1
        self._ended.put_nowait(session)


async def platform_channel(
    database: Database, administrators: Administrators, identity: Identity | None
) -> Grant:
    """Return the channel of the platform, which administrators alone may hear; asks the database each time.

    Raises:
        ChannelPrivate: nobody signed in, or somebody else.
        DatabaseUnavailable: nobody can tell now.
    """
    address = None if identity is None or identity.address is None else parse_address(identity.address)
    if not await administrators.include(database, address):
        raise ChannelPrivate
    return Grant("platform", private=True)


def owned_channel(prefix: str, name: str, identity: Identity | None) -> Grant:
    """Return the channel of a wallet, which that wallet alone may hear.

    Raises:
        Invalid: the name is no address.
        ChannelPrivate: nobody signed in, or somebody else.
    """
    address = checksum(parse_address(name, path="channel"))
    if identity is None or identity.address != address:
        raise ChannelPrivate
    return Grant(f"{prefix}{address}", private=True)
