"""Who hears an organizer's channel: members who see sales, and not a message longer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

from tests.live.role import ROOM, Role, relaying, say, signed_in
from tests.live.stage import ADA as STAGED_ADA
from tests.live.stage import Stage
from websockets.asyncio.client import ClientConnection, connect

from echain.edge.live.access import ChannelPrivate, Grant, Identity
from echain.infra.database import Database
from echain.infra.embedded.redis import Redis
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import uuid7
from echain.kernel.time import utc_now
from echain.organizations.service import tell_standing

ADA, BO, CY, DI, EVE = (Address(bytes([number]) * 20) for number in range(0xA1, 0xA6))
HOUSE = f"organizer:{checksum(ADA)}"


async def heard(client: ClientConnection, seconds: float = 10) -> Any:
    async with asyncio.timeout(seconds):
        return json.loads(await client.recv())


@asynccontextmanager
async def listening(role: Role, database: Database, address: Address) -> AsyncIterator[ClientConnection]:
    """Connect somebody with a token; they join nothing yet."""
    token, _ = await signed_in(database, address)
    async with connect(f"{role.ws}/ws/events") as client:
        await client.send(json.dumps({"op": "auth", "token": token}))
        assert (await heard(client))["type"] == "authenticated"
        yield client


async def joins(client: ClientConnection, *names: str) -> list[str]:
    await client.send(json.dumps({"op": "subscribe", "channels": names}))
    answer = (await heard(client))["data"]
    assert {refused["code"] for refused in answer["refused"]} <= {"live.channel_private"}
    return [joined["channel"] for joined in answer["channels"]]


class House:
    """An organization whose wallet is Ada's, and its members."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.id = uuid7()

    async def user(self, address: Address) -> UUID:
        return await self.database.fetchval("SELECT user_id FROM wallets WHERE address = $1", address)

    async def found(self) -> None:
        async with self.database.transaction() as tx:
            await tx.execute("INSERT INTO organizations VALUES ($1, 'The House', $2)", self.id, utc_now())
            await tx.execute(
                "INSERT INTO organization_wallets VALUES ($1, $2, $3)", *(ADA, self.id, utc_now())
            )
        await self.gives(ADA, "owner")

    async def gives(self, address: Address, role: str | None) -> None:
        """Give somebody a role, or take them out, as the routes do: told when it commits."""
        user = await self.user(address)
        async with self.database.transaction() as tx:
            if role is None:
                await tx.execute("DELETE FROM members WHERE user_id = $1", user)
            else:
                await tx.execute(
                    """
                    INSERT INTO members VALUES ($1, $2, $3, $4)
                    ON CONFLICT (organization_id, user_id) DO UPDATE SET role = excluded.role
                    """,
                    *(self.id, user, role, utc_now()),
                )
            await tell_standing(tx, [user])


async def test_members_who_see_sales_hear_the_organizers_channel_until_they_do_not(
    database: Database, own_redis: Redis, role: Callable[..., Role]
) -> None:
    """Every role and a stranger; then one is given another role, and one leaves."""
    one, house = role(), House(database)
    one.start()
    await one.until_ready()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(relaying(database, own_redis))
        ada, bo, cy, di, eve = [
            await stack.enter_async_context(listening(one, database, address))
            for address in (ADA, BO, CY, DI, EVE)
        ]
        await house.found()
        for address, given in ((BO, "manager"), (CY, "finance"), (DI, "gate")):
            await house.gives(address, given)
        for member in (ada, bo, cy):
            assert await joins(member, HOUSE.lower()) == [HOUSE]
        for other in (di, eve):
            assert await joins(other, HOUSE, ROOM) == [ROOM], "a gate's staff sees no sales"
        await say(database, 1, HOUSE)
        for member in (ada, bo, cy):
            assert (await heard(member))["channel"] == HOUSE

        await house.gives(BO, "gate")
        await house.gives(CY, None)
        for lost in (bo, cy):
            told = await heard(lost)
            assert (told["type"], told["data"]) == (
                "unauthorized",
                {"reason": "standing", "channels": [HOUSE]},
            )
            assert await joins(lost, HOUSE, ROOM) == [ROOM], "and the connection stays good for others"
        await say(database, 1, HOUSE)
        await say(database, 1, ROOM)
        assert (await heard(ada))["channel"] == HOUSE
        for lost in (bo, cy):
            assert (await heard(lost))["channel"] == ROOM, "nothing of what was told after they left"
        await house.gives(CY, "owner")
        assert await joins(cy, HOUSE) == [HOUSE]
    assert '"level":"error"' not in one.log


