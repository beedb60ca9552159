"""Folds what the ticket contracts say: who holds which ticket, in which state, and what was paid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, Final, TypeAlias

import msgspec

from echain.chain.abi import INT4_MAX, INT8_MAX, compile_events
from echain.chain.contracts import contract
from echain.chain.types import Change, Contract, EventDecoder, Fact, Log, Step, Told
from echain.events.service import TierSold, add_sold, organizers_of
from echain.infra import bulk
from echain.infra.database import Tx
from echain.kernel.evm import ZERO_ADDRESS, Address, checksum
from echain.kernel.ids import derived_id
from echain.kernel.messages import Message
from echain.tickets import tables
from echain.tickets.tables import Minted, Money, Moved, TicketKey, TierKey

_TICKET: Final = compile_events(contract("EventTicket").abi)

_STATES: Final = {
    "TicketUsed": "used",
    "TicketLocked": "locked",
    "TicketUnlocked": "valid",
    "Refunded": "refunded",
}
"""The state that a ticket has after each of these; freshly minted it is valid."""

_PAYOUTS: Final = {"Withdrawn": "proceeds", "FeesWithdrawn": "fee"}

_FOLDED: Final = (
    *("Transfer", "TicketsPurchased", "BatchMinted", "TicketGifted"),
    *_PAYOUTS,
    *_STATES,
)


_Mark: TypeAlias = tuple[Log, int, str | None, int | None]
"""A log with the token, and its new state or its new count of gifts."""


class _Facts(msgspec.Struct, frozen=True):
    """What a change says of tickets, held to what columns can hold."""

    transfers: Sequence[Fact]
    sales: Sequence[Fact]
    grants: Sequence[Fact]
    marks: Sequence[_Mark]
    refunds: Sequence[Fact]


class TicketProjector:
    """Keeps `tickets`, the facts of sales and money, and `contract_escrow`."""

    name = "tickets"
    tables = tables.NAMES
    events: Sequence[tuple[str, EventDecoder]] = tuple(("ticket", _TICKET[event]) for event in _FOLDED)
    creating: Collection[tuple[str, str]] = ()

    def created(self, fact: Fact) -> Contract:
        raise LookupError(fact)

    def fold(self, change: Change) -> Step | None:
        facts = _facts(change)
        minted, moved = _fold(change, facts)
        return _TicketStep(
            change,
            facts,
            _encoded(change, facts),
            _listed(change, facts),
            minted,
            tables.encoded_tickets(change.chain_id, minted),
            moved,
            _told_of_transfers(change, facts.transfers),
        )

    async def rewind(self, tx: Tx, chain_id: int, ancestor: int) -> Collection[str]:
        removed = await tables.remove_above(tx, chain_id, ancestor)
        await add_sold(tx, chain_id, removed.sold)
        return _stale(chain_id, removed.contracts)


class _TicketStep(msgspec.Struct, frozen=True):
    """A change of tickets before it is written; what is told of sales waits for how many remain."""

    change: Change
    facts: _Facts
    encoded: Sequence[bulk.Rows]
    listed: Mapping[str, tables.Rows]
    minted: Mapping[TicketKey, Minted]
    encoded_tickets: bulk.Rows | None
    moved: Mapping[TicketKey, Moved]
    told_of_transfers: Sequence[Message]

    async def write(self, tx: Tx) -> Told:
        chain_id = self.change.chain_id
        for rows in self.encoded:
            await rows.copy(tx)
        for table, rows in self.listed.items():
            await tables.add_facts(tx, table, rows)
        await tables.add_tickets(tx, chain_id, self.minted, self.encoded_tickets)
        await tables.move_tickets(tx, chain_id, self.moved)
        await tables.add_money(tx, chain_id, _money(self.change, self.facts))
        deltas = _sold_by_tier(self.facts)
        tiers = await add_sold(tx, chain_id, deltas)
        return Told(
            [
                *_told_of_sales(self.change, self.facts, tiers),
                *self.told_of_transfers,
                *await _told_of_refunds(tx, self.change, self.facts.refunds),
                *await _told_of_payouts(tx, self.change),
            ],
            _stale(chain_id, {address for address, _ in deltas}),
        )


def _facts(change: Change) -> _Facts:
    return _Facts(
        _of_tokens(change.of("ticket", "Transfer"), 2),
        _sold(change.of("ticket", "TicketsPurchased"), tokens=3, tier=4),
        _sold(change.of("ticket", "BatchMinted"), tokens=3, tier=1),
        _marks(change),
        _of_tokens(change.of("ticket", "Refunded"), 0),
    )


def _sold_by_tier(facts: _Facts) -> dict[TierKey, int]:
    deltas: defaultdict[TierKey, int] = defaultdict(int)
    for log, (_, _, _, tokens, tier, _) in facts.sales:
        deltas[log.address, tier] += len(tokens)
    for log, (_, tier, _, tokens) in facts.grants:
        deltas[log.address, tier] += len(tokens)
    return deltas


def _stale(chain_id: int, contracts: Iterable[Address]) -> list[str]:
    return [f"event:{_event_id(chain_id, address)}" for address in sorted(contracts)]


@lru_cache(maxsize=4_096)
def _event_id(chain_id: int, ticket_contract: Address) -> str:
    return str(derived_id(chain_id, ticket_contract))


def _of_tokens(facts: Sequence[Fact], position: int) -> Sequence[Fact]:
    """Return the facts whose token id can be one; the contracts count from 1 to 2^32 - 2."""
    if all(values[position] <= INT8_MAX for _, values in facts):
        return facts
    return [fact for fact in facts if fact[1][position] <= INT8_MAX]


def _sold(facts: Sequence[Fact], *, tokens: int, tier: int) -> list[Fact]:
    """Return the sales or grants of at least one ticket whose tier and tickets have ids that can be ones."""
    return [
        fact
        for fact in facts
        if fact[1][tokens] and fact[1][tier] <= INT4_MAX and max(fact[1][tokens]) <= INT8_MAX
    ]


def _marks(change: Change) -> list[_Mark]:
    """Return every new state and count of gifts as (log, token, state, gifts), in chain order."""
    marks: list[_Mark] = [
        (log, values[0], state, None)
        for event, state in _STATES.items()
        for log, values in _of_tokens(change.of("ticket", event), 0)
    ]
    marks += [
        (log, token_id, None, min(gifts, INT4_MAX))
        for log, (token_id, gifts) in _of_tokens(change.of("ticket", "TicketGifted"), 0)
    ]
    marks.sort(key=lambda mark: (mark[0].block_number, mark[0].log_index))
    return marks


def _encoded(change: Change, facts: _Facts) -> Sequence[bulk.Rows]:
    """Return the facts that come in thousands as rows to send."""
    moments = {number: bulk.moment(time) for number, time in change.times.items()}
    moved, sold = facts.transfers, facts.sales
    return (
        tables.TRANSFERS.rows(
            len(moved),
            repeat(change.chain_id),
            [log.block_number for log, _ in moved],
            [log.log_index for log, _ in moved],
            [log.address for log, _ in moved],
            [token_id for _, (_, _, token_id) in moved],
            [sender for _, (sender, _, _) in moved],
            [receiver for _, (_, receiver, _) in moved],
            [log.tx_hash for log, _ in moved],
            [moments[log.block_number] for log, _ in moved],
        ),
        tables.SALES.rows(
            len(sold),
            repeat(change.chain_id),
            [log.block_number for log, _ in sold],
            [log.log_index for log, _ in sold],
            [log.address for log, _ in sold],
            [values[0] for _, values in sold],
            [values[4] for _, values in sold],
            [len(values[3]) for _, values in sold],
            [values[3][0] for _, values in sold],
            [log.tx_hash for log, _ in sold],
            [moments[log.block_number] for log, _ in sold],
            [bulk.numeric(values[5]) for _, values in sold],
        ),
    )


def _listed(change: Change, facts: _Facts) -> Mapping[str, tables.Rows]:
    """Return the rarer facts as rows in the order of their table's columns."""
    return {
        "grants": [
            (*_place(change, log), tier, len(tokens), tokens[0], *_mined(change, log))
            for log, (_, tier, _, tokens) in facts.grants
        ],
        "ticket_marks": [(*_place(change, log), *mark) for log, *mark in facts.marks],
        "refunds": [(*_place(change, log), *values, *_mined(change, log)) for log, values in facts.refunds],
        "payouts": [
            (*_place(change, log), kind, *values, *_mined(change, log))
            for event, kind in _PAYOUTS.items()
            for log, values in change.of("ticket", event)
        ],
    }


