"""Folds what the check-in contract says: which gates may admit, and who was there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from echain.admission import tables
from echain.chain.abi import INT8_MAX, compile_events
from echain.chain.contracts import contract
from echain.chain.types import Change, Contract, EventDecoder, Fact, Step, Told
from echain.events.service import events_by_number
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
    messages: list[Message] = []
    for log, (attendee, number, token_id) in reversed(told):
        event = known.get(number)
        if event is None:
            continue
        count, counts[number] = counts[number], counts[number] - 1
        data = {
            "eventId": str(event.id),
            "ticketId": f"{change.chain_id}-0x{event.ticket_contract.hex()}-{token_id}",
            "attendee": checksum(attendee),
            # Which gate it was is not in the log; the door's own record has it.
            "gate": None,
            "count": count,
        }
        channels = (
            f"event:{event.id}",
            f"user:{data['attendee']}",
            f"organizer:{checksum(event.organizer)}",
        )
        messages.append(Message(channels, "checkin_complete", data, change.chain_id, log.block_number))
    messages.reverse()
    return messages
