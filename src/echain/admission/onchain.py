"""Folds what the check-in contract says: which gates may admit, and who was there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

import msgspec

from echain.admission import tables
from echain.admission.rules import poap_id
from echain.chain.abi import INT8_MAX, compile_events
from echain.chain.contracts import contract
from echain.chain.types import Change, Contract, EventDecoder, Fact, Step, Told
from echain.events.service import EventKey, events_by_number
from echain.infra.database import Tx
from echain.kernel.evm import checksum
from echain.kernel.messages import Message
from echain.kernel.time import from_unix

_POAP: Final = compile_events(contract("Poap").abi)


class AdmissionProjector:
    """Keeps `gate_keys` and `poaps`."""

    name = "admission"
    tables = tables.NAMES
    events: Sequence[tuple[str, EventDecoder]] = (("poap", _POAP["GateSet"]), ("poap", _POAP["CheckIn"]))
    creating: Collection[tuple[str, str]] = ()

    def created(self, fact: Fact) -> Contract:
        raise LookupError(fact)

    def fold(self, change: Change) -> Step | None:
        settings = change.of("poap", "GateSet")
        admitted = [fact for fact in change.of("poap", "CheckIn") if fact[1][2] <= INT8_MAX]
        return _AdmissionStep(change, settings, admitted) if settings or admitted else None

    async def rewind(self, tx: Tx, chain_id: int, ancestor: int) -> Collection[str]:
        await tables.remove_above(tx, chain_id, ancestor)
        return ()


class _AdmissionStep(msgspec.Struct, frozen=True):
    """A change of gates and POAPs."""

    change: Change
    settings: Sequence[Fact]
    admitted: Sequence[Fact]

    async def write(self, tx: Tx) -> Told:
        chain_id = self.change.chain_id
        if self.settings:
            await tables.add_gate_settings(
                tx,
                [
                    (
                        *(chain_id, log.block_number, log.log_index, number, gate),
                        *(from_unix(start), from_unix(end)),
                    )
                    for log, (number, gate, start, end) in self.settings
                ],
            )
            gates = {(number, gate) for _, (number, gate, _, _) in self.settings}
            await tables.fold_gates(tx, chain_id, gates)
        await tables.add_poaps(
            tx,
            [
                (
                    *(chain_id, number, token_id, attendee, log.block_number, log.log_index),
                    *(log.tx_hash, self.change.times[log.block_number]),
                )
                for log, (attendee, number, token_id) in self.admitted
            ],
        )
        return Told(await _told(tx, self.change, self.admitted))


async def _told(tx: Tx, change: Change, admitted: Sequence[Fact]) -> list[Message]:
    told = [fact for fact in admitted if fact[0].block_number >= change.told_from]
    numbers = {number for _, (_, number, _) in told}
    if not numbers:
        return []
    known = await events_by_number(tx, change.chain_id, numbers)
    counts = await tables.checked_in(tx, change.chain_id, numbers)
    tickets = [(known[number].ticket_contract, token) for _, (_, number, token) in told if number in known]
    gates = await tables.gates_of(tx, change.chain_id, tickets)
    messages: list[Message] = []
    for log, (attendee, number, token_id) in reversed(told):
        event = known.get(number)
        if event is None:
            continue
        # Which gate it was is not in the log; the door's own record has it, if it was one of ours.
        gate = gates.get((event.ticket_contract, token_id))
        used = _CheckedIn(change.chain_id, log.block_number, event, checksum(attendee), token_id)
        messages += _told_of_one(used, gate, counts[number])
        counts[number] -= 1
    messages.reverse()
    return messages


class _CheckedIn(msgspec.Struct, frozen=True):
    chain_id: int
    block_number: int
    event: EventKey
    attendee: str
    token_id: int


def _told_of_one(used: _CheckedIn, gate: UUID | None, count: int) -> tuple[Message, Message]:
    """Return what is told of one check-in, the last thing first."""
    event, user, place = used.event, f"user:{used.attendee}", (used.chain_id, used.block_number)
    common = {
        "eventId": str(event.id),
        "ticketId": f"{used.chain_id}-0x{event.ticket_contract.hex()}-{used.token_id}",
    }
    complete = {
        **common,
        "attendee": used.attendee,
        "gate": None if gate is None else str(gate),
        "count": count,
    }
    earned = {
        **common,
        "kind": "poap",
        "chainId": used.chain_id,
        "poapId": str(poap_id(event.blockchain_id, used.token_id)),
    }
    channels = (f"event:{event.id}", user, f"organizer:{checksum(event.organizer)}")
    return (
        Message((user,), "reward_earned", earned, *place),
        Message(channels, "checkin_complete", complete, *place),
    )
