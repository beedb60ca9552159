"""Routes of gates, scans, ticket codes and proofs of attendance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import structlog

from echain.accounts.types import address_of
from echain.admission import door, service
from echain.admission.codes import CodeKey
from echain.admission.types import (
    AdmissionNotFound,
    CheckInContent,
    DoorTicket,
    Gate,
    GateContent,
    GateFilter,
    GateNotFound,
    GatePath,
    GateSearch,
    GateSecretInvalid,
    NoRelay,
    OpenedGate,
    Operator,
    Poap,
    PoapFilter,
    ScanAnswer,
    ScanContent,
    ScanReused,
    TicketCode,
    TicketSpent,
    UndoContent,
    Undone,
    UndoTooLate,
)
from echain.chain.intent import Intent
from echain.chain.rpc import ChainUnreachable
from echain.edge.http import Auth, Call, Endpoint, Nothing, Reply, get, post
from echain.events import service as events
from echain.events.intents import Intents
from echain.events.types import ChainNotServed, EventNotFound, NotPublished
from echain.infra.database import Database
from echain.kernel.evm import Address
from echain.kernel.paging import Page
from echain.organizations.types import Permission, PermissionMissing
from echain.tickets.types import TicketKey, TicketNotFound, TicketPath

GATES: Final = "gates"
TICKETS: Final = "tickets"
ATTENDANCE: Final = "attendance"

_TICKET: Final = re.compile(r"([1-9][0-9]{0,17})-0x([0-9a-f]{40})-(0|[1-9][0-9]{0,9})")
_NO_STORE: Final = (("Cache-Control", "no-store"),)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.admission")


def endpoints(
    database: Database, intents: Intents, *, code_key: CodeKey, relays: Mapping[int, service.Relay]
) -> list[Endpoint]:
    """Return the door's routes; ``relays`` says by chain id where the platform mints POAPs itself."""
    return [
        *_gate_endpoints(database, intents, relays),
        *_door_endpoints(database, code_key),
        *_holder_endpoints(database, code_key),
    ]


def _gate_endpoints(
    database: Database, intents: Intents, relays: Mapping[int, service.Relay]
) -> list[Endpoint]:
    @post(
        "/api/v1/gates",
        summary="Open a gate of an event; its secret is shown this once",
        tag=GATES,
        body=GateContent,
        answer=OpenedGate,
        status=201,
        auth=Auth.USER,
        errors=(EventNotFound, NotPublished, PermissionMissing),
    )
    async def open_gate(call: Call[Nothing, Nothing, GateContent]) -> Reply:
        async with database.connection() as connection:
            event, standing = await events.managed(
                connection, call.body.event_id, call.user, Permission.GATES
            )
        intent = None
        try:
            intent = await service.enabling_intent(
                database, intents, relays.get(event.chain_id), event, now=call.now
            )
        except (NoRelay, ChainNotServed, ChainUnreachable) as error:
            # The gate admits without the chain; its key is enabled later by POST /gates/{id}/enable.
            _log.warning("admission.intent_missing", reason=error.message)
        async with database.transaction() as tx:
            gate, secret = await service.open_gate(tx, event, call.body.name, now=call.now)
            await call.audit(
                tx,
                "gate.opened",
                resource=f"gate:{gate.id}",
                organization=standing.organization_id,
                diff={"name": [None, gate.name], "event": [None, gate.event_id]},
            )
        return Reply(service.opened(gate, secret, intent), headers=_NO_STORE)

    @get(
        "/api/v1/gates",
        summary="List an event's gates, the revoked ones too",
        tag=GATES,
        query=GateFilter,
        answer=list[Gate],
        auth=Auth.USER,
        errors=(EventNotFound, NotPublished, PermissionMissing),
    )
    async def list_gates(call: Call[Nothing, GateFilter, Nothing]) -> list[Gate]:
        async with database.connection() as connection:
            event, _ = await events.managed(connection, call.query.event_id, call.user, Permission.GATES)
            return await service.gates(connection, event)

    @post(
        "/api/v1/gates/{id}/revoke",
        summary="Shut a gate for good; what it admitted stands",
        tag=GATES,
        path_params=GatePath,
        answer=Gate,
        auth=Auth.USER,
        errors=(GateNotFound, PermissionMissing),
    )
    async def revoke(call: Call[GatePath, Nothing, Nothing]) -> Gate:
        async with database.transaction() as tx:
            gate = await service.revoke_gate(tx, call.path.id, call.user, now=call.now)
            if gate.revoked_at == call.now:
                organization = await service.organization_of_gate(tx, gate.id)
                diff = {"revokedAt": [None, gate.revoked_at]}
                await call.audit(
                    tx, "gate.revoked", resource=f"gate:{gate.id}", organization=organization, diff=diff
                )
            return gate

    @post(
        "/api/v1/gates/{id}/enable",
        summary="Prepare the transaction that lets the platform mint the event's POAPs",
        tag=GATES,
        path_params=GatePath,
        answer=Intent,
        auth=Auth.USER,
        errors=(GateNotFound, PermissionMissing, NoRelay, ChainNotServed, ChainUnreachable),
    )
    async def enable(call: Call[GatePath, Nothing, Nothing]) -> Intent:
        async with database.connection() as connection:
            event = await service.event_of_gate(connection, call.path.id, call.user)
        relay = relays.get(event.chain_id)
        return await service.enabling_intent(database, intents, relay, event, now=call.now)

    return [open_gate, list_gates, revoke, enable]


