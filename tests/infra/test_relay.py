"""The relay numbers what commits, each channel in its order, and stops for nobody."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import msgspec
import pytest
from structlog.testing import capture_logs
from tests.conftest import psql
from tests.infra.relaying import relayed, relaying, running, said, say, tip, until

from echain.infra import messagestore, outbox
from echain.infra.database import Database, Tx, connect
from echain.infra.embedded.postgres import Postgres
from echain.infra.messagestore import Relayed
from echain.infra.metrics import Metrics
from echain.infra.outbox import publish
from echain.infra.relay import Handler, Relay
from echain.kernel.messages import Message
from echain.kernel.time import utc_now


async def all_messages(database: Database) -> list[Relayed]:
    async with database.connection() as connection:
        return await messagestore.since(connection, 0, 1_000_000)


def number(message: Relayed) -> int:
    return int(msgspec.json.decode(message.data)["n"])


async def test_a_fact_becomes_a_message_for_each_channel_with_numbers_without_gaps(
    database: Database,
) -> None:
    fact = Message(("event:1", "user:2", "organizer:3"), "test", {"n": 1, "é": [None]}, 7, 5)
    async with relaying(database, None):
        await say(database, fact, said(2))
        await relayed(database)
    messages = await all_messages(database)
    assert [(m.sequence, m.channel, m.chain_id, m.block_number) for m in messages] == [
        (1, "event:1", 7, 5),
        (2, "user:2", 7, 5),
        (3, "organizer:3", 7, 5),
        (4, "event:1", None, None),
    ]
    assert [m.data for m in messages] == ['{"n":1,"é":[null]}'.encode()] * 3 + [b'{"n":2}']
    assert abs(messages[0].timestamp_ms - utc_now().timestamp() * 1000) < 60_000
    assert await tip(database) == 4


async def write(
    database: Database, writer: int, rng: random.Random, count: int, kept: dict[tuple[int, str], list[int]]
) -> None:
    """Publish to two channels in transactions that last, overlap, commit out of order and fail."""
    n = 0
    for _ in range(count):
        channel = f"event:{rng.randrange(2)}"
        numbers = [n := n + 1 for _ in range(rng.randint(1, 3))]
        try:
            async with database.transaction() as tx:
                for one in numbers:
                    await publish(tx, [Message((channel,), f"writer-{writer}", {"n": one})])
                    await asyncio.sleep(rng.random() * 0.01)
                if rng.random() < 0.2:
                    raise LookupError  # noqa: TRY301 - rolls back
        except LookupError:
            continue
        kept[writer, channel] += numbers


async def test_writers_that_commit_out_of_order_lose_and_disorder_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bound under the outbox raised after every batch, as a busy relay does now and then."""
    monkeypatch.setattr("echain.infra.relay._MANY", 1)
    kept: dict[tuple[int, str], list[int]] = defaultdict(list)
    async with relaying(database, None):
        await asyncio.gather(
            *(write(database, writer, random.Random(writer), 40, kept) for writer in range(6))
        )
        await relayed(database)
    messages = await all_messages(database)
    assert [message.sequence for message in messages] == list(range(1, len(messages) + 1))
    told: dict[tuple[int, str], list[int]] = defaultdict(list)
    for message in messages:
        told[int(message.type.split("-")[1]), message.channel].append(number(message))
    assert told == kept


async def test_whoever_takes_long_stalls_nobody_and_comes_later(
    database: Database, database_url: str
) -> None:
    writer, reader = await connect(database_url), await connect(database_url)
    async with relaying(database, None):
        slow, old = writer.transaction(), reader.transaction(isolation="repeatable_read")
        await slow.start()
        await old.start()
        await reader.fetchval("SELECT count(*) FROM outbox")
        await publish(writer, [said(1)])
        for n in range(2, 12):
            await say(database, said(n))
        await until(lambda: tip_is(database, 10))
        await slow.commit()
        await until(lambda: tip_is(database, 11))
    assert [number(message) for message in await all_messages(database)] == [*range(2, 12), 1]
    await old.rollback()
    await writer.close()
    await reader.close()


async def tip_is(database: Database, expected: int) -> bool:
    return await tip(database) == expected


