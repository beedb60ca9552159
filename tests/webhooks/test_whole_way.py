"""From the outbox to receivers, by the relay and by workers, as the roles run them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.infra.receivers import Receiver, Request, answering, receiving
from tests.webhooks.office import KEYS, Office

from echain.infra import outbox
from echain.infra.jobs import Workers
from echain.infra.metrics import Metrics
from echain.infra.relay import Relay
from echain.kernel.messages import Message
from echain.kernel.time import utc_now
from echain.webhooks import jobs, rules, spread
from echain.webhooks.courier import Courier


@asynccontextmanager
async def running(*parts: Relay | Workers) -> AsyncIterator[None]:
    """Run parts beside the block, and end them with it."""
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def relay(office: Office) -> Relay:
    return Relay(
        office.database,
        None,
        {spread.NAME: spread.handler(utc_now, settled=False)},
        {spread.NAME: spread.handler(utc_now, settled=True)},
    )


def workers(office: Office, url: str) -> Workers:
    courier = Courier(office.database, KEYS, office.outbound, utc_now, office.measures)
    handlers = jobs.handlers(courier, {}, utc_now, office.measures)
    return Workers(url, office.database, handlers, Metrics(), grace_seconds=0.2)


async def publish(office: Office, channel: str, first: int, count: int) -> None:
    async with office.database.transaction() as tx:
        messages = [Message((channel,), "ticket_sold", {"n": n}) for n in range(first, first + count)]
        await outbox.publish(tx, messages)


async def all_heard(receiver: Receiver, count: int) -> list[int]:
    """Return the numbers as they came, repeats left out, once there are so many.

    What a worker was at when it stopped is taken up after half a minute.
    """
    async with asyncio.timeout(80):
        while True:
            numbers = [json.loads(request.body)["data"]["n"] for request in receiver.requests]
            seen = list(dict.fromkeys(numbers))
            if len(seen) >= count:
                return seen
            await asyncio.sleep(0.02)


async def test_every_subscriber_hears_every_message_in_order_whatever_fails(
    office: Office, office_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three workers, one of which stops now and then; receivers that fail every fifth time."""
    monkeypatch.setattr(rules, "FIRST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(rules, "LONGEST_PAUSE_SECONDS", 0.01)
    dice = random.Random(7)

    async def failing(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = 500 if dice.random() < 0.2 else 200
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())

    async with AsyncExitStack() as stack:
        people = [await office.person() for _ in range(3)]
        told = [await stack.enter_async_context(receiving(failing)) for _ in people]
        for person, receiver in zip(people, told, strict=True):
            await person.subscribe(receiver.url)
        await stack.enter_async_context(
            running(relay(office), *(workers(office, office_url) for _ in range(2)))
        )
        for batch in range(10):
            async with running(workers(office, office_url)):
                for person in people:
                    await publish(office, person.channel, batch * 10, 10)
                await asyncio.sleep(0.05)
        for receiver in told:
            assert await all_heard(receiver, 100) == list(range(100))
    assert await office.database.fetchval("SELECT count(*) FROM webhook_deliveries") == 300


async def test_a_new_subscription_hears_from_then_on(office: Office, office_url: str) -> None:
    async with receiving(answering(200)) as receiver, running(relay(office), workers(office, office_url)):
        ada = await office.person()
        await publish(office, ada.channel, 0, 3)
        async with asyncio.timeout(10):
            # Not before the relay has begun: until then there is no row, or nothing that it has moved.
            while not await office.database.fetchval(
                "SELECT tip >= 3 AND sequence = tip AND NOT EXISTS (SELECT FROM outbox) "
                "FROM relay_handlers, relay_cursor WHERE name = $1",
                spread.NAME,
            ):
                await asyncio.sleep(0.02)
        await ada.subscribe(receiver.url)
        await publish(office, ada.channel, 3, 3)
        assert await all_heard(receiver, 3) == [3, 4, 5]
