"""An event with tickets, its organizer, holders with wallets, and gates, all through the front door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tests.accounts.people import LASTING, Browser, Clock, Process, Wallet
from tests.edge.http_client import Answered, Client

from echain.accounts import rest as accounts_rest
from echain.accounts import service as accounts
from echain.admission import codes, rest, service
from echain.admission.codes import CodeKey
from echain.edge.http import Application, Caller, StoredIdempotency, application
from echain.events.intents import Intents
from echain.infra.database import Database
from echain.kernel.evm import Address, to_hex
from echain.kernel.ids import derived_id

CHAIN_ID = 84532
PUBLIC_URL = "https://tickets.example"
CODE_KEY = CodeKey.from_seed("the house's seed")


@dataclass
class Person:
    """Somebody who signed in."""

    wallet: Wallet
    client: Client

    @property
    def address(self) -> Address:
        return Address(bytes.fromhex(self.wallet.address[2:]))


@dataclass
class Gate:
    """A gate as its staff holds it: an id and a secret."""

    id: str
    secret: str
    client: Client

    async def scan(self, code: str, scan_id: str | None = None) -> Answered:
        body = {"code": code} if scan_id is None else {"code": code, "scanId": scan_id}
        return await self.client("POST", f"/api/v1/gates/{self.id}/scan", json_body=body)

    async def verdict(self, code: str) -> str:
        answer = await self.scan(code)
        assert answer.status == 200, answer.body
        return answer.data["verdict"]

    async def undo(self, admission_id: str) -> Answered:
        return await self.client(
            "POST", f"/api/v1/gates/{self.id}/undo", json_body={"admissionId": admission_id}
        )


@dataclass
class Event:
    """A published event as the projection has it."""

    number: int
    organizer: Person
    contract: Address
    id: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.id = derived_id(CHAIN_ID, self.contract)

    def ticket(self, token_id: int) -> str:
        return f"{CHAIN_ID}-{to_hex(self.contract)}-{token_id}"


class House:
    """The application on a database, and what the tests need of the chain's projection, written by hand."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        intents: Intents | None = None,
        relays: Mapping[int, service.Relay] | None = None,
    ) -> None:
        """Without ``intents`` and ``relays`` there is no chain to write to."""
        self.database = database
        self.clock = clock
        self.intents = intents or Intents({}, self._no_factory)
        self.relays = relays or {}
        self.app = self.process().app
        self._events = 0

    def process(self, database: Database | None = None) -> Process:
        """Return another API process on the same or another pool."""
        pool = database or self.database
        users = accounts.authenticator(pool, self.clock, LASTING)
        gates = service.gate_authenticator(pool, self.clock)

        async def authenticate(headers: Any, cookies: Any) -> Caller | None:
            return await users(headers, cookies) or await gates(headers, cookies)

        app = application(
            [
                *accounts_rest.endpoints(pool, users, public_url=PUBLIC_URL, chain_ids=[CHAIN_ID]),
                *rest.endpoints(pool, self.intents, code_key=CODE_KEY, relays=self.relays),
            ],
            authenticate=authenticate,
            clock=self.clock,
            idempotency=StoredIdempotency(pool),
            title="echain",
            version="1",
        )
        return Process(app, users)

    async def _no_factory(self, _chain_id: int) -> None:
        """Nothing is deployed."""

    async def person(self) -> Person:
        """Sign somebody new in."""
        wallet = Wallet(self.clock)
        browser = Browser(Process(self.app, accounts.authenticator(self.database, self.clock, LASTING)))
        grant = await wallet.sign_in(browser)
        return Person(wallet, self.client(grant["accessToken"]))

    def client(self, token: str | None = None, app: Application | None = None) -> Client:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return Client(app or self.app, headers)

    async def event(self, organizer: Person | None = None) -> Event:
        self._events += 1
        event = Event(self._events, organizer or await self.person(), Address(bytes([self._events] * 20)))
        now = self.clock()
        await self.database.execute(
            """
            INSERT INTO events (chain_id, ticket_contract, id, blockchain_id, organizer, name, metadata_uri,
                                metadata_hash, ticket_price_wei, max_tickets, sold_tickets, starts_at,
                                ends_at, fee_bps, gift_policy, max_gifts, gifts_to_contracts, resale_cap_bps,
                                royalty_bps, created_block, created_at, transaction_hash)
            VALUES ($1, $2, $3, $4, $5, 'Harbour Lights', '', $6, 1, 1000, 0, $7, $8, 0, 'free', 0, TRUE, 0,
                    0, 1, $7, $6)
            """,
            CHAIN_ID,
            event.contract,
            event.id,
            event.number,
            event.organizer.address,
            event.number.to_bytes(32, "big"),
            now,
            now + timedelta(hours=6),
        )
        return event

    async def sell(self, event: Event, token_id: int, holder: Person, *, state: str = "valid") -> str:
        """Let ``holder`` have a ticket, whoever had it before; return its name in the API."""
        await self.database.execute(
            """
            INSERT INTO tickets (chain_id, ticket_contract, token_id, owner, state, tier_id, price_paid_wei,
                                 minted_block, minted_at, updated_block)
            VALUES ($1, $2, $3, $4, $5, 1, 1, 2, $6, 2)
            ON CONFLICT (chain_id, ticket_contract, token_id) DO UPDATE
            SET owner = excluded.owner, state = excluded.state
            """,
            CHAIN_ID,
            event.contract,
            token_id,
            holder.address,
            state,
            self.clock(),
        )
        return event.ticket(token_id)

    async def unsell(self, event: Event, token_id: int) -> None:
        """Take a ticket out of the projection, as a reorg below its sale does."""
        await self.database.execute(
            "DELETE FROM tickets WHERE (chain_id, ticket_contract, token_id) = ($1, $2, $3)",
            CHAIN_ID,
            event.contract,
            token_id,
        )

    async def open_gate(self, event: Event, name: str = "Main door") -> Gate:
        answer = await event.organizer.client(
            "POST", "/api/v1/gates", json_body={"eventId": str(event.id), "name": name}
        )
        assert answer.status == 201, answer.body
        return Gate(answer.data["id"], answer.data["secret"], self.client(answer.data["secret"]))

    async def code(self, holder: Person, ticket: str) -> str:
        """Return the code that the holder's ticket page shows now."""
        answer = await holder.client("GET", f"/api/v1/tickets/{ticket}/qr")
        assert answer.status == 200, answer.body
        return answer.data["code"]

    def signed(self, event: Event, token_id: int, holder: Address, *, at: datetime | None = None) -> str:
        """Return the code that the server would sign, without asking it."""
        return codes.issue(
            CODE_KEY,
            chain_id=CHAIN_ID,
            ticket_contract=event.contract,
            token_id=token_id,
            holder=holder,
            now=at or self.clock(),
        ).text

    async def scans(self) -> list[dict[str, Any]]:
        """Return every kept scan, oldest first."""
        return [dict(row) for row in await self.database.fetch("SELECT * FROM scans ORDER BY scanned_at, id")]

    async def admitted(self, event: Event) -> list[int]:
        """Return the token ids that stand admitted."""
        rows = await self.database.fetch(
            "SELECT token_id FROM admissions WHERE ticket_contract = $1 AND undone_at IS NULL ORDER BY 1",
            event.contract,
        )
        return [row["token_id"] for row in rows]
