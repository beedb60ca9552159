"""One step takes in whatever comes, once, and says what it did."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.chain.ingest.blocktree import GENESIS_TIME, ROOTS, Grown, grow, grow_many
from tests.chain.ingest.forknode import ForkNode
from tests.chain.ingest.projections import Followed, projectors
from tests.kernel.conformity import conforms

from echain.chain.ingest import (
    Forked,
    GapBefore,
    Outcome,
    Projection,
    SegmentBroken,
    ingest,
    register,
)
from echain.chain.types import Contract, Segment
from echain.infra.database import Database
from echain.infra.messagestore import move
from echain.kernel.evm import Address
from echain.kernel.messages import TYPES, Message
from echain.kernel.time import from_unix

THEN = from_unix(GENESIS_TIME) + timedelta(hours=1)
LATER = THEN + timedelta(days=30)


class Door:
    """Brings segments of one chain to the step."""

    def __init__(self, database: Database, chain_id: int) -> None:
        self.database = database
        self.chain_id = chain_id
        self.projection = Projection(projectors())

    async def open(self) -> None:
        async with self.database.transaction() as tx:
            await register(tx, self.chain_id, from_block=0, roots=ROOTS, projection=self.projection)

    async def bring(self, *path: Grown, now: datetime = LATER, finalized: int = -1) -> Outcome:
        logs = [log for grown in path for log in grown.logs]
        segment = Segment([grown.block for grown in path], logs, finalized)
        async with self.database.transaction() as tx:
            return await ingest(tx, self.chain_id, segment, self.projection, now=now)

    async def messages(self) -> list[tuple[str, str, Any]]:
        """Return what was told so far: channel, type, data."""
        await self.relay()
        rows = await self.database.fetch(
            "SELECT channel, type, data FROM messages WHERE chain_id = $1 ORDER BY sequence", self.chain_id
        )
        return [(row["channel"], row["type"], msgspec.json.decode(row["data"])) for row in rows]

    async def relay(self) -> None:
        async with self.database.connection() as connection:
            while await move(connection, limit=1_000):
                pass


@pytest.fixture
async def door(database: Database, node: ForkNode) -> Door:
    door = Door(database, node.chain_id)
    await door.open()
    return door


async def test_what_is_known_changes_nothing_however_often_it_comes(door: Door, followed: Followed) -> None:
    path = grow_many(None, 12, 1).path()
    assert await door.bring(*path) is Outcome.EXTENDED
    before = await followed.dump()
    for part in (path, path[3:7], path[:1], path[-1:], path[5:]):
        assert await door.bring(*part) is Outcome.KNOWN
    assert await followed.dump() == before


async def test_an_overlapping_segment_adds_only_what_is_new(door: Door, followed: Followed) -> None:
    tip = grow_many(None, 20, 2)
    path = tip.path()
    await door.bring(*path[:12])
    assert await door.bring(*path[4:]) is Outcome.EXTENDED
    assert await followed.differences(tip) == []


async def test_any_interleaving_of_overlapping_segments_ends_in_the_same_rows(
    door: Door, followed: Followed
) -> None:
    tip = grow_many(None, 40, 3)
    path = tip.path()

    async def bring(first: int, last: int) -> None:
        while True:
            try:
                await door.bring(*path[first:last])
            except GapBefore:
                await asyncio.sleep(0.01)
            else:
                return

    parts = [(0, 10), (5, 20), (0, 3), (19, 30), (8, 40), (30, 31), (29, 40)]
    await asyncio.gather(*(bring(*part) for part in reversed(parts)))
    assert await followed.differences(tip) == []


async def test_a_gap_is_refused_and_writes_nothing(door: Door, followed: Followed) -> None:
    path = grow_many(None, 12, 4).path()
    await door.bring(*path[:4])
    before = await followed.dump()
    with pytest.raises(GapBefore):
        await door.bring(*path[5:])
    assert await followed.dump() == before


async def test_a_segment_on_an_unknown_parent_is_refused(door: Door) -> None:
    ours = grow_many(None, 8, 5)
    await door.bring(*ours.path())
    theirs = grow_many(ours.up(4), 5, 6)
    with pytest.raises(Forked):
        await door.bring(theirs)


async def test_a_fork_takes_back_what_it_replaces(door: Door, followed: Followed) -> None:
    ours = grow_many(None, 12, 7)
    await door.bring(*ours.path())
    theirs = grow_many(ours.up(6), 3, 8)
    assert await door.bring(*theirs.path()[-3:]) is Outcome.REORGANIZED
    assert await followed.differences(theirs) == []


@pytest.mark.parametrize("fault", ["hash", "order", "twice", "unlinked", "elsewhere"])
async def test_headers_and_logs_that_contradict_each_other_are_refused(
    door: Door, followed: Followed, fault: str
) -> None:
    path = grow_many(None, 10, 9, acts=12).path()
    blocks = [grown.block for grown in path]
    logs = [log for grown in path for log in grown.logs]
    match fault:
        case "hash":
            logs[0] = _with(logs[0], block_hash=bytes(32))
        case "order":
            logs[0], logs[1] = logs[1], logs[0]
        case "twice":
            logs.insert(1, logs[0])
        case "unlinked":
            blocks[4] = _with(blocks[4], parent_hash=bytes(32))
        case _:
            logs.append(_with(logs[-1], block_number=99))
    async with door.database.transaction() as tx:
        with pytest.raises(SegmentBroken):
            await ingest(tx, door.chain_id, Segment(blocks, logs, -1), door.projection, now=LATER)
    assert not any((await followed.dump(("chain_logs", "tickets"))).values())


def _with(struct: Any, **changes: Any) -> Any:
    fields = {name: getattr(struct, name) for name in struct.__struct_fields__}
    return type(struct)(**fields | changes)


async def test_facts_are_told_within_a_day_and_history_is_not(door: Door) -> None:
    path = grow_many(None, 30, 10).path()
    await door.bring(*path[:15], now=LATER)
    assert await door.messages() == []
    await door.bring(*path[15:], now=THEN)
    told = await door.messages()
    kinds = {kind for _, kind, _ in told}
    assert {"ticket_sold", "ticket_transferred"} <= kinds
    assert all(data.get("eventId") for _, _, data in told)


async def test_every_message_of_the_chain_is_as_its_type_says(door: Door) -> None:
    rows: list[tuple[str, str, Any]] = []
    for seed in range(3):
        # Far from the ids that other tests take.
        door.chain_id += 1_000_000
        await door.open()
        await door.bring(*grow_many(None, 40, seed, acts=6).path(), now=THEN)
        rows += await door.messages()
    for channel, kind, data in rows:
        conforms(Message((channel,), kind, data))
    on_chain = {"event_created", "event_updated", "price_update", "ticket_sold", "ticket_transferred"}
    on_chain |= {"ticket_refunded", "payout", "checkin_complete", "reward_earned"}
    assert {kind for _, kind, _ in rows} == on_chain
    told = {kind: {channel.split(":")[0] for channel, one, _ in rows if one == kind} for kind in on_chain}
    assert told == {kind: set(TYPES[kind].channels) for kind in on_chain}


async def test_what_a_reorg_takes_is_told_as_reverted_once_per_channel(door: Door) -> None:
    ours = grow_many(None, 30, 11)
    await door.bring(*ours.path(), now=THEN)
    await door.relay()
    rows = await door.database.fetch(
        "SELECT sequence, channel FROM messages WHERE chain_id = $1 AND block_number > 20", door.chain_id
    )
    gone = {(row["channel"], str(row["sequence"])) for row in rows}
    assert gone
    theirs = grow_many(ours.up(9), 10, 12)
    await door.bring(*theirs.path()[-10:], now=THEN)
    reverted = [(channel, data["ids"]) for channel, kind, data in await door.messages() if kind == "reverted"]
    assert len({channel for channel, _ in reverted}) == len(reverted)
    assert {(channel, id_) for channel, ids in reverted for id_ in ids} == gone
    again = grow_many(ours.up(9), 11, 13)
    await door.bring(*again.path()[-11:], now=THEN)
    all_ids = [
        (channel, id_)
        for channel, kind, data in await door.messages()
        if kind == "reverted"
        for id_ in data["ids"]
    ]
    assert len(all_ids) == len(set(all_ids))


async def test_what_a_reorg_takes_before_it_was_relayed_is_not_told_at_all(door: Door) -> None:
    ours = grow_many(None, 30, 11)
    await door.bring(*ours.path()[:20], now=THEN)
    before = await door.messages()
    await door.bring(*ours.path()[20:], now=THEN)
    theirs = grow_many(ours.up(10), 11, 12, acts=0)
    await door.bring(*theirs.path()[-11:], now=THEN)
    assert await door.messages() == before


async def test_nothing_is_told_of_a_transaction_that_fails(door: Door, followed: Followed) -> None:
    tip = grow_many(None, 30, 14)
    logs = [log for grown in tip.path() for log in grown.logs]
    segment = Segment([grown.block for grown in tip.path()], logs, -1)
    with pytest.raises(Forked):
        await _ingest_and_fail(door, segment)
    assert await door.messages() == []
    assert not any((await followed.dump(("chain_logs", "tickets", "events"))).values())


async def _ingest_and_fail(door: Door, segment: Segment) -> None:
    async with door.database.transaction() as tx:
        await ingest(tx, door.chain_id, segment, door.projection, now=THEN)
        raise Forked


async def test_remaining_counts_down_sale_by_sale(door: Door) -> None:
    tip = grow_many(None, 60, 15)
    await door.bring(*tip.path(), now=THEN)
    supply = 5_000
    sold: dict[tuple[str, int], int] = {}
    for channel, kind, data in await door.messages():
        if kind == "ticket_sold" and channel.startswith("event:"):
            key = (data["eventId"], data["tier"])
            sold[key] = sold.get(key, 0) + len(data["ticketIds"])
            assert data["remaining"] == supply - sold[key]
    assert sold


async def test_a_root_that_is_new_takes_the_chain_back_to_its_first_block(
    door: Door, followed: Followed
) -> None:
    tip = grow_many(None, 30, 16)
    await door.bring(*tip.path())
    roots = (*ROOTS, Contract(Address(b"\x11" * 20), "factory", 12))
    async with door.database.transaction() as tx:
        await register(tx, door.chain_id, from_block=0, roots=roots, projection=door.projection)
    row = await door.database.fetchrow(
        "SELECT block_number FROM chain_cursors WHERE chain_id = $1", door.chain_id
    )
    assert row is not None
    assert row["block_number"] == 11
    assert await followed.differences(tip.up(18)) == []
    await door.bring(*tip.path()[12:])
    assert await followed.differences(tip) == []


async def test_a_reorg_of_depth_64_costs_by_its_own_size_not_by_the_history(
    door: Door, followed: Followed
) -> None:
    tip = grow_many(None, 200, 17, acts=10)
    await door.bring(*tip.path())
    theirs = grow_many(tip.up(64), 65, 18, acts=10)
    began = time.monotonic()
    assert await door.bring(*theirs.path()[-65:]) is Outcome.REORGANIZED
    assert time.monotonic() - began < 5
    assert await followed.differences(theirs) == []


async def test_blocks_that_cannot_change_and_have_no_log_are_not_kept(door: Door) -> None:
    tip = grow_many(None, 20, 19, acts=0)
    path = tip.path()
    await door.bring(*path[:15], finalized=9)
    kept = {
        row["number"]
        for row in await door.database.fetch(
            "SELECT number FROM chain_blocks WHERE chain_id = $1", door.chain_id
        )
    }
    assert kept == {0, 10, 11, 12, 13, 14}


async def test_pruning_keeps_every_block_that_has_a_log(door: Door, followed: Followed) -> None:
    tip = grow_many(None, 300, 20, acts=1)
    path = tip.path()
    for at in range(0, 300, 50):
        await door.bring(*path[at : at + 50], finalized=at - 60)
    await door.bring(grow(tip, 1), finalized=290)
    kept = {
        row["number"]
        for row in await door.database.fetch(
            "SELECT number FROM chain_blocks WHERE chain_id = $1", door.chain_id
        )
    }
    with_logs = {
        row["block_number"]
        for row in await door.database.fetch(
            "SELECT DISTINCT block_number FROM chain_logs WHERE chain_id = $1", door.chain_id
        )
    }
    assert with_logs <= kept
    assert len([number for number in kept if 0 < number <= 250 and number not in with_logs]) == 0
    assert await followed.rebuilt() == await followed.dump()


def test_the_day_of_the_tree_is_long_past() -> None:
    assert datetime.now(UTC) > LATER
