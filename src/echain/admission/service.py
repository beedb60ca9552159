"""The door: gates are opened, codes given out, tickets judged and admitted, admissions undone."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.admission import codes, poapstore, rules, store
from echain.admission.authentication import GateAuthenticator, hashed, new_secret
from echain.admission.types import (
    AdmissionNotFound,
    Desk,
    DoorTicket,
    Gate,
    GateNotFound,
    GateSearch,
    NoRelay,
    OpenedGate,
    Operator,
    Poap,
    PoapFilter,
    TicketCode,
    TicketSpent,
    Undone,
    UndoTooLate,
)
from echain.chain.contracts import contract
from echain.chain.deploy import recorded
from echain.chain.intent import Intent
from echain.edge.http import Caller
from echain.events import service as events
from echain.events.intents import Intents
from echain.events.types import Published
from echain.infra import outbox
from echain.infra.database import Connection, Database, Row, Tx
from echain.kernel.errors import invalid_field
from echain.kernel.evm import Address, checksum, parse_address, to_hex
from echain.kernel.ids import derived_id, uuid7
from echain.kernel.messages import Message
from echain.kernel.paging import Page, numbered
from echain.kernel.time import Clock
from echain.organizations import service as organizations
from echain.organizations.types import Permission, Standing
from echain.tickets.types import TicketKey, TicketNotFound

SET_GATE_GAS: Final = 100_000
"""Measured 56k for a first term; what is not used is not paid."""


class Relay(msgspec.Struct, frozen=True):
    """The platform's own key on one chain, which checks tickets in there.

    ``poap`` None: the POAP contract is where the address book says, once it is deployed.
    """

    sender: Address
    poap: Address | None = None


def gate_authenticator(database: Database, clock: Clock) -> GateAuthenticator:
    """Return what tells gates by their secrets."""
    return GateAuthenticator(database, clock)


async def gate_for(
    connection: Connection, caller: Caller, gate_id: UUID, permission: Permission
) -> tuple[Row, Operator, Standing | None]:
    """Return a gate that the caller may act for, as whom, and what a person is to its organizer.

    A gate acts for itself unless it was revoked; a person for every gate of an event, revoked or not.

    Raises:
        GateNotFound: no such gate, or the caller has nothing to do with it.
        PermissionMissing: the caller's role does not allow it.
    """
    gate = await store.gate(connection, gate_id)
    if gate is None:
        raise GateNotFound
    if caller.kind == "gate":
        if caller.id != gate_id or gate["revoked_at"] is not None:
            raise GateNotFound
        return gate, Operator(gate=gate_id), None
    organizer = Address(gate["organizer"])
    standing = await organizations.require(connection, caller, organizer, permission, missing=GateNotFound)
    return gate, _at_desk(caller, organizer), standing


async def operator_for(connection: Connection, caller: Caller, ticket: TicketKey) -> Operator:
    """Return as whom the caller may check a ticket in by hand; of a gate it is judged with the ticket.

    Raises:
        TicketNotFound: there is no such event, or the caller has nothing to do with it.
        PermissionMissing: the caller's role does not allow it.
    """
    if caller.kind == "gate":
        return Operator(gate=caller.id)
    organizer = await store.organizer_of(connection, ticket.chain_id, ticket.ticket_contract)
    if organizer is None:
        raise TicketNotFound
    await organizations.require(connection, caller, organizer, Permission.ADMIT, missing=TicketNotFound)
    return _at_desk(caller, organizer)


def _at_desk(caller: Caller, organizer: Address) -> Operator:
    return Operator(desk=Desk(organizer, caller.address or organizer))


async def undo(tx: Tx, caller: Caller, gate_id: UUID, admission_id: UUID, *, now: datetime) -> Undone:
    """Take an admission back, so that the ticket may be admitted again; undoing twice changes nothing.

    ``gate_id`` names a gate of the event. Its POAP, if minted by now, stays with the holder.

    Raises:
        GateNotFound, PermissionMissing: see `gate_for`.
        AdmissionNotFound: the gate's event has no such admission.
        UndoTooLate: a gate may undo what it admitted itself within ten minutes, nothing else.
    """
    gate, operator, _ = await gate_for(tx, caller, gate_id, Permission.ADMIT)
    admission = await store.lock_admission(tx, admission_id, gate["chain_id"], gate["ticket_contract"])
    if admission is None:
        raise AdmissionNotFound
    if not rules.may_undo(
        operator, admitted_by=admission["gate_id"], admitted_at=admission["admitted_at"], now=now
    ):
        raise UndoTooLate
    undone_at = admission["undone_at"]
    if undone_at is None:
        undone_at = now
        await store.undo(tx, admission_id, operator, now)
        await outbox.publish(tx, [_told_of_undoing(gate, admission["gate_id"])])
    return Undone(admission_id=admission_id, token_id=admission["token_id"], undone_at=undone_at)


def _told_of_undoing(gate: Row, admitted_by: UUID | None) -> Message:
    event_id = derived_id(gate["chain_id"], gate["ticket_contract"])
    told = {"eventId": str(event_id), "gate": None if admitted_by is None else str(admitted_by)}
    return Message((f"event:{event_id}",), "admission_undone", told)


async def enabling_intent(
    database: Database, intents: Intents, relay: Relay | None, event: Published, *, now: datetime
) -> Intent:
    """Return the organizer's transaction that lets the platform's key check tickets of the event in.

    Raises:
        NoRelay: the platform has no key on the event's chain, or no POAP contract stands there.
        ChainNotServed, ChainUnreachable: nothing can be written there, or no node quotes the fees.
    """
    poap = await poap_contract(database, relay, event.chain_id)
    if relay is None or poap is None:
        raise NoRelay
    valid_from, valid_until = rules.gate_key_term(now=now, ends_at=event.ends_at)
    return await intents.prepare(
        event.chain_id,
        sender=event.organizer,
        to=poap,
        data=contract("Poap").encode(
            "setGate(uint256,address,uint40,uint40)",
            [event.blockchain_id, relay.sender, valid_from, valid_until],
        ),
        summary=f"Let the platform mint proofs of attendance for {event.name}",
        gas=SET_GATE_GAS,
    )


async def poap_contract(database: Database, relay: Relay | None, chain_id: int) -> Address | None:
    """Return where the POAP contract of a chain stands, as configured or as recorded when it was deployed."""
    if relay is not None and relay.poap is not None:
        return relay.poap
    deployment = await recorded(database, chain_id)
    return None if deployment is None else deployment.poap


async def open_gate(tx: Tx, event: Published, name: str, *, now: datetime) -> tuple[Gate, str]:
    """Keep a new gate of an event and return it with its secret, of which only a hash is kept."""
    gate_id, secret = uuid7(), new_secret()
    await store.insert_gate(
        tx,
        gate_id=gate_id,
        chain_id=event.chain_id,
        ticket_contract=event.ticket_contract,
        event_tag=codes.event_tag(event.chain_id, event.ticket_contract),
        name=name,
        secret_hash=hashed(secret),
        organizer=event.organizer,
        now=now,
    )
    gate = Gate(
        id=gate_id,
        event_id=event.public_id,
        chain_id=event.chain_id,
        ticket_contract=checksum(event.ticket_contract),
        name=name,
        created_at=now,
        revoked_at=None,
    )
    return gate, secret


def opened(gate: Gate, secret: str, intent: Intent | None) -> OpenedGate:
    """Return what the organizer is shown of a new gate."""
    return OpenedGate(
        id=gate.id,
        event_id=gate.event_id,
        chain_id=gate.chain_id,
        ticket_contract=gate.ticket_contract,
        name=gate.name,
        created_at=gate.created_at,
        secret=secret,
        intent=intent,
    )


async def organization_of_gate(connection: Connection, gate_id: UUID) -> UUID | None:
    """Return the organization whose event a gate stands at, None when it belongs to none."""
    organizer = await store.organizer_of_gate(connection, gate_id)
    return None if organizer is None else await organizations.organization_of(connection, organizer)


async def event_of_gate(connection: Connection, gate_id: UUID, caller: Caller) -> Published:
    """Return the event of a gate that the caller may set up.

    Raises:
        GateNotFound, PermissionMissing: see `gate_for`.
    """
    gate, _, _ = await gate_for(connection, caller, gate_id, Permission.GATES)
    return await events.published(connection, gate["event_id"])


async def gates(connection: Connection, event: Published) -> list[Gate]:
    """Return an event's gates, oldest first, the revoked ones too."""
    rows = await store.gates_of(connection, event.chain_id, event.ticket_contract)
    return [_gate(row, event.public_id) for row in rows]