def _door_endpoints(database: Database, code_key: CodeKey) -> list[Endpoint]:
    tally = door.Tally()

    @post(
        "/api/v1/gates/{id}/scan",
        summary="Judge a ticket code and admit its holder once",
        tag=GATES,
        path_params=GatePath,
        body=ScanContent,
        answer=ScanAnswer,
        auth=Auth.GATE,
        errors=(GateNotFound, GateSecretInvalid, ScanReused),
        description="Whatever the verdict, the answer is 200 and the scan is kept.",
    )
    async def scan(call: Call[GatePath, Nothing, ScanContent]) -> ScanAnswer:
        if call.user.id != call.path.id:
            raise GateNotFound
        # One statement that commits by itself is the whole transaction.
        async with database.connection() as connection:
            return await door.scan(
                connection,
                tally,
                Operator(gate=call.path.id),
                key=code_key,
                code=call.body.code,
                scan_id=call.body.scan_id,
                mark=call.mark,
                now=call.now,
            )

    @post(
        "/api/v1/tickets/{id}/checkin",
        summary="Check a ticket in by hand, without a code",
        tag=TICKETS,
        path_params=TicketPath,
        body=CheckInContent,
        answer=ScanAnswer,
        auth=Auth.ANY,
        errors=(TicketNotFound, PermissionMissing, GateSecretInvalid, ScanReused),
        description="By a gate, or by a member who may admit. Whatever the verdict, it is kept as a scan.",
    )
    async def check_in(call: Call[TicketPath, Nothing, CheckInContent]) -> ScanAnswer:
        ticket = _ticket(call.path.id)
        async with database.connection() as connection:
            operator = await service.operator_for(connection, call.user, ticket)
            return await door.check_in(
                connection,
                tally,
                operator,
                ticket,
                scan_id=call.body.scan_id,
                mark=call.mark,
                now=call.now,
            )

    @post(
        "/api/v1/gates/{id}/undo",
        summary="Take an admission back, so that the ticket may be admitted again",
        tag=GATES,
        path_params=GatePath,
        body=UndoContent,
        answer=Undone,
        auth=Auth.ANY,
        errors=(GateNotFound, PermissionMissing, AdmissionNotFound, UndoTooLate),
        description="By a member who may admit at any time, by the gate that admitted within ten minutes.",
    )
    async def undo(call: Call[GatePath, Nothing, UndoContent]) -> Undone:
        async with database.transaction() as tx:
            undone = await service.undo(tx, call.user, call.path.id, call.body.admission_id, now=call.now)
            if undone.undone_at == call.now:
                await call.audit(
                    tx,
                    "admission.undone",
                    resource=f"admission:{undone.admission_id}",
                    organization=await service.organization_of_gate(tx, call.path.id),
                    diff={"undoneAt": [None, undone.undone_at], "tokenId": [undone.token_id] * 2},
                )
            return undone

    @get(
        "/api/v1/gates/{id}/tickets",
        summary="Look a ticket of the gate's event up, by number or holder",
        tag=GATES,
        path_params=GatePath,
        query=GateSearch,
        answer=list[DoorTicket],
        auth=Auth.ANY,
        errors=(GateNotFound, PermissionMissing),
    )
    async def search(call: Call[GatePath, GateSearch, Nothing]) -> Page[DoorTicket]:
        async with database.connection() as connection:
            return await service.search(connection, call.user, call.path.id, call.query)

    return [scan, check_in, undo, search]


def _holder_endpoints(database: Database, code_key: CodeKey) -> list[Endpoint]:
    @get(
        "/api/v1/tickets/{id}/qr",
        summary="Get the code that admits you with your ticket now; it changes every 30 seconds",
        tag=TICKETS,
        path_params=TicketPath,
        answer=TicketCode,
        auth=Auth.USER,
        errors=(TicketNotFound, TicketSpent),
    )
    async def code(call: Call[TicketPath, Nothing, Nothing]) -> Reply:
        ticket = _ticket(call.path.id)
        async with database.connection() as connection:
            shown = await service.ticket_code(
                connection, code_key, ticket, address_of(call.user), now=call.now
            )
        return Reply(shown, headers=_NO_STORE)

    @get(
        "/api/v1/poaps",
        summary="List proofs of attendance of somebody, or of an event",
        tag=ATTENDANCE,
        query=PoapFilter,
        answer=list[Poap],
        errors=(EventNotFound,),
    )
    async def poaps(call: Call[Nothing, PoapFilter, Nothing]) -> Page[Poap]:
        async with database.connection() as connection:
            return await service.poaps(connection, call.query)

    return [code, poaps]


def _ticket(text: str) -> TicketKey:
    """Return the ticket that a path names.

    Raises:
        TicketNotFound: no ticket has such a name.
    """
    named = _TICKET.fullmatch(text.lower())
    if named is None:
        raise TicketNotFound
    chain_id, ticket_contract, token_id = named.groups()
    return TicketKey(int(chain_id), Address(bytes.fromhex(ticket_contract)), int(token_id))
