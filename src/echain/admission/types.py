"""What the door speaks of: gates, scans and their verdicts, admissions, POAPs, and each reason to refuse."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec

from echain.chain.intent import Intent
from echain.edge.http import AddressText, HashText
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address
from echain.kernel.paging import PageNumber, PageSize

MAX_CODE_LENGTH: Final = 512
"""Characters of a code that are looked at; genuine ones have 128."""


class Verdict(Enum):
    """What the door says of a ticket; only the first lets anyone in."""

    ADMITTED = "admitted"
    ALREADY_ADMITTED = "already_admitted"
    NOT_HOLDER = "not_holder"
    EXPIRED = "expired"
    FORGED = "forged"
    MALFORMED = "malformed"
    WRONG_EVENT = "wrong_event"
    REFUNDED = "refunded"
    USED_ON_CHAIN = "used_on_chain"
    LOCKED = "locked"
    CANCELLED = "cancelled"
    UNKNOWN_TICKET = "unknown_ticket"


MESSAGES: Final[dict[Verdict, str]] = {
    Verdict.ADMITTED: "Welcome.",
    Verdict.ALREADY_ADMITTED: "This ticket was admitted before; see when and where.",
    Verdict.NOT_HOLDER: "Whoever showed this code no longer holds the ticket; it was passed on.",
    Verdict.EXPIRED: "This code is too old, perhaps a screenshot; ask for the one on the ticket page.",
    Verdict.FORGED: "This code was not made by this platform, or it was altered.",
    Verdict.MALFORMED: "This is no ticket code; scan the code on the ticket page.",
    Verdict.WRONG_EVENT: "This ticket is for another event.",
    Verdict.REFUNDED: "This ticket was refunded and admits nobody.",
    Verdict.USED_ON_CHAIN: "This ticket was checked in on the chain by another gate key.",
    Verdict.LOCKED: "This ticket is held by the market or another module; its holder must release it first.",
    Verdict.CANCELLED: "The event is cancelled; its tickets can be refunded.",
    Verdict.UNKNOWN_TICKET: "There is no such ticket, or its sale is not on the chain yet; try again soon.",
}


class Gate(msgspec.Struct, frozen=True, rename="camel"):
    """A door of an event. ``event_id`` is what the API calls the event."""

    id: UUID
    event_id: UUID
    chain_id: int
    ticket_contract: AddressText
    name: str
    created_at: datetime
    revoked_at: datetime | None


class OpenedGate(msgspec.Struct, frozen=True, rename="camel"):
    """A new gate with its secret, which is shown this once and goes into ``Authorization: Bearer``.

    ``intent`` enables the platform's key for the event's POAPs on chain; None when the platform has no key
    for the chain, then admissions stand without POAPs.
    """

    id: UUID
    event_id: UUID
    chain_id: int
    ticket_contract: AddressText
    name: str
    created_at: datetime
    secret: str
    intent: Intent | None


class GateContent(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What an organizer says of a new gate."""

    event_id: UUID
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]*$")]