async def revoke_gate(tx: Tx, gate_id: UUID, caller: Caller, *, now: datetime) -> Gate:
    """Shut a gate for good; what it admitted stands.

    Raises:
        GateNotFound, PermissionMissing: see `gate_for`.
    """
    row, _, _ = await gate_for(tx, caller, gate_id, Permission.GATES)
    revoked_at = await store.revoke(tx, gate_id, now)
    return msgspec.structs.replace(_gate(row, row["event_id"]), revoked_at=revoked_at)


def _gate(row: Row, event_id: UUID) -> Gate:
    return Gate(
        id=row["id"],
        event_id=event_id,
        chain_id=row["chain_id"],
        ticket_contract=checksum(row["ticket_contract"]),
        name=row["name"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )


async def search(
    connection: Connection, caller: Caller, gate_id: UUID, sought: GateSearch
) -> Page[DoorTicket]:
    """Return tickets of a gate's event with the admissions that stand, by number.

    Raises:
        GateNotFound, PermissionMissing: see `gate_for`.
        Invalid: the holder's address is misspelled.
    """
    gate, _, _ = await gate_for(connection, caller, gate_id, Permission.ADMIT)
    rows, total = await store.search(
        connection,
        gate["chain_id"],
        gate["ticket_contract"],
        token_id=sought.token_id,
        holder=parse_address(sought.holder, path="holder") if sought.holder else None,
        limit=sought.per_page,
        offset=(sought.page - 1) * sought.per_page,
    )
    prefix = f"{gate['chain_id']}-{to_hex(gate['ticket_contract'])}"
    items = [
        DoorTicket(
            id=f"{prefix}-{row['token_id']}",
            token_id=row["token_id"],
            tier=row["tier_id"],
            holder=checksum(row["owner"]),
            state=row["state"],
            admitted_at=row["admitted_at"],
            admission_id=row["admission_id"],
        )
        for row in rows
    ]
    return numbered(items, page=sought.page, per_page=sought.per_page, total=total)


async def ticket_code(
    connection: Connection, key: codes.CodeKey, ticket: TicketKey, holder: Address, *, now: datetime
) -> TicketCode:
    """Return the code that admits ``holder`` with their ticket, good for this slot of 30 s and the next.

    Raises:
        TicketNotFound: no such ticket, or somebody else holds it.
        TicketSpent: it was refunded, or its event is cancelled.
    """
    row = await store.holder_of(connection, ticket.chain_id, ticket.ticket_contract, ticket.token_id)
    if row is None or row["owner"] != holder:
        raise TicketNotFound
    if row["cancelled"] or row["state"] == "refunded":
        raise TicketSpent
    code = codes.issue(
        key,
        chain_id=ticket.chain_id,
        ticket_contract=ticket.ticket_contract,
        token_id=ticket.token_id,
        holder=holder,
        now=now,
    )
    return TicketCode(code=code.text, refresh_after=code.refresh_after, valid_until=code.valid_until)


async def poaps(connection: Connection, sought: PoapFilter) -> Page[Poap]:
    """Return proofs of attendance, newest first.

    Raises:
        Invalid: neither attendee nor event is given, or the address is misspelled.
        EventNotFound: there is no such published event.
    """
    if sought.attendee is None and sought.event_id is None:
        raise invalid_field("attendee", "say whose POAPs, or of which event (eventId)")
    event = None
    if sought.event_id is not None:
        event = await events.published(connection, sought.event_id)
    rows, total = await poapstore.poaps(
        connection,
        attendee=parse_address(sought.attendee, path="attendee") if sought.attendee else None,
        event=(event.chain_id, event.blockchain_id) if event else None,
        limit=sought.per_page,
        offset=(sought.page - 1) * sought.per_page,
    )
    return numbered([_poap(row) for row in rows], page=sought.page, per_page=sought.per_page, total=total)


def _poap(row: Row) -> Poap:
    number = int(row["blockchain_id"])
    return Poap(
        chain_id=row["chain_id"],
        event_id=row["event_id"],
        blockchain_id=str(number),
        token_id=row["token_id"],
        poap_id=str(rules.poap_id(number, row["token_id"])),
        attendee=checksum(row["attendee"]),
        transaction_hash=to_hex(row["tx_hash"]),
        minted_at=row["mined_at"],
    )
