"""Messages exist if and only if their transaction commits, in order, and wake whoever listens."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from echain.infra.database import Database, connect
from echain.infra.outbox import CHANNEL, publish
from echain.kernel.messages import Message

MESSAGES = [
    Message(
        ("event:1", "organizer:2"),
        "ticket_sold",
        {"price": "10", "ids": ["1", "2"]},
        chain_id=84532,
        block_number=7,
    ),
    Message(("platform",), "notification", {}),
    Message(("event:1",), "reverted", {"ids": []}, chain_id=84532, block_number=7),
]


@pytest.mark.parametrize("times", [1, 100], ids=["few", "copied"])
async def test_messages_keep_their_order_and_their_words(database: Database, times: int) -> None:
    async with database.transaction() as tx:
        await publish(tx, MESSAGES * times)
    rows = await database.fetch(
        "SELECT channels, type, data, chain_id, block_number FROM outbox ORDER BY position"
    )
    assert [
        Message(
            tuple(row["channels"].split(" ")),
            row["type"],
            msgspec.json.decode(row["data"]),
            row["chain_id"],
            row["block_number"],
        )
        for row in rows
    ] == MESSAGES * times


async def test_a_commit_wakes_those_who_listen_once_and_a_rollback_does_not(
    database: Database, database_url: str
) -> None:
    heard: list[object] = []
    listener = await connect(database_url)
    await listener.add_listener(CHANNEL, lambda *message: heard.append(message[3]))

    async def fail() -> None:
        async with database.transaction() as tx:
            await publish(tx, MESSAGES)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    await asyncio.sleep(0.05)
    assert heard == []
    async with database.transaction() as tx:
        await publish(tx, MESSAGES)
        await publish(tx, [])
    async with asyncio.timeout(5):
        while not heard:
            await asyncio.sleep(0.01)
    assert heard == [""]
    assert await database.fetchval("SELECT count(*) FROM outbox") == 3
    await listener.close()