def _place(change: Change, log: Log) -> tuple[int, int, int, Address]:
    return (change.chain_id, log.block_number, log.log_index, log.address)


def _mined(change: Change, log: Log) -> tuple[Any, ...]:
    return (log.tx_hash, change.times[log.block_number])


def _terms(facts: _Facts) -> dict[TicketKey, tuple[int, int]]:
    """Return tier and price paid of each ticket sold or granted."""
    terms: dict[TicketKey, tuple[int, int]] = {}
    for log, (_, _, _, tokens, tier, price) in facts.sales:
        terms.update(((log.address, token), (tier, price)) for token in tokens)
    for log, (_, tier, _, tokens) in facts.grants:
        terms.update(((log.address, token), (tier, 0)) for token in tokens)
    return terms


def _fold(change: Change, facts: _Facts) -> tuple[dict[TicketKey, Minted], dict[TicketKey, Moved]]:
    """Return the tickets that the change makes, and what it says of those that were there."""
    terms = _terms(facts)
    minted: dict[TicketKey, Minted] = {}
    moved: dict[TicketKey, Moved] = {}
    for log, (sender, receiver, token_id) in facts.transfers:
        key, number = (log.address, token_id), log.block_number
        known = minted.get(key) or moved.get(key)
        if known is not None:
            known.owner, known.updated_block = receiver, number
        elif sender == ZERO_ADDRESS:
            tier_id, price_wei = terms.get(key, (0, 0))
            minted[key] = Minted(receiver, tier_id, price_wei, number, change.times[number], number)
        else:
            moved[key] = Moved(number, receiver)
    for log, token_id, state, gifts in facts.marks:
        key = (log.address, token_id)
        ticket = minted.get(key) or moved.setdefault(key, Moved(log.block_number))
        ticket.updated_block = max(ticket.updated_block, log.block_number)
        if state is not None:
            ticket.state = state
        elif gifts is not None:
            ticket.gifts = gifts
    return minted, moved


