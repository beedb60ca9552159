"""Folds what the factory and the ticket contracts say of events and tiers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.chain.abi import INT4_MAX, INT8_MAX, compile_events
from echain.chain.contracts import contract
from echain.chain.types import Change, Contract, EventDecoder, Fact, Log, Step, Told
from echain.events import tables
from echain.events.tables import EventKey, TierKey
from echain.infra.database import Tx
from echain.kernel.evm import Address, checksum, to_hex
from echain.kernel.ids import derived_id
from echain.kernel.messages import Message
from echain.kernel.time import from_unix, rfc3339

_FACTORY: Final = compile_events(contract("EventFactory").abi)
_TICKET: Final = compile_events(contract("EventTicket").abi)

_GIFT_POLICIES: Final = ("free", "limited", "forbidden")


class EventProjector:
    """Keeps `events` and `tiers`, and finds the ticket contracts that the factory makes."""

    name = "events"
    tables = tables.NAMES
    events: Sequence[tuple[str, EventDecoder]] = (
        ("factory", _FACTORY["EventCreated"]),
        ("factory", _FACTORY["EventUpdated"]),
        ("factory", _FACTORY["EventCancelled"]),
        ("ticket", _TICKET["TierAdded"]),
        ("ticket", _TICKET["PriceUpdated"]),
    )
    creating: Collection[tuple[str, str]] = (("factory", "EventCreated"),)

    def created(self, fact: Fact) -> Contract:
        log, values = fact
        return Contract(values[2], "ticket", log.block_number)

    def fold(self, change: Change) -> Step | None:
        step = _EventStep(
            change,
            change.of("factory", "EventCreated"),
            change.of("factory", "EventUpdated"),
            change.of("factory", "EventCancelled"),
            _keyed(change.of("ticket", "TierAdded")),
            _keyed(change.of("ticket", "PriceUpdated")),
        )
        return step if step.created or step.updated or step.cancelled or step.added or step.priced else None

    async def rewind(self, tx: Tx, chain_id: int, ancestor: int) -> Collection[str]:
        return _stale(chain_id, await tables.remove_above(tx, chain_id, ancestor))


class _EventStep(msgspec.Struct, frozen=True):
    """A change of events and tiers; they are few, so all is left for the database's statements."""

    change: Change
    created: Sequence[Fact]
    updated: Sequence[Fact]
    cancelled: Sequence[Fact]
    added: Sequence[Fact]
    priced: Sequence[Fact]

    async def write(self, tx: Tx) -> Told:
        change = self.change
        for table, rows in self._rows().items():
            await tables.add_facts(tx, table, rows)
        by_number = await tables.events_by_number(
            tx, change.chain_id, {values[0] for _, values in (*self.updated, *self.cancelled)}
        )
        made = {values[2] for _, values in self.created}
        touched = made | {event.ticket_contract for event in by_number.values()}
        touched |= {log.address for log, _ in (*self.added, *self.priced)}
        tiers: set[TierKey] = {(log.address, values[0]) for log, values in (*self.added, *self.priced)}
        await tables.fold_events(tx, change.chain_id, touched)
        await tables.fold_tiers(tx, change.chain_id, tiers)
        added = [fact for fact in self.added if fact[0].address not in made]
        messages = [
            *_told_of_events(change, self.created, self.updated, self.cancelled, by_number),
            *_told_of_tiers(change, added, self.priced),
        ]
        return Told(messages, _stale(change.chain_id, touched))

    def _rows(self) -> dict[str, tables.Rows]:
        """Return the facts as rows in the order of their table's columns."""
        change = self.change
        return {
            "event_creations": [_creation(change, *fact) for fact in self.created],
            "event_updates": [_update(change, *fact) for fact in self.updated],
            "event_cancellations": [(*_place(change, log), values[0]) for log, values in self.cancelled],
            "tier_additions": [_addition(change, *fact) for fact in self.added],
            "price_updates": [
                (*_place(change, log), log.address, tier_id, new) for log, (tier_id, _, new) in self.priced
            ],
        }


def event_id(chain_id: int, ticket_contract: Address) -> UUID:
    """Return the id of the event whose tickets this contract holds."""
    return derived_id(chain_id, ticket_contract)


def _stale(chain_id: int, contracts: Iterable[Address]) -> list[str]:
    return [f"event:{event_id(chain_id, address)}" for address in sorted(contracts)]


def _keyed(facts: Sequence[Fact]) -> list[Fact]:
    """Return the facts whose tier has an id that can be one; the contract counts from 0 to 19."""
    return [fact for fact in facts if fact[1][0] <= INT4_MAX]


def _place(change: Change, log: Log) -> tuple[int, int, int]:
    return (change.chain_id, log.block_number, log.log_index)


