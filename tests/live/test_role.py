"""`echain realtime` for real: ends in time, waits for its database, keeps private channels private."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.live.role import ROOM, Role, fans, relaying, say, signed_in
from websockets import InvalidStatus
from websockets.asyncio.client import connect

from echain.accounts import store
from echain.infra.database import Database
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis
from echain.kernel.evm import Address, checksum
from echain.kernel.time import utc_now

ADA = Address(b"\xaa" * 20)
BO = Address(b"\xbb" * 20)


async def test_a_restart_asks_all_to_come_back_and_ends_in_time(
    database: Database, own_redis: Redis, role: Callable[..., Role]
) -> None:
    one = role()
    one.start()
    await one.until_ready()
    async with fans(300, one) as crowd:
        for fan in crowd:
            fan.stopped = True
        status, seconds = await asyncio.to_thread(one.stop)
        assert status == 0, one.log[-2000:]
        assert seconds < 5
        assert [fan.closes for fan in crowd] == [[1012]] * 300
    assert '"level":"error"' not in one.log
    assert "Traceback" not in one.log


async def test_deliveries_are_counted_once_however_often_they_are_asked_for(
    database: Database, own_redis: Redis, role: Callable[..., Role]
) -> None:
    one = role()
    one.start()
    async with relaying(database, own_redis):
        await one.until_ready()
        async with connect(f"{one.ws}/ws/events") as client:
            await client.send(json.dumps({"op": "subscribe", "channels": [ROOM]}))
            await client.recv()
            for more, told in ((3, 3), (2, 5)):
                await say(database, more)
                while json.loads(await client.recv())["id"] != str(told):
                    pass
                for _ in range(2):
                    counted = await asyncio.to_thread(one.metric, "echain_live_deliveries_total")
                    assert counted == told


async def test_it_waits_for_a_database_that_is_not_there_yet(
    tmp_path: Path, own_postgres: Postgres, own_redis: Redis
) -> None:
    url = own_postgres.url()
    own_postgres.stop()
    one = Role(tmp_path, url, own_redis.url)
    one.start()
    try:
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(listens, one):
                await asyncio.sleep(0.05)
        assert not one._ready()
        async with connect(f"{one.ws}/ws/events") as client:
            await client.send(json.dumps({"op": "subscribe", "channels": [ROOM]}))
            own_postgres.start()
            async with asyncio.timeout(20):
                assert json.loads(await client.recv())["type"] == "subscribed"
    finally:
        one.kill()


def listens(role: Role) -> bool:
    import urllib.request

    try:
        with urllib.request.urlopen(f"{role.http}/health/live", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


async def test_private_channels_belong_to_their_wallet_until_the_session_ends(
    database: Database, own_redis: Redis, role: Callable[..., Role]
) -> None:
    """Every kind of channel for nobody, for its owner and for somebody else; then sign-out, then expiry."""
    one = role()
    one.start()
    token, session = await signed_in(database, ADA)
    short, _ = await signed_in(database, BO, seconds=4)
    ada, bo = checksum(ADA), checksum(BO)
    await one.until_ready()
    public = [ROOM, "market"]
    private = [f"user:{ada}", f"organizer:{ada}", f"user:{ada.lower()}"]
    never = [
        "platform",
        "platform:x",
        "market:x",
        "user:0x12",
        "nonsense",
        "",
        "event:",
        f"event:{'0' * 36}",
        f"user:{ada[:-1]}X",
    ]

    async def joins(client, names: list[str]) -> set[str]:
        await client.send(json.dumps({"op": "subscribe", "channels": names}))
        answer = json.loads(await client.recv())["data"]
        assert len(answer["channels"]) + len(answer["refused"]) == len(names)
        return {joined["channel"] for joined in answer["channels"]}

    async with (
        relaying(database, own_redis),
        connect(f"{one.ws}/ws/events") as nobody,
        connect(f"{one.ws}/ws/events") as hers,
        connect(f"{one.ws}/ws/events") as his,
    ):
        assert await joins(nobody, [*public, *private, *never]) == set(public)
        for client, text in ((hers, token), (his, short)):
            await client.send(json.dumps({"op": "auth", "token": text}))
            assert json.loads(await client.recv())["type"] == "authenticated"
        assert await joins(hers, [*public, *private, *never]) == {*public, f"user:{ada}", f"organizer:{ada}"}
        assert await joins(his, [*private, *never, f"user:{bo}"]) == {f"user:{bo}"}
        await say(database, 1, f"user:{ada}")
        assert json.loads(await hers.recv())["channel"] == f"user:{ada}"
        async with database.transaction() as tx:
            row = await tx.fetchrow("SELECT user_id FROM sessions WHERE id = $1", session)
            assert row is not None
            await store.end_session(tx, row["user_id"], session, by="logout", now=utc_now())
        async with asyncio.timeout(5):
            ended = json.loads(await hers.recv())
        assert (ended["type"], ended["data"]["reason"]) == ("unauthorized", "revoked")
        assert ended["data"]["channels"] == sorted([f"user:{ada}", f"organizer:{ada}"])
        await say(database, 1, f"user:{ada}")
        await say(database, 1)
        assert json.loads(await hers.recv())["channel"] == ROOM, (
            "public channels stay, private ones are silent"
        )
        await hers.send(json.dumps({"op": "auth", "token": token}))
        assert json.loads(await hers.recv())["data"]["code"] == "live.token_invalid"
        async with asyncio.timeout(8):
            ended = json.loads(await his.recv())
        assert (ended["type"], ended["data"]["reason"]) == ("unauthorized", "expired")
    assert token not in one.log


async def test_it_says_so_when_it_may_open_few_files_and_keeps_within_them(
    own_redis: Redis, role: Callable[..., Role]
) -> None:
    one = role()
    one.files = 300
    one.start()
    await one.until_ready()
    assert "realtime.few_files" in one.log
    while await asyncio.to_thread(one.metric, "echain_live_connections"):
        await asyncio.sleep(0.05)  # whoever asked whether it is ready has not gone yet
    async with AsyncExitStack() as held:
        for _ in range(300 - 256):
            await held.enter_async_context(connect(f"{one.ws}/ws/events"))
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{one.ws}/ws/events")
        assert refused.value.response.status_code == 503