def _money(change: Change, facts: _Facts) -> dict[Address, Money]:
    sums: defaultdict[Address, Money] = defaultdict(Money)
    for log, values in facts.sales:
        sums[log.address].paid_in_wei += len(values[3]) * values[5]
    for log, (_, _, amount_wei) in facts.refunds:
        sums[log.address].refunded_wei += amount_wei
    for log, (_, amount_wei) in change.of("ticket", "Withdrawn"):
        sums[log.address].withdrawn_wei += amount_wei
    for log, (_, amount_wei) in change.of("ticket", "FeesWithdrawn"):
        sums[log.address].fees_wei += amount_wei
    return sums


def _ticket_id(chain_id: int, ticket_contract: Address, token_id: int) -> str:
    return f"{chain_id}-0x{ticket_contract.hex()}-{token_id}"


def _told_of_sales(change: Change, facts: _Facts, tiers: Mapping[TierKey, TierSold]) -> list[Message]:
    sold = [(log, tier, tokens, buyer, price) for log, (buyer, _, _, tokens, tier, price) in facts.sales]
    sold += [(log, tier, tokens, None, 0) for log, (_, tier, _, tokens) in facts.grants]
    sold.sort(key=lambda sale: (sale[0].block_number, sale[0].log_index))
    remaining = {key: max(0, tier.supply - tier.sold) for key, tier in tiers.items()}
    messages: list[Message] = []
    # From the last sale back, because the tiers' rows say what remains after all of them.
    for log, tier, tokens, buyer, price in reversed(sold):
        if log.block_number < change.told_from:
            break
        key = (log.address, tier)
        left = remaining.get(key, 0)
        remaining[key] = left + len(tokens)
        data = {
            "eventId": _event_id(change.chain_id, log.address),
            "ticketIds": [_ticket_id(change.chain_id, log.address, token) for token in tokens],
            "buyer": checksum(buyer) if buyer is not None else None,
            "tier": tier,
            "price": str(price),
            "remaining": left,
        }
        channels: tuple[str, ...] = (f"event:{data['eventId']}",)
        if key in tiers and (organizer := tiers[key].organizer) is not None:
            channels += (f"organizer:{checksum(organizer)}",)
        messages.append(Message(channels, "ticket_sold", data, change.chain_id, log.block_number))
    messages.reverse()
    return messages