def _creation(change: Change, log: Log, values: tuple[Any, ...]) -> tuple[Any, ...]:
    number, organizer, ticket_contract, name, uri, price, maximum, start, end, digest, fee, rules = values
    policy, max_gifts, to_contracts, cap, royalty = rules
    return (
        *_place(change, log),
        ticket_contract,
        event_id(change.chain_id, ticket_contract),
        number,
        organizer,
        name,
        uri,
        digest,
        price,
        min(maximum, INT8_MAX),
        from_unix(start),
        from_unix(end),
        min(fee, INT4_MAX),
        # A policy of a newer contract than this program is taken for the strictest.
        _GIFT_POLICIES[min(policy, 2)],
        min(max_gifts, INT4_MAX),
        to_contracts,
        min(cap, INT4_MAX),
        min(royalty, INT4_MAX),
        log.tx_hash,
        change.times[log.block_number],
    )


def _update(change: Change, log: Log, values: tuple[Any, ...]) -> tuple[Any, ...]:
    number, uri, digest, start, end = values
    return (*_place(change, log), number, uri, digest, from_unix(start), from_unix(end))


def _addition(change: Change, log: Log, values: tuple[Any, ...]) -> tuple[Any, ...]:
    tier_id, (price, supply, sale_start, sale_end, per_purchase, per_wallet, root) = values
    return (
        *_place(change, log),
        log.address,
        tier_id,
        price,
        min(supply, INT8_MAX),
        _moment(sale_start),
        _moment(sale_end),
        min(per_purchase, INT4_MAX),
        min(per_wallet, INT4_MAX),
        root,
    )


def _moment(seconds: int) -> datetime | None:
    """Return a bound of a sale; zero says that there is none of its own."""
    return from_unix(seconds) if seconds else None


def _told_of_events(
    change: Change,
    created: Sequence[Fact],
    updated: Sequence[Fact],
    cancelled: Sequence[Fact],
    by_number: Mapping[int, EventKey],
) -> list[Message]:
    messages: list[Message] = []
    for log, values in created:
        if log.block_number < change.told_from:
            continue
        row = dict(zip(_FACTORY["EventCreated"].fields, values, strict=True))
        identity = event_id(change.chain_id, row["ticketContract"])
        data = {
            "eventId": str(identity),
            "chainId": change.chain_id,
            "blockchain_id": str(row["eventId"]),
            "ticketContract": checksum(row["ticketContract"]),
            "organizer": checksum(row["organizer"]),
            "name": row["name"],
            "metadata_uri": row["metadataURI"],
            "ticket_price": str(row["ticketPrice"]),
            "max_tickets": min(row["maxTickets"], INT8_MAX),
            "startsAt": rfc3339(from_unix(row["startTime"])),
            "endsAt": rfc3339(from_unix(row["endTime"])),
        }
        channels = (f"event:{identity}", f"organizer:{data['organizer']}", "platform")
        messages.append(_message(change, log, "event_created", channels, data))
    for log, (number, uri, digest, start, end) in updated:
        changed: dict[str, object] = {
            "metadata_uri": uri,
            "metadataHash": to_hex(digest),
            "startsAt": rfc3339(from_unix(start)),
            "endsAt": rfc3339(from_unix(end)),
        }
        messages += _told_of_change(change, log, by_number.get(number), changed)
    for log, (number,) in cancelled:
        messages += _told_of_change(change, log, by_number.get(number), {"cancelled": True})
    return messages


def _told_of_change(
    change: Change, log: Log, event: EventKey | None, changed: Mapping[str, object]
) -> list[Message]:
    if event is None or log.block_number < change.told_from:
        return []
    channels = (f"event:{event.id}", f"organizer:{checksum(event.organizer)}", "platform")
    return [_message(change, log, "event_updated", channels, {"eventId": str(event.id), **changed})]


def _told_of_tiers(change: Change, added: Sequence[Fact], priced: Sequence[Fact]) -> list[Message]:
    messages: list[Message] = []
    for log, (tier_id, tier) in added:
        if log.block_number < change.told_from:
            continue
        identity = str(event_id(change.chain_id, log.address))
        data = {
            "eventId": identity,
            "tier": {"id": tier_id, "price": str(tier[0]), "supply": min(tier[1], INT8_MAX)},
        }
        messages.append(_message(change, log, "event_updated", (f"event:{identity}",), data))
    for log, (tier_id, old, new) in priced:
        if log.block_number < change.told_from:
            continue
        identity = str(event_id(change.chain_id, log.address))
        data = {"eventId": identity, "tier": tier_id, "old": str(old), "new": str(new)}
        messages.append(_message(change, log, "price_update", (f"event:{identity}", "market"), data))
    return messages


def _message(
    change: Change, log: Log, kind: str, channels: tuple[str, ...], data: Mapping[str, object]
) -> Message:
    return Message(channels, kind, data, change.chain_id, log.block_number)
