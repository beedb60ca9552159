"""Projections are folded anew beside the present ones; readers see the old rows, then the new, never half."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.chain.ingest.blocktree import ROOTS, Grown, grow_many
from tests.chain.ingest.forknode import ForkNode
from tests.chain.ingest.projections import PROJECTIONS, Followed, projectors

from echain.chain import rebuild as rebuilding
from echain.chain.ingest import Projection, register
from echain.chain.rebuild import Rebuilding, RebuildUnderWay, Rebuilt, rebuild
from echain.chain.store import NotFollowed
from echain.chain.types import Contract
from echain.infra.database import Connection, Database
from echain.kernel.evm import Address

KILLS = 8
PROGRAM = Path(__file__).with_name("rebuild_process.py")


async def indexed(followed: Followed, blocks: int = 120, seed: int = 31) -> Grown:
    followed.node.tip = grow_many(None, blocks, seed)
    await followed.follower().catch_up()
    return followed.node.tip


async def damage(followed: Followed) -> None:
    """Have every projected table say something wrong: rows changed, missing, and made up."""
    chain = followed.node.chain_id
    for statement in (
        "UPDATE tickets SET owner = decode(repeat('dd', 20), 'hex') WHERE chain_id = $1 AND token_id % 3 = 0",
        "DELETE FROM tickets WHERE chain_id = $1 AND token_id % 3 = 1",
        "UPDATE events SET sold_tickets = sold_tickets + 1, name = 'another' WHERE chain_id = $1",
        "DELETE FROM tiers WHERE chain_id = $1 AND tier_id = 0",
        "UPDATE contract_escrow SET paid_in_wei = paid_in_wei + 1 WHERE chain_id = $1",
        "DELETE FROM transfers WHERE chain_id = $1 AND block_number % 2 = 0",
        """INSERT INTO gate_keys VALUES ($1, 999, decode(repeat('ee', 20), 'hex'), now(), now())
           ON CONFLICT DO NOTHING""",
        "DELETE FROM poaps WHERE chain_id = $1",
    ):
        await followed.database.execute(statement, chain)


async def rebuilt(followed: Followed) -> Rebuilt:
    async with followed.database.session() as connection:
        return await rebuild(connection, followed.node.chain_id, Projection(projectors()))


async def shadows(database: Database) -> int:
    """Return how many shadows stand in any session."""
    return await database.fetchval(
        "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relname = ANY($1)", list(PROJECTIONS)
    )


def test_every_projected_table_has_a_projector_that_keeps_it() -> None:
    kept = [table for projector in projectors() for table in projector.tables]
    assert sorted(kept) == sorted(PROJECTIONS)


async def test_whatever_the_projections_say_a_rebuild_makes_them_say_what_the_logs_say(
    followed: Followed,
) -> None:
    tip = await indexed(followed)
    before = await followed.dump()
    await damage(followed)
    assert await followed.dump() != before
    done = await rebuilt(followed)
    assert await followed.dump() == before
    assert await followed.differences(tip) == []
    assert done.logs == len(before["chain_logs"])
    assert done.changed > 0
    assert (await rebuilt(followed)).changed == 0


@pytest.mark.parametrize("batch", [1, 2, 5])
async def test_batches_never_part_a_sale_from_its_tickets(
    followed: Followed, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(rebuilding, "_BATCH_LOGS", batch)
    monkeypatch.setattr(rebuilding, "_FEW_LOGS", 1)
    await indexed(followed, 60)
    before = await followed.dump()
    assert (await rebuilt(followed)).changed == 0
    assert await followed.dump() == before


async def test_other_chains_and_what_people_added_stay(followed: Followed) -> None:
    await indexed(followed)
    database, chain = followed.database, followed.node.chain_id
    event = await database.fetchrow("SELECT ticket_contract FROM events WHERE chain_id = $1 LIMIT 1", chain)
    assert event is not None
    await database.execute(
        "INSERT INTO event_registrations VALUES ($1, $2, $3, now())", chain, event[0], b"\x01" * 20
    )
    await database.execute(
        "INSERT INTO gate_keys VALUES (7, $1, decode(repeat('ee', 20), 'hex'), now(), now())", chain
    )
    await rebuilt(followed)
    assert await database.fetchval("SELECT count(*) FROM event_registrations WHERE chain_id = $1", chain) == 1
    assert await database.fetchval("SELECT count(*) FROM gate_keys WHERE chain_id = 7") >= 1


async def test_readers_see_the_old_rows_then_the_new_ones_while_the_chain_goes_on(followed: Followed) -> None:
    """Every ticket and event is marked before; a snapshot has all of the marks or none, and sums agree."""
    tip = await indexed(followed, 400)
    database, chain = followed.database, followed.node.chain_id
    marked = int((await database.execute("UPDATE tickets SET gifts = 77 WHERE chain_id = $1", chain))[7:])
    named = int((await database.execute("UPDATE events SET name = 'old' WHERE chain_id = $1", chain))[7:])
    seen: list[tuple[int, ...]] = []
    over = asyncio.Event()

    async def read() -> None:
        while not over.is_set():
            row = await database.fetchrow(
                """
                SELECT (SELECT count(*) FROM tickets WHERE chain_id = $1 AND gifts = 77),
                       (SELECT count(*) FROM events WHERE chain_id = $1 AND name = 'old'),
                       (SELECT count(*) FROM tickets WHERE chain_id = $1)
                       - (SELECT sum(sold) FROM tiers WHERE chain_id = $1)::bigint,
                       (SELECT sum(sold_tickets) FROM events WHERE chain_id = $1)::bigint
                       - (SELECT sum(sold) FROM tiers WHERE chain_id = $1)::bigint
                """,
                chain,
            )
            assert row is not None
            seen.append(tuple(row))

    async def grow() -> None:
        follower, at = followed.follower(), tip
        for turn in range(30):
            # Transfers of limited gifts count them, and would take a mark away by themselves.
            at = followed.node.tip = grow_many(at, 2, turn, acts=2)
            await follower.catch_up()

    readers = [asyncio.create_task(read()) for _ in range(3)]
    growing = asyncio.create_task(grow())
    done = await rebuilt(followed)
    await growing
    over.set()
    await asyncio.gather(*readers)
    assert done.changed >= marked
    assert all(row[2:] == (0, 0) for row in seen)
    old = [row for row in seen if row[1] == named]
    new = [row for row in seen if row[1] == 0]
    assert len(old) + len(new) == len(seen), "a reader saw half of the events swapped"
    assert old
    assert new
    assert all(row[0] > marked // 2 for row in old), "tickets were swapped before events"
    assert all(row[0] == 0 for row in new), "events were swapped before tickets"
    assert await followed.differences(followed.node.tip) == []


async def test_only_the_swap_drops_what_is_cached(followed: Followed) -> None:
    await indexed(followed)
    heard: list[str] = []
    async with followed.database.connection() as listener:
        await listener.add_listener("cache", lambda *notice: heard.append(notice[3]))
        await rebuilt(followed)
        await listener.fetchval("SELECT 1")
    assert heard == ["*"]


async def test_a_past_that_changes_meanwhile_is_folded_anew(followed: Followed) -> None:
    tip = await indexed(followed)
    async with followed.database.session() as connection:
        attempt = attempt_of(connection, followed)
        await attempt.fold_what_is_final()
        followed.node.tip = grow_many(tip.up(60), 70, 32)
        await followed.follower().catch_up()
        assert await attempt.swap() is None
    assert await followed.differences(followed.node.tip) == []
    await damage(followed)
    await rebuilt(followed)
    assert await followed.differences(followed.node.tip) == []


async def test_a_root_that_comes_meanwhile_is_not_left_out(followed: Followed) -> None:
    await indexed(followed)
    roots = (*ROOTS, Contract(Address(b"\x12" * 20), "factory", 50))
    async with followed.database.session() as connection:
        attempt = attempt_of(connection, followed)
        await attempt.fold_what_is_final()
        async with followed.database.transaction() as tx:
            await register(
                tx, followed.node.chain_id, from_block=0, roots=roots, projection=Projection(projectors())
            )
        assert await attempt.swap() is None


def attempt_of(connection: Connection, followed: Followed) -> rebuilding._Rebuild:
    return rebuilding._Rebuild(connection, followed.node.chain_id, Projection(projectors()), None)


async def test_one_rebuild_of_a_chain_runs_at_a_time(followed: Followed) -> None:
    await indexed(followed)
    async with followed.database.session() as connection:
        await attempt_of(connection, followed).fold_what_is_final()
        key = f"rebuild:{followed.node.chain_id}"
        assert await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key)
        with pytest.raises(RebuildUnderWay):
            await rebuilt(followed)
    await rebuilt(followed)


async def test_a_chain_that_was_never_indexed_is_refused(followed: Followed, node: ForkNode) -> None:
    with pytest.raises(NotFollowed):
        await rebuilt(followed)


async def test_progress_ends_at_all_final_logs(followed: Followed) -> None:
    await indexed(followed)
    told: list[Rebuilding] = []
    async with followed.database.session() as connection:
        await rebuild(connection, followed.node.chain_id, Projection(projectors()), on_progress=told.append)
    assert told[-1].total >= told[-1].logs > 0
    assert told[-1].logs_per_second > 0


async def test_a_rebuild_killed_at_any_moment_leaves_old_or_new_and_nothing_else(
    followed: Followed, shared_database_url: str
) -> None:
    await indexed(followed, 200)
    right = await followed.dump()
    rng, finished = random.Random(8), 0
    for _ in range(KILLS):
        await damage(followed)
        wrong = await followed.dump()
        with rebuild_process(shared_database_url, followed.node.chain_id) as process:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == b"working\n"
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, rng.uniform(0, 0.6))
            process.kill()
        await _sessions_ended(followed.database)
        now = await followed.dump()
        assert now in (wrong, right), "half of a rebuild is seen"
        finished += now == right
        assert await shadows(followed.database) == 0
    assert finished < KILLS, "none was killed at work"
    await rebuilt(followed)
    assert await followed.dump() == right


def rebuild_process(database_url: str, chain_id: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, PROGRAM, database_url, str(chain_id)], stdout=subprocess.PIPE)


async def _sessions_ended(database: Database) -> None:
    while await database.fetchval("SELECT 1 FROM pg_stat_activity WHERE application_name = 'rebuild'"):
        await asyncio.sleep(0.02)
