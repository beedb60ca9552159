"""A chain may say anything: the indexer goes on, and cuts or leaves out what it cannot hold."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from tests.chain.ingest.blocktree import (
    FACTORY,
    POAP,
    Grown,
    LogWords,
    Scene,
    encoded,
    grow_many,
    grown,
    person,
)
from tests.chain.ingest.forknode import ForkNode
from tests.chain.ingest.projections import Followed

from echain.kernel.evm import keccak

HUGE = 2**256 - 1
CLONE = b"\xc1" * 20
YEAR_36812 = 2**40 - 1


def created(name: bytes = b"Event", uri: bytes = b"ipfs://x", **changes: Any) -> LogWords:
    """Return an EventCreated whose texts may be any bytes."""
    values = {"price": 1, "maximum": 10, "start": 1, "end": 2, "fee": 250, "number": 1} | changes
    (topics, _) = encoded(
        *("factory", "EventCreated", values["number"], person(1), CLONE, "", "", 0, 0, 0, 0, bytes(32), 0),
        (0, 0, False, 0, 0),
    )
    data = encode(
        ["bytes", "bytes", *["uint256"] * 5, "bytes32", "uint256", *["uint256"] * 5],
        [
            *(name, uri, values["price"], values["maximum"], values["start"], values["end"], 0, bytes(32)),
            *(values["fee"], *values.get("rules", (0, 0, 0, 0, 0))),
        ],
    )
    # The encoder above has one word too many to keep the types' list short; cut it out again.
    head = data[: 6 * 32] + data[7 * 32 :]
    tails = [int.from_bytes(head[at : at + 32], "big") - 32 for at in (0, 32)]
    head = b"".join(tail.to_bytes(32, "big") for tail in tails) + head[64:]
    return (FACTORY, topics, head)


def word(kind: str, event: str, address: bytes, *values: Any) -> LogWords:
    return (address, *encoded(kind, event, *values))


async def _survives(followed: Followed, node: ForkNode, *blocks: list[LogWords]) -> dict[str, list[str]]:
    """Bring the blocks and an ordinary chain after them; return the dump once a rebuild agrees with it."""
    at: Grown | None = grown(None, (), Scene())
    for words in blocks:
        at = grown(at, words, Scene())
    node.tip = grow_many(at, 5, 1)
    await followed.follower().catch_up()
    dump = await followed.dump()
    assert await followed.rebuilt() == dump
    assert await followed.anew() == dump
    return dump


async def test_text_that_is_no_text_is_made_storable(followed: Followed, node: ForkNode) -> None:
    name = b"Nul\0 and \xff\xfe and \xed\xa0\x80 and " + "é".encode() * 5_000
    await _survives(followed, node, [created(name=name, uri=b"\0\0")])
    row = await followed.database.fetchrow(
        "SELECT name, metadata_uri FROM events WHERE chain_id = $1 AND ticket_contract = $2",
        node.chain_id,
        CLONE,
    )
    assert row is not None
    assert row["name"].startswith("Nul and \ufffd\ufffd and ")
    assert len(row["name"]) == 2_000
    assert row["metadata_uri"] == ""


async def test_times_past_the_year_9999_are_held_to_it(followed: Followed, node: ForkNode) -> None:
    gate = word("poap", "GateSet", POAP, 1, person(3), YEAR_36812, YEAR_36812)
    await _survives(followed, node, [created(start=YEAR_36812, end=HUGE), gate])
    row = await followed.database.fetchrow(
        "SELECT ends_at FROM events WHERE chain_id = $1 AND ticket_contract = $2", node.chain_id, CLONE
    )
    assert row is not None
    assert row["ends_at"].year == 9999


async def test_the_largest_numbers_everywhere_do_not_wedge(followed: Followed, node: ForkNode) -> None:
    tier = (2**96 - 1, 2**32 - 1, YEAR_36812, YEAR_36812, 255, 255, b"\xff" * 32)
    dump = await _survives(
        followed,
        node,
        [
            word("ticket", "TierAdded", CLONE, 0, tier),
            created(price=HUGE, maximum=HUGE, fee=HUGE, number=HUGE, rules=(HUGE, HUGE, HUGE, HUGE, HUGE)),
        ],
        [
            word("ticket", "PriceUpdated", CLONE, 0, HUGE, HUGE),
            word("ticket", "PriceUpdated", CLONE, HUGE, HUGE, HUGE),
            word("ticket", "TierAdded", CLONE, HUGE, tier),
            word("ticket", "Transfer", CLONE, bytes(20), person(1), HUGE),
            word("ticket", "Transfer", CLONE, bytes(20), person(1), 1),
            word("ticket", "TicketsPurchased", CLONE, person(1), HUGE, HUGE, [1, 2, 3], 0, HUGE),
            word("ticket", "TicketsPurchased", CLONE, person(1), 1, 1, [HUGE], 0, HUGE),
            word("ticket", "TicketsPurchased", CLONE, person(1), 1, 1, [4], HUGE, HUGE),
            word("ticket", "TicketsPurchased", CLONE, person(1), 1, HUGE, [], 0, 1),
            word("ticket", "BatchMinted", CLONE, 1, 0, [person(1)] * 3, [HUGE, HUGE, HUGE]),
            word("ticket", "BatchMinted", CLONE, 1, 0, [], []),
            word("ticket", "Refunded", CLONE, 1, person(1), HUGE),
            word("ticket", "Refunded", CLONE, HUGE, person(1), HUGE),
            word("ticket", "Withdrawn", CLONE, person(1), HUGE),
            word("ticket", "FeesWithdrawn", CLONE, person(1), HUGE),
            word("ticket", "TicketGifted", CLONE, 1, HUGE),
            word("ticket", "TicketUsed", CLONE, HUGE),
            word("poap", "CheckIn", POAP, person(1), HUGE, HUGE),
            word("poap", "CheckIn", POAP, person(1), HUGE, 1),
            word("factory", "EventUpdated", FACTORY, HUGE, "", bytes(32), HUGE, HUGE),
            word("factory", "EventCancelled", FACTORY, HUGE),
            word("factory", "EventCancelled", FACTORY, 0),
        ],
    )
    assert any("c1c1" in row for row in dump["tickets"])
    row = await followed.database.fetchrow(
        "SELECT paid_in_wei FROM contract_escrow WHERE chain_id = $1 AND ticket_contract = $2",
        node.chain_id,
        CLONE,
    )
    assert row is not None
    assert int(row["paid_in_wei"]) == 3 * HUGE


async def test_logs_that_are_not_of_their_events_shape_are_stored_and_not_folded(
    followed: Followed, node: ForkNode
) -> None:
    topics, data = encoded("ticket", "TicketsPurchased", person(1), 1, 1, [1], 0, 5)
    transfer = encoded("ticket", "Transfer", bytes(20), person(1), 1)[0]
    broken: list[LogWords] = [
        (CLONE, topics, b""),
        (CLONE, topics, data[:100]),
        (CLONE, topics, data[:32] + (2**255).to_bytes(32, "big") + data[64:]),
        (CLONE, topics, data[:128] + HUGE.to_bytes(32, "big") + data[160:]),
        (CLONE, topics[:2], data),
        (CLONE, (*topics, topics[0]), data),
        (CLONE, transfer[:1], b"".join(transfer[1:])),
        (CLONE, (), b"\x01"),
        (FACTORY, (created()[1][0],), b""),
        (CLONE, (bytes(keccak(b"Unknown()")),), b""),
    ]
    dump = await _survives(followed, node, [created()], broken)
    assert sum("c1c1" in row for row in dump["chain_logs"]) >= 8
    assert not any("c1c1" in row for row in dump["sales"] + dump["transfers"])


async def test_logs_of_strangers_with_our_topics_count_for_nothing(
    followed: Followed, node: ForkNode
) -> None:
    stranger = b"\xbb" * 20
    dump = await _survives(
        followed,
        node,
        [created()],
        [
            word("ticket", "Transfer", stranger, bytes(20), person(1), 1),
            (stranger, *created()[1:]),
            # The right topics from a followed contract of the wrong kind.
            (CLONE, *created(number=7)[1:]),
            word("poap", "CheckIn", CLONE, person(1), 1, 1),
            word("ticket", "Transfer", FACTORY, bytes(20), person(1), 1),
        ],
    )
    assert not any("bbbb" in row for rows in dump.values() for row in rows)
    assert not dump["poaps"]
    assert sum("c1c1" in row for row in dump["event_creations"]) == 1


@pytest.mark.parametrize("count", [1, 300])
async def test_a_token_minted_twice_does_not_stop_the_indexer(
    followed: Followed, node: ForkNode, count: int
) -> None:
    mints = [word("ticket", "Transfer", CLONE, bytes(20), person(1), token) for token in range(count)]
    at = grown(grown(None, (), Scene()), [created()], Scene())
    first = grown(at, mints, Scene())
    node.tip = first
    follower = followed.follower()
    await follower.catch_up()
    node.tip = grown(
        first,
        [
            (address, (*topics[:2], person(2).rjust(32, b"\0"), topics[3]), data)
            for address, topics, data in mints
        ],
        Scene(),
    )
    await follower.catch_up()
    owners = await followed.database.fetch(
        "SELECT DISTINCT owner FROM tickets WHERE chain_id = $1", node.chain_id
    )
    assert [bytes(row["owner"]) for row in owners] == [person(2)]