class GateFilter(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Whose gates to list."""

    event_id: UUID


class GatePath(msgspec.Struct, frozen=True):
    id: UUID


class ScanContent(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A code as the camera read it; a gate's ``scan_id`` sent again answers the first verdict again."""

    code: Annotated[str, msgspec.Meta(max_length=MAX_CODE_LENGTH)]
    scan_id: UUID | None = None


class CheckInContent(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A check-in by hand, without a code."""

    scan_id: UUID | None = None


class UndoContent(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The admission to take back."""

    admission_id: UUID


class GateSearch(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Look a ticket up by its number or its holder's address; both together narrow."""

    token_id: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] | None = None
    holder: AddressText | None = None
    page: PageNumber = 1
    per_page: PageSize = 20


class ScannedTicket(msgspec.Struct, frozen=True):
    """The ticket that was scanned; ``holder`` is shortened for the gate's screen."""

    token_id: int
    tier: int
    holder: str


class FirstAdmission(msgspec.Struct, frozen=True):
    """The admission that stands; ``gate`` None means the organizer's desk."""

    id: UUID
    at: datetime
    gate: UUID | None
    gate_name: str | None = msgspec.field(name="gateName", default=None)


class Counts(msgspec.Struct, frozen=True):
    """How full the house is, at most a second old."""

    admitted: int
    sold: int


class ScanAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """What the gate shows. ``admission_id`` is set when this very scan admitted, and may be undone.

    ``first_admission`` stands beside ``already_admitted``; ``ticket`` is missing when the code named none.
    """

    scan_id: UUID
    verdict: Verdict
    message: str
    counts: Counts
    admission_id: UUID | None = None
    ticket: ScannedTicket | None = None
    first_admission: FirstAdmission | None = None


class Undone(msgspec.Struct, frozen=True):
    """An admission that no longer stands; the ticket may be admitted again."""

    admission_id: UUID = msgspec.field(name="admissionId")
    token_id: int
    undone_at: datetime = msgspec.field(name="undoneAt")


class DoorTicket(
    msgspec.Struct, frozen=True, rename={"admitted_at": "admittedAt", "admission_id": "admissionId"}
):
    """A ticket as the door's search shows it."""

    id: str
    token_id: int
    tier: int
    holder: str
    state: str
    admitted_at: datetime | None = msgspec.field(name="admittedAt")
    admission_id: UUID | None = msgspec.field(name="admissionId")


class TicketCode(msgspec.Struct, frozen=True, rename="camel"):
    """A code for the holder's screen: fetch the next one at ``refresh_after``; ``valid_until`` is its end."""

    code: str
    refresh_after: datetime
    valid_until: datetime


class PoapFilter(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Whose POAPs, of which event; at least one of both."""

    attendee: AddressText | None = None
    event_id: UUID | None = None
    page: PageNumber = 1
    per_page: PageSize = 20


class Poap(msgspec.Struct, frozen=True):
    """A proof of attendance. ``poapId`` is its ERC-721 id; without an event of ours ``eventId`` is null."""

    chain_id: int = msgspec.field(name="chainId")
    event_id: UUID | None = msgspec.field(name="eventId")
    blockchain_id: str
    token_id: int
    poap_id: str = msgspec.field(name="poapId")
    attendee: AddressText
    transaction_hash: HashText = msgspec.field(name="transactionHash")
    minted_at: datetime = msgspec.field(name="mintedAt")


class Desk(msgspec.Struct, frozen=True):
    """Somebody whose role lets them admit by hand at events of ``organizer``.

    ``by`` is the wallet that is noted: their own, or the organizer's for who signed in without one.
    """

    organizer: Address
    by: Address


class Operator(msgspec.Struct, frozen=True):
    """Who stands at the door: a gate with its secret, or a person at the desk. Exactly one is set."""

    gate: UUID | None = None
    desk: Desk | None = None


class ScanReused(EchainError):
    """This scanId was used for another code; take a new one for each scan."""

    kind = Kind.CONFLICT
    code = "admission.scan_reused"


class GateSecretInvalid(EchainError):
    """This gate's secret is unknown or was revoked; ask the organizer for a new gate."""

    kind = Kind.UNAUTHENTICATED
    code = "admission.gate_secret_invalid"

    @classmethod
    def over(cls) -> Self:
        """Return it for a gate that there was: whoever shows it guessed nothing."""
        error = cls()
        error.guess = False
        return error


class GateNotFound(EchainError):
    """There is no such gate, it was revoked, or it is not yours."""

    kind = Kind.NOT_FOUND
    code = "admission.gate_not_found"


class NoRelay(EchainError):
    """The platform has no key on this event's chain and mints no proofs of attendance there."""

    kind = Kind.CONFLICT
    code = "admission.no_relay"


class AdmissionNotFound(EchainError):
    """There is no such admission at this gate's event."""

    kind = Kind.NOT_FOUND
    code = "admission.not_found"


class UndoTooLate(EchainError):
    """A gate undoes its own admissions within ten minutes; ask the organizer to undo this one."""

    kind = Kind.FORBIDDEN
    code = "admission.undo_too_late"


class TicketSpent(EchainError):
    """This ticket admits nobody any more: it was refunded, or its event is cancelled."""

    kind = Kind.CONFLICT
    code = "admission.ticket_spent"