async def _told_of_refunds(tx: Tx, change: Change, refunds: Sequence[Fact]) -> list[Message]:
    told = [fact for fact in refunds if fact[0].block_number >= change.told_from]
    organizers = await organizers_of(tx, change.chain_id, {log.address for log, _ in told})
    messages: list[Message] = []
    for log, (token_id, holder, amount_wei) in told:
        identity, owner = _event_id(change.chain_id, log.address), checksum(holder)
        data = {
            "eventId": identity,
            "ticketId": _ticket_id(change.chain_id, log.address, token_id),
            "holder": owner,
            "amount": str(amount_wei),
        }
        channels: tuple[str, ...] = (f"event:{identity}", f"user:{owner}")
        if (organizer := organizers.get(log.address)) is not None:
            channels += (f"organizer:{checksum(organizer)}",)
        messages.append(Message(channels, "ticket_refunded", data, change.chain_id, log.block_number))
    return messages


async def _told_of_payouts(tx: Tx, change: Change) -> list[Message]:
    told = [
        (log, kind, values)
        for event, kind in _PAYOUTS.items()
        for log, values in change.of("ticket", event)
        if log.block_number >= change.told_from
    ]
    told.sort(key=lambda one: (one[0].block_number, one[0].log_index))
    organizers = await organizers_of(tx, change.chain_id, {log.address for log, _, _ in told})
    messages: list[Message] = []
    for log, kind, (receiver, amount_wei) in told:
        identity = _event_id(change.chain_id, log.address)
        data = {"eventId": identity, "kind": kind, "receiver": checksum(receiver), "amount": str(amount_wei)}
        channels: tuple[str, ...] = (f"event:{identity}",)
        if (organizer := organizers.get(log.address)) is not None:
            channels += (f"organizer:{checksum(organizer)}",)
        messages.append(Message(channels, "payout", data, change.chain_id, log.block_number))
    return messages


def _told_of_transfers(change: Change, transfers: Sequence[Fact]) -> list[Message]:
    """Tell the event and both holders; a mint is told as its sale."""
    messages: list[Message] = []
    chain_id, told_from = change.chain_id, change.told_from
    for log, (sender, receiver, token_id) in transfers:
        if sender == ZERO_ADDRESS or log.block_number < told_from:
            continue
        identity, number = _event_id(chain_id, log.address), log.block_number
        before, after = checksum(sender), checksum(receiver)
        data = {
            "eventId": identity,
            "ticketId": _ticket_id(chain_id, log.address, token_id),
            "from": before,
            "to": after,
        }
        channels = (f"event:{identity}", f"user:{before}")
        if after != before:
            channels += (f"user:{after}",)
        messages.append(Message(channels, "ticket_transferred", data, chain_id, number))
    return messages