async def test_the_bound_under_the_outbox_waits_for_whoever_still_writes(
    database: Database, database_url: str
) -> None:
    writer, mover = await connect(database_url), await connect(database_url)
    await say(database, said(1), said(2))
    open_one = writer.transaction()
    await open_one.start()
    await publish(writer, [said(3)])
    await say(database, said(4))
    assert len(await messagestore.move(mover, limit=1)) == 1
    assert await messagestore.emptied(mover, 0) == 0, "position 3 may still come"
    await open_one.commit()
    assert await messagestore.emptied(mover, 0) == 1, "position 2 is still there"
    assert len(await messagestore.move(mover, limit=10, above=1)) == 3
    assert await messagestore.emptied(mover, 1) == 4
    await writer.close()
    await mover.close()


async def test_old_snapshots_do_not_make_the_relay_slower_and_slower(
    database: Database, database_url: str
) -> None:
    """While a dump runs, rows that were moved stay in the index; the bound steps over them."""
    reader, mover = await connect(database_url), await connect(database_url)
    dump = reader.transaction(isolation="repeatable_read")
    await dump.start()
    await reader.fetchval("SELECT count(*) FROM outbox")
    await say(database, *(said(n) for n in range(20_000)))
    while await messagestore.move(mover, limit=4_000):
        pass
    await say(database, said(1))
    look = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT position FROM outbox WHERE position > $1"
    look += " ORDER BY position LIMIT 10 FOR UPDATE SKIP LOCKED"

    async def buffers(above: int) -> int:
        (plan,) = msgspec.json.decode(await mover.fetchval(look, above))
        return plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]

    above = await messagestore.emptied(mover, 0)
    assert above == 20_000
    assert await buffers(above) < 20 < await buffers(0)
    await dump.rollback()
    await reader.close()
    await mover.close()


async def test_a_second_relay_waits_and_takes_over(database: Database, database_url: str) -> None:
    other = await Database.connect(database_url, size=5, name="other")
    async with relaying(database, None):
        await say(database, said(1))
        await relayed(database)
        async with running(Relay(other, None).run()):
            await say(database, said(2))
            await relayed(database)
            leaders = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            assert await database.fetchval(leaders) == 1
            await database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            )
            async with asyncio.timeout(5):
                await say(database, said(3))
                await relayed(database)
    assert [number(message) for message in await all_messages(database)] == [1, 2, 3]
    await other.close()


async def test_a_database_that_restarts_is_waited_for(own_postgres: Postgres) -> None:
    # As everywhere but in tests; else a crash of the server takes back what it said was committed.
    psql(own_postgres.url(), "ALTER DATABASE echain SET synchronous_commit = on")
    database = await Database.connect(own_postgres.url(), size=5)
    had: list[int] = []

    async def note(tx: Tx, messages: Sequence[Relayed]) -> None:
        await tx.execute("SELECT 1")
        had.extend(map(number, messages))

    async with relaying(database, None, {"note": note}):
        await say(database, said(1))
        await until(lambda: had == [1])
        own_postgres.kill()
        own_postgres.start()
        again = await Database.connect(own_postgres.url(), size=1)
        await say(again, said(2))
        await until(lambda: had == [1, 2])
        await again.close()
    await database.close()


async def test_sweeping_and_moving_do_not_disturb_each_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echain.infra.relay._SWEEP_SECONDS", 0.001)
    monkeypatch.setattr("echain.infra.relay.KEPT", timedelta(seconds=0.05))
    async with relaying(database, None):
        for n in range(300):
            await say(database, said(n), said(n))
        await relayed(database)
        await until(lambda: swept_up_to(database, 601))
    assert await tip(database) == 600
    assert await all_messages(database) == []


async def swept_up_to(database: Database, expected: int) -> bool:
    return await database.fetchval("SELECT oldest FROM relay_cursor") == expected


async def test_a_fact_for_nobody_is_refused(database: Database) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await say(database, Message((), "test", {}))


