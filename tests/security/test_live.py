"""The channel of the platform is heard by administrators alone, and by nobody a moment longer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.live.role import Role, relaying, signed_in
from websockets.asyncio.client import ClientConnection, connect

from echain.accounts.admins import Administrators
from echain.infra.database import Database
from echain.infra.embedded.redis import Redis
from echain.infra.outbox import publish
from echain.kernel.evm import Address, checksum
from echain.kernel.messages import Message
from echain.kernel.time import utc_now

BOSS = Address(b"\xb0" * 20)
ADA = Address(b"\xad" * 20)
EVE = Address(b"\xee" * 20)
ALARM = {"id": "x", "kind": "balance_drift", "severity": "severe", "subject": "s", "facts": {}, "count": 1}


@pytest.fixture
def role(tmp_path: Path, database_url: str, own_redis: Redis) -> Iterator[Callable[[], Role]]:
    made: list[Role] = []

    def make() -> Role:
        made.append(Role(tmp_path, database_url, own_redis.url, {"ECHAIN_ADMINS": checksum(BOSS)}))
        return made[-1]

    yield make
    for one in made:
        one.kill()


class Ear:
    """A client that wants the channel of the platform."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client

    async def until(self, *kinds: str) -> dict[str, Any]:
        """Return the next message of one of these types."""
        async with asyncio.timeout(30):
            while True:
                message = json.loads(await self.client.recv())
                if message["type"] in kinds:
                    return message

    async def join(self) -> dict[str, Any]:
        """Ask for the channel; return what is heard and what is refused."""
        await self.client.send(json.dumps({"op": "subscribe", "channels": ["platform"]}))
        return (await self.until("subscribed"))["data"]


@asynccontextmanager
async def ear(role: Role, token: str | None) -> AsyncIterator[Ear]:
    async with connect(f"{role.ws}/ws/events") as client:
        one = Ear(client)
        if token is not None:
            await client.send(json.dumps({"op": "auth", "token": token}))
            await one.until("authenticated")
        yield one


async def tell(database: Database) -> None:
    async with database.transaction() as tx:
        await publish(tx, [Message(("platform",), "alarm", ALARM)])


async def test_administrators_hear_alarms_and_nobody_else_does(
    database: Database, own_redis: Redis, role: Callable[[], Role]
) -> None:
    one = role()
    one.start()
    boss, _ = await signed_in(database, BOSS)
    eve, _ = await signed_in(database, EVE)
    async with relaying(database, own_redis):
        await one.until_ready()
        async with ear(one, boss) as hears, ear(one, eve) as stranger, ear(one, None) as nobody:
            assert (await hears.join())["refused"] == []
            for other in (stranger, nobody):
                [refused] = (await other.join())["refused"]
                assert refused["code"] == "live.channel_private"
            await tell(database)
            message = await hears.until("alarm")
            assert (message["channel"], message["data"]) == ("platform", ALARM)


async def test_whoever_loses_the_role_leaves_the_channel_at_once_and_stays_signed_in(
    database: Database, own_redis: Redis, role: Callable[[], Role]
) -> None:
    one = role()
    one.start()
    admins = Administrators([BOSS])
    ada, _ = await signed_in(database, ADA)
    boss, _ = await signed_in(database, BOSS)
    async with relaying(database, own_redis):
        await one.until_ready()
        async with ear(one, ada) as hears, ear(one, boss) as stays:
            assert (await hears.join())["refused"]
            async with database.transaction() as tx:
                await admins.grant(tx, BOSS, ADA, now=utc_now())
            assert (await hears.join())["refused"] == []
            assert (await stays.join())["refused"] == []
            async with database.transaction() as tx:
                await admins.revoke(tx, BOSS, ADA)
            left = await hears.until("unauthorized")
            assert left["data"]["channels"] == ["platform"]
            assert (await hears.join())["refused"]
            own = f"user:{checksum(ADA)}"
            await hears.client.send(json.dumps({"op": "subscribe", "channels": [own]}))
            assert (await hears.until("subscribed"))["data"]["refused"] == []
            await tell(database)
            await stays.until("alarm")
            async with database.transaction() as tx:
                await publish(tx, [Message((own,), "test", {})])
            assert (await hears.until("alarm", "test"))["type"] == "test"
