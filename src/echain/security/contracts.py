"""Watches who rules the platform's factory on a chain, and how: what it says now, and what it logged since.

What changes and changes back between two looks shows in its logs; what no log tells shows in what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from echain.chain.abi import compile_events
from echain.chain.contracts import contract, plain
from echain.chain.rpc import Rpc
from echain.chain.types import Log
from echain.infra.database import Tx
from echain.kernel.evm import Address, checksum, keccak, quantity, to_hex
from echain.security import service, sightstore
from echain.security.types import AlarmKind, Cause

_FACTORY: Final = "EventFactory"
_LOOKED: Final = "logs read up to block"
_ADMIN_ROLE: Final = bytes(32)
_PAUSER_ROLE: Final = keccak(b"PAUSER_ROLE")
_HAS_ROLE: Final = "hasRole(bytes32,address)"

_READ: Final[Mapping[str, tuple[str, AlarmKind]]] = {
    "paused": ("paused()", AlarmKind.CONTRACT_PAUSED),
    "owner": ("defaultAdmin()", AlarmKind.CONTRACT_OWNER_CHANGED),
    "pending owner": ("pendingDefaultAdmin()", AlarmKind.CONTRACT_OWNER_CHANGED),
    "implementation": ("implementation()", AlarmKind.CONTRACT_CHANGED),
    "check-in contract": ("checkIn()", AlarmKind.CONTRACT_CHANGED),
    "treasury": ("treasury()", AlarmKind.CONTRACT_CHANGED),
    "fee": ("feeBps()", AlarmKind.CONTRACT_CHANGED),
    "open to all": ("openCreation()", AlarmKind.CONTRACT_CHANGED),
}
"""What is asked, and what it is when the answer changes."""

_ROLES: Final = {"platform key is owner": _ADMIN_ROLE, "platform key may pause": _PAUSER_ROLE}

_LOGGED: Final[Mapping[str, AlarmKind]] = {
    "Paused": AlarmKind.CONTRACT_PAUSED,
    "RoleGranted": AlarmKind.CONTRACT_OWNER_CHANGED,
    "RoleRevoked": AlarmKind.CONTRACT_OWNER_CHANGED,
    "DefaultAdminTransferScheduled": AlarmKind.CONTRACT_OWNER_CHANGED,
    "DefaultAdminDelayChangeScheduled": AlarmKind.CONTRACT_OWNER_CHANGED,
    "ModuleTrusted": AlarmKind.CONTRACT_CHANGED,
    "FeeUpdated": AlarmKind.CONTRACT_CHANGED,
    "TreasuryUpdated": AlarmKind.CONTRACT_CHANGED,
    "ContractsSet": AlarmKind.CONTRACT_CHANGED,
    "OpenCreationUpdated": AlarmKind.CONTRACT_CHANGED,
}
"""What is an alarm when the factory logs it."""

KIND_OF_FIELD: Final[Mapping[str, AlarmKind]] = {
    **{field: kind for field, (_, kind) in _READ.items()},
    **dict.fromkeys(_ROLES, AlarmKind.CONTRACT_OWNER_CHANGED),
}

_EVENTS: Final = {
    name: event for name, event in compile_events(contract(_FACTORY).abi).items() if name in _LOGGED
}


class Sight(msgspec.Struct, frozen=True):
    """What one look at a factory showed: its fields, and its logs from one block to another."""

    chain_id: int
    factory: Address
    fields: Mapping[str, str]
    logs: Sequence[Log]
    upto: int


def thing_of(chain_id: int, factory: Address) -> str:
    """Return what a factory is called in alarms."""
    return f"chain {chain_id} factory {checksum(factory)}"


async def look(
    rpc: Rpc, factory: Address, platform: Address, *, since: int | None, upto: int, span: int
) -> Sight:
    """Ask what the factory says at the head, and what it logged after block ``since`` up to a final one.

    ``span`` is how many blocks one question may cover; what lies further is left to the next look. With
    ``since`` None its past is taken as it is.

    Raises:
        ChainUnreachable, RpcRefused, WrongChain: nobody can tell now.
    """
    abi = contract(_FACTORY)
    asked = [(field, signature, abi.encode(signature, [])) for field, (signature, _) in _READ.items()]
    asked += [(field, _HAS_ROLE, abi.encode(_HAS_ROLE, [role, platform])) for field, role in _ROLES.items()]
    answers = await rpc.batch(
        [("eth_call", ({"to": checksum(factory), "data": to_hex(data)}, "latest")) for _, _, data in asked]
    )
    fields = {
        field: _said(abi.decode_output(signature, bytes.fromhex(answer[2:])))
        for (field, signature, _), answer in zip(asked, answers, strict=True)
    }
    if since is None or since >= upto:
        return Sight(rpc.chain_id, factory, fields, (), upto)
    last = min(upto, since + span)
    found = await rpc.logs(
        {
            "address": checksum(factory),
            "fromBlock": quantity(since + 1),
            "toBlock": quantity(last),
            "topics": [[to_hex(event.topic0) for event in _EVENTS.values()]],
        }
    )
    return Sight(rpc.chain_id, factory, fields, found, last)


async def looked_upto(tx: Any, chain_id: int, factory: Address) -> int | None:
    """Return up to which block a factory's logs were read; None before the first look."""
    block = await sightstore.last(tx, thing_of(chain_id, factory), _LOOKED)
    return None if block is None else int(block)


async def judge(tx: Tx, sight: Sight, *, now: datetime) -> None:
    """Remember what was seen, and suspect what is not as it was accepted. The first sight is a baseline."""
    thing = thing_of(sight.chain_id, sight.factory)
    turns = await sightstore.see(tx, thing, sight.fields, now=now)
    causes = [
        Cause(
            KIND_OF_FIELD[turn.field],
            thing,
            # The same change seen again is the same cause; there and back again is another.
            f"{thing}: {turn.field} is {turn.now}, {turn.changes}",
            {"field": turn.field, "accepted": turn.accepted, "now": turn.now},
            now,
        )
        for turn in turns
    ]
    causes += [_logged(sight.chain_id, thing, log, now) for log in sight.logs]
    await sightstore.note(tx, thing, _LOOKED, str(sight.upto), now=now)
    await service.suspect(tx, causes)


def _logged(chain_id: int, thing: str, log: Log, now: datetime) -> Cause:
    name, event = next((name, event) for name, event in _EVENTS.items() if log.topics[0] == event.topic0)
    (values,) = event.decode([log])
    said = dict(zip(event.fields, map(_word, values or ()), strict=False))
    return Cause(
        _LOGGED[name],
        thing,
        f"log {chain_id} {to_hex(log.tx_hash)} {log.log_index}",
        {"log": name, **said, "transaction": to_hex(log.tx_hash), "block": str(log.block_number)},
        now,
    )


def _said(values: tuple[Any, ...]) -> str:
    return " ".join(_word(value) for value in values)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(plain(value))