async def test_what_one_batch_meets_does_not_end_the_relay(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relaying(database, None):
        await say(database, said(1))
        await relayed(database)
        await database.execute("ALTER TABLE messages RENAME TO elsewhere")
        with capture_logs() as logged:
            await say(database, said(2))
            await until(lambda: any(line["event"] == "relay.failed" for line in logged))
        await database.execute("ALTER TABLE elsewhere RENAME TO messages")
        await relayed(database)
    assert [number(message) for message in await all_messages(database)] == [1, 2]


# --- handlers ---


def noting(table: str) -> Handler:
    async def note(tx: Tx, messages: Sequence[Relayed]) -> None:
        await tx.executemany(
            f"INSERT INTO {table} (sequence, n) VALUES ($1, $2)",
            [(message.sequence, number(message)) for message in messages if message.type == "test"],
        )

    return note


async def noted(database: Database, table: str) -> list[int]:
    return [row["n"] for row in await database.fetch(f"SELECT n FROM {table} ORDER BY place")]


@pytest.fixture
async def notes(database: Database) -> Database:
    for table in ("first", "second", "settled"):
        await database.execute(
            f"CREATE TABLE {table} (place BIGINT GENERATED ALWAYS AS IDENTITY, sequence BIGINT UNIQUE, n INT)"
        )
    return database


async def test_a_handler_that_fails_stops_no_other_and_gets_each_message_once(notes: Database) -> None:
    broken = True

    async def failing(tx: Tx, messages: Sequence[Relayed]) -> None:
        await noting("second")(tx, messages)
        if broken:
            raise LookupError("a bug")

    async with relaying(notes, None, {"first": noting("first"), "second": failing}):
        await until(lambda: registered(notes, 2))
        for n in range(5):
            await say(notes, said(n))
        await until(lambda: notes_are(notes, "first", list(range(5))))
        assert await noted(notes, "second") == []
        broken = False
        await until(lambda: notes_are(notes, "second", list(range(5))))


async def registered(database: Database, count: int) -> bool:
    return await database.fetchval("SELECT count(*) FROM relay_handlers") == count


async def notes_are(database: Database, table: str, expected: list[int]) -> bool:
    return await noted(database, table) == expected


async def test_a_new_handler_begins_with_the_next_message_and_an_old_one_where_it_was(
    notes: Database,
) -> None:
    async with relaying(notes, None, {"first": noting("first")}):
        await until(lambda: registered(notes, 1))
        await say(notes, said(1))
        await until(lambda: notes_are(notes, "first", [1]))
    async with relaying(notes, None):
        await say(notes, said(2))
        await relayed(notes)
    async with relaying(notes, None, {"first": noting("first"), "second": noting("second")}):
        await until(lambda: registered(notes, 2))
        await say(notes, said(3))
        await until(lambda: notes_are(notes, "first", [1, 2, 3]))
        await until(lambda: notes_are(notes, "second", [3]))


# --- settled ---


async def chain_at(database: Database, finalized: int, chain_id: int = 7) -> None:
    await database.execute(
        """
        INSERT INTO chain_cursors (chain_id, from_block, block_number, block_hash, finalized_number)
        VALUES ($1, 0, 100, $2, $3)
        ON CONFLICT (chain_id) DO UPDATE SET finalized_number = excluded.finalized_number
        """,
        chain_id,
        bytes(32),
        finalized,
    )


async def test_messages_settle_with_their_blocks_in_order_and_once(notes: Database) -> None:
    await chain_at(notes, 4)
    async with relaying(notes, None, None, {"settled": noting("settled")}):
        await say(notes, said(1, block=4), said(2, block=5), said(3), said(4, block=6), said(5, block=6))
        await until(lambda: notes_are(notes, "settled", [1, 3]))
        await chain_at(notes, 5)
        await until(lambda: notes_are(notes, "settled", [1, 3, 2]))
        await chain_at(notes, 50)
        await until(lambda: notes_are(notes, "settled", [1, 3, 2, 4, 5]))
        await say(notes, said(6, block=20))
        await until(lambda: notes_are(notes, "settled", [1, 3, 2, 4, 5, 6]))
    assert await notes.fetchval("SELECT count(*) FROM unsettled") == 0


async def test_what_a_reorg_took_before_it_settled_never_does(notes: Database) -> None:
    await chain_at(notes, 4)
    async with relaying(notes, None, None, {"settled": noting("settled")}):
        await say(notes, said(1, block=5), said(2, block=6), said(3, block=7), said(9, block=7, chain_id=8))
        await relayed(notes)
        async with notes.transaction() as tx:
            await outbox.revert(tx, 7, above=5)
            await publish(tx, [said(4, block=6)])
        await chain_at(notes, 50)
        await relayed(notes)
        await until(lambda: notes_are(notes, "settled", [1, 4]))
    rows = await notes.fetch("SELECT data FROM messages WHERE type = 'reverted'")
    assert [msgspec.json.decode(row["data"]) for row in rows] == [{"ids": ["2", "3"]}]


async def test_a_devnet_that_starts_anew_takes_back_what_had_settled_once(notes: Database) -> None:
    await chain_at(notes, 9)
    async with relaying(notes, None):
        await say(notes, said(1, block=5), said(2, block=6), said(3, block=10))
        await relayed(notes)
        await until(lambda: unsettled_is(notes, 1))
        for _ in range(2):
            async with notes.transaction() as tx:
                await outbox.revert(tx, 7, above=5)
                await tx.execute("UPDATE chain_cursors SET finalized_number = 5 WHERE chain_id = 7")
        await relayed(notes)
    rows = await notes.fetch("SELECT data FROM messages WHERE type = 'reverted'")
    assert [msgspec.json.decode(row["data"]) for row in rows] == [{"ids": ["2", "3"]}]


async def unsettled_is(database: Database, expected: int) -> bool:
    return await database.fetchval("SELECT count(*) FROM unsettled") == expected


async def test_a_settled_handler_that_fails_gets_everything_later(notes: Database) -> None:
    broken = True

    async def failing(tx: Tx, messages: Sequence[Relayed]) -> None:
        await noting("settled")(tx, messages)
        if broken:
            raise LookupError("a bug")

    async with relaying(notes, None, None, {"settled": failing}):
        await say(notes, said(1), said(2))
        await relayed(notes)
        broken = False
        await say(notes, said(3))
        await until(lambda: notes_are(notes, "settled", [1, 2, 3]))


async def test_a_settled_handler_that_fails_stops_no_other_and_catches_up_in_order(notes: Database) -> None:
    broken = True

    async def failing(tx: Tx, messages: Sequence[Relayed]) -> None:
        await noting("second")(tx, messages)
        if broken:
            raise LookupError("a bug")

    async with relaying(notes, None, None, {"first": noting("settled"), "second": failing}):
        for n in range(1, 6):
            await say(notes, said(n))
            await until(lambda n=n: notes_are(notes, "settled", list(range(1, n + 1))))
        assert await noted(notes, "second") == []
        await notes.execute("UPDATE messages SET created_at = now() - interval '30 hours'")
        async with notes.transaction() as tx:
            assert await messagestore.sweep(tx, before=utc_now() - timedelta(hours=24), limit=100) == 5
        broken = False
        await say(notes, said(6))
        await until(lambda: notes_are(notes, "second", list(range(1, 7))))
        await say(notes, said(7))
        await until(lambda: notes_are(notes, "second", list(range(1, 8))))
        await until(lambda: notes_are(notes, "settled", list(range(1, 8))))
    assert await notes.fetchval("SELECT count(*) FROM settled_later") == 0


async def test_a_handler_that_is_no_more_holds_nothing_up_for_longer_than_a_week(notes: Database) -> None:
    async with relaying(notes, None):
        await say(notes, said(1), said(2), said(3))
        await relayed(notes)
    await notes.execute("INSERT INTO relay_handlers VALUES ('of an older version', 0)")
    await notes.execute(
        "UPDATE messages SET created_at = now() - CASE sequence WHEN 1 THEN interval '8 days' "
        "ELSE interval '6 days' END"
    )
    async with notes.transaction() as tx:
        assert await messagestore.sweep(tx, before=utc_now() - timedelta(hours=24), limit=100) == 1
    assert [number(message) for message in await all_messages(notes)] == [2, 3]


# --- reorgs against the relay ---


async def test_a_revert_that_races_with_the_relay_takes_every_message_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ingest that goes forth and back as fast as it can, while the relay moves a few rows at a time."""
    monkeypatch.setattr("echain.infra.relay._FEW", 3)
    await chain_at(database, -1)
    rng = random.Random(4)
    blocks: list[list[int]] = []
    n = 0
    async with relaying(database, None):
        for _ in range(150):
            async with database.transaction() as tx:
                await tx.execute("SELECT FROM chain_cursors WHERE chain_id = 7 FOR NO KEY UPDATE")
                if blocks and rng.random() < 0.4:
                    depth = rng.randint(1, min(4, len(blocks)))
                    del blocks[-depth:]
                    await outbox.revert(tx, 7, above=len(blocks))
                new = [n := n + 1 for _ in range(rng.randint(1, 4))]
                blocks.append(new)
                await publish(tx, [said(one, f"event:{one % 2}", block=len(blocks)) for one in new])
                await asyncio.sleep(rng.random() * 0.004)
        await relayed(database)
    messages = await all_messages(database)
    reverted = [
        int(one)
        for message in messages
        if message.type == "reverted"
        for one in msgspec.json.decode(message.data)["ids"]
    ]
    assert len(reverted) == len(set(reverted)) > 20
    told = {message.sequence: message for message in messages if message.type == "test"}
    assert all(told[one].block_number is None for one in reverted)
    standing = [number(message) for one, message in told.items() if one not in set(reverted)]
    assert sorted(standing) == sorted(one for block in blocks for one in block)
    assert len(told) > len(standing)


async def test_a_revert_that_is_rolled_back_takes_nothing(database: Database, database_url: str) -> None:
    await say(database, said(1, block=5), said(2, block=6))
    ingest = await connect(database_url)
    reorg = ingest.transaction()
    await reorg.start()
    await outbox.revert(ingest, 7, above=5)
    async with relaying(database, None):
        await say(database, said(3))
        await until(lambda: tip_is(database, 2))
        await reorg.rollback()
        await relayed(database)
    assert [number(message) for message in await all_messages(database)] == [1, 3, 2]
    await ingest.close()


# --- what is kept ---


async def test_what_is_older_than_a_day_is_swept_but_for_what_somebody_still_needs(
    notes: Database,
) -> None:
    async with relaying(notes, None, {"first": noting("first")}):
        await until(lambda: registered(notes, 1))
        await say(notes, *(said(n) for n in range(1, 6)), said(6, block=3), said(7), said(8))
        await until(lambda: notes_are(notes, "first", list(range(1, 9))))
    await notes.execute("UPDATE messages SET created_at = now() - interval '25 hours' WHERE sequence <> 8")
    await notes.execute("UPDATE relay_handlers SET sequence = 6")
    before = utc_now() - timedelta(hours=24)

    async def swept(limit: int) -> int:
        async with notes.transaction() as tx:
            return await messagestore.sweep(tx, before=before, limit=limit)

    assert [await swept(4), await swept(4), await swept(4)] == [4, 2, 0]
    assert [message.sequence for message in await all_messages(notes)] == [6, 7, 8], "6 has not settled"
    await notes.execute("UPDATE relay_handlers SET sequence = 8")
    assert [await swept(4), await swept(4)] == [1, 0]
    async with notes.connection() as connection:
        assert await messagestore.oldest(connection) == 8
    await chain_at(notes, 3)
    async with notes.transaction() as tx:
        assert [message.sequence for message in await messagestore.settle(tx, 10)] == [6]
    assert await swept(4) == 0
    assert [message.sequence for message in await all_messages(notes)] == [8]


async def test_the_lag_is_told(database: Database) -> None:
    metrics = Metrics()
    relay = Relay(database, None, metrics=metrics)
    await say(database, said(1), said(2))
    await database.execute("UPDATE outbox SET created_at = now() - interval '90 seconds' WHERE position = 1")
    await metrics.refresh()
    page = metrics.render().decode()
    assert "echain_outbox_rows 2.0" in page
    age = next(line for line in page.splitlines() if line.startswith("echain_outbox_age_seconds "))
    assert 90 <= float(age.split()[1]) < 120
    async with running(relay.run()):
        await relayed(database)
        await metrics.refresh()
        page = metrics.render().decode()
    assert "echain_outbox_rows 0.0" in page
    assert "echain_relayed_messages_total 2.0" in page
    assert "echain_relay_leading 1.0" in page