async def test_who_left_while_nobody_listened_is_found_out_when_it_does_again(
    database: Database, own_redis: Redis, role: Callable[..., Role]
) -> None:
    one, house = role(), House(database)
    one.start()
    await one.until_ready()
    async with (
        relaying(database, own_redis),
        listening(one, database, ADA),
        listening(one, database, BO) as bo,
    ):
        await house.found()
        await house.gives(BO, "finance")
        assert await joins(bo, HOUSE) == [HOUSE]
        # As if it had been said while the listener was away: nobody is told, then it is cut off.
        await database.execute("DELETE FROM members WHERE user_id = $1", await house.user(BO))
        cut = await database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            "echain standing",
        )
        assert len(cut) == 1
        told = await heard(bo, seconds=30)
        assert (told["type"], told["data"]["reason"]) == ("unauthorized", "standing")


async def test_what_was_granted_before_a_change_that_is_heard_meanwhile_is_asked_again(
    stage: Stage,
) -> None:
    """The policy answers from before; the change is told while it does; then it answers from after."""
    asked = asyncio.Event()
    changed = asyncio.Event()
    answers = [True, False]

    async def policy(name: str, identity: Identity | None) -> Grant:
        if name == "event:one":
            return Grant(name, private=False)
        answer = answers.pop(0)
        asked.set()
        await changed.wait()
        if not answer:
            raise ChannelPrivate
        return Grant(name, private=True)

    stage.desk.policy = policy
    async with connect(f"{stage.ws}/ws/events") as client:
        await client.send(json.dumps({"op": "auth", "token": stage.people.token(STAGED_ADA)}))
        assert (await heard(client))["type"] == "authenticated"
        await client.send(json.dumps({"op": "subscribe", "channels": ["organizer:x", "event:one"]}))
        await asked.wait()
        stage.desk.standing_changed(None)
        changed.set()
        answer = (await heard(client))["data"]
        assert [joined["channel"] for joined in answer["channels"]] == ["event:one"]
        assert answers == []


async def test_only_whose_standing_has_changed_is_asked_again(stage: Stage) -> None:
    asked: list[str] = []

    async def policy(name: str, identity: Identity | None) -> Grant:
        assert identity is not None
        asked.append(f"{identity.address} {name}")
        return Grant(name, private=True)

    stage.desk.policy = policy
    token = stage.people.token(STAGED_ADA)
    async with connect(f"{stage.ws}/ws/events") as hers, connect(f"{stage.ws}/ws/events") as his:
        for client, shown in ((hers, token), (his, stage.people.token("0x" + "Bb" * 20))):
            await client.send(json.dumps({"op": "auth", "token": shown}))
            await heard(client)
            await client.send(json.dumps({"op": "subscribe", "channels": ["organizer:x"]}))
            await heard(client)
        asked.clear()
        stage.desk.standing_changed(stage.people.known[token].user)
        await stage.until(lambda: bool(asked))
        stage.desk.standing_changed(None)
        await stage.until(lambda: len(asked) == 3)
        assert asked[0] == f"{STAGED_ADA} organizer:x"
        stage.told.sold("organizer:x")
        assert (await heard(hers))["channel"] == (await heard(his))["channel"] == "organizer:x"
