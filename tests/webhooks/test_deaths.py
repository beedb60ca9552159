"""Workers killed at any moment: each receiver hears every message, in order, and repeats by the same id."""

from __future__ import annotations

import asyncio
import json
import random
import sys

import pytest
from tests.infra.receivers import Receiver, Request, receiving
from tests.webhooks.office import Office, Person

from echain.kernel.time import utc_now

WORKER = """
import asyncio, sys
from datetime import timedelta
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.jobs import Workers
from echain.infra.metrics import Metrics
from echain.infra.outbound import Outbound, Rules
from echain.infra.secret import Secret
from echain.kernel.time import utc_now
from echain.webhooks import courier, jobs
from echain.webhooks.courier import Courier
from echain.webhooks.measures import Measures

courier.LEASE = timedelta(seconds=0.5)

async def sweep(database):
    while True:
        await jobs.sweep_once(database, utc_now)
        await asyncio.sleep(0.2)

async def main(url):
    database = await Database.connect(url, size=4, name="worker")
    outbound = Outbound(Rules(http=True, private=True), user_agent="worker")
    measures = Measures(Metrics())
    one = Courier(database, DataKeys([Secret("ab" * 32)]), outbound, utc_now, measures)
    handlers = jobs.handlers(one, {}, utc_now, measures)
    workers = Workers(url, database, handlers, Metrics(), stale_seconds=1.0)
    print("ready", flush=True)
    await asyncio.gather(workers.run(), sweep(database))

asyncio.run(main(sys.argv[1]))
"""


async def answering_slowly(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.02)
    writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n")


async def started(url: str) -> asyncio.subprocess.Process:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, url, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"ready\n"
    return worker


def check_order(receiver: Receiver, count: int) -> int:
    """Check what came, repeats included; return how many repeats there were."""
    delivery_of: dict[int, str] = {}
    last = 0
    for request in receiver.requests:
        body = json.loads(request.body)
        number = body["data"]["n"]
        assert number in {last, last + 1}, "never ahead of one that has not come, never far back"
        assert delivery_of.setdefault(number, body["delivery"]) == body["delivery"]
        last = number
    assert last == count
    return len(receiver.requests) - count


async def killed(office: Office, url: str, ada: Person, receiver: Receiver, *, kills: int) -> int:
    """Kill the worker so often while messages come; return how many there were."""
    chance = random.Random(11)
    for _ in range(kills):
        worker = await started(url)
        try:
            await office.tell([office.message(ada.channel) for _ in range(12)])
            heard = len(receiver.requests)
            async with asyncio.timeout(20):
                while len(receiver.requests) < heard + chance.randint(1, 8):
                    await asyncio.sleep(chance.random() * 0.02)
        finally:
            worker.kill()
            await worker.wait()
    worker = await started(url)
    try:
        async with asyncio.timeout(30):
            while await office.database.fetchval("SELECT count(*) FROM webhook_deliveries WHERE pending"):
                await asyncio.sleep(0.05)
    finally:
        worker.kill()
        await worker.wait()
    return office.sequence


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
async def test_a_worker_killed_at_any_moment_skips_nothing(
    office: Office, office_url: str, kills: int
) -> None:
    async with receiving(answering_slowly) as receiver:
        ada = await office.person()
        await ada.subscribe(receiver.url)
        # The workers go by the real time, and forget what is old.
        office.clock.now = utc_now()
        count = await killed(office, office_url, ada, receiver, kills=kills)
        assert check_order(receiver, count) <= kills, "at most the one under way comes again"
