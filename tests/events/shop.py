"""The shop on the real application and database; the projection is written by hand where no indexer runs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tests.accounts.people import LASTING, Browser, Clock, Process, Wallet
from tests.edge.http_client import Answered, Client

from echain.accounts import rest as accounts_rest
from echain.accounts import service as accounts
from echain.chain.chains import chain
from echain.chain.fees import Fees
from echain.chain.rpc import Rpc
from echain.edge.http import Application, Endpoint, StoredIdempotency, application
from echain.edge.http.limits import Limits
from echain.events import holdings
from echain.events import rest as events_rest
from echain.events.intents import ChainAccess, Intents
from echain.infra import cache as cache_notes
from echain.infra.cache import Cache
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.secret import Secret
from echain.kernel.evm import Address, checksum, keccak
from echain.kernel.ids import derived_id
from echain.kernel.time import rfc3339
from echain.organizations import invitationrest, ownerrest
from echain.organizations import rest as organizations_rest
from echain.tickets import rest as tickets_rest

CHAIN_ID = 84532
PUBLIC_URL = "https://tickets.example"
NOBODY = bytes(20)
KEYS = DataKeys([Secret("11" * 32)])
"""What seals personal data here."""
DEVNET = chain(CHAIN_ID, devnet=True)

_numbers = itertools.count(1)


@dataclass
class Person:
    """Somebody who signed in."""

    wallet: Wallet
    client: Client

    @property
    def address(self) -> Address:
        return Address(bytes.fromhex(self.wallet.address[2:]))

    @property
    def text(self) -> str:
        return checksum(self.address)


@dataclass
class OnChain:
    """A published event as the projection has it; ``id`` is the projection's."""

    contract: Address
    number: int
    chain_id: int = CHAIN_ID
    id: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.id = derived_id(self.chain_id, self.contract)

    def ticket(self, token_id: int) -> str:
        return f"{self.chain_id}-0x{self.contract.hex()}-{token_id}"


def organization_endpoints(database: Database) -> list[Endpoint]:
    """Return the routes of organizations as the platform has them; only keys sign confirmations here."""
    signatures = ownerrest.Signatures(database, None)
    surface = invitationrest.Surface(database, KEYS, signatures, PUBLIC_URL, email=True)
    return [
        *organizations_rest.endpoints(database, holdings),
        *ownerrest.endpoints(database, holdings, signatures),
        *invitationrest.endpoints(surface),
    ]


class Shop:
    """The application on a database, with people and events."""

    def __init__(
        self, database: Database, cache: Cache, rpc: Rpc, clock: Clock, factory: Address | None
    ) -> None:
        self.database = database
        self.clock = clock
        self.rpc = rpc
        self.fees = Fees(rpc, DEVNET)
        self.cache = cache
        self.factory = factory
        self.authenticator = accounts.authenticator(database, clock, LASTING)
        self.app = self.application()
        self.anyone = Client(self.app)

    def application(self, limits: Limits | None = None) -> Application:
        async def factory(_chain_id: int) -> Address | None:
            return self.factory

        intents = Intents({CHAIN_ID: ChainAccess(self.rpc, self.fees)}, factory)
        return application(
            [
                *accounts_rest.endpoints(
                    self.database, self.authenticator, public_url=PUBLIC_URL, chain_ids=[CHAIN_ID]
                ),
                *organization_endpoints(self.database),
                *events_rest.endpoints(self.database, self.cache, intents, public_url=PUBLIC_URL),
                *tickets_rest.endpoints(self.database, intents),
            ],
            authenticate=self.authenticator,
            clock=self.clock,
            idempotency=StoredIdempotency(self.database),
            title="echain",
            version="1",
            limits=limits,
        )

    async def person(self, wallet: Wallet | None = None) -> Person:
        """Sign somebody in."""
        wallet = wallet or Wallet(self.clock)
        grant = await wallet.sign_in(Browser(Process(self.app, self.authenticator)))
        return Person(wallet, Client(self.app, {"authorization": f"Bearer {grant['accessToken']}"}))

    def content(self, **changes: Any) -> dict[str, Any]:
        """Return the content of a good draft; a change to None leaves a field out."""
        starts = self.clock() + timedelta(days=30)
        content = {
            "chainId": CHAIN_ID,
            "title": "Harbour Lights",
            "description": "An evening by the water.",
            "place": {"name": "Old Harbour", "address": "Quay 1", "latitude": 53.5, "longitude": 9.9},
            "category": "music",
            "startTime": rfc3339(starts),
            "endTime": rfc3339(starts + timedelta(hours=5)),
            "timezone": "Europe/Berlin",
            "maxTickets": 100,
            "tiers": [
                {"name": "General", "priceWei": "10000000000000000", "supply": 90},
                {"name": "VIP", "priceWei": "50000000000000000", "supply": 20, "maxPerWallet": 4},
            ],
            **changes,
        }
        return {name: value for name, value in content.items() if value is not None}

    async def draft(self, organizer: Person, **changes: Any) -> dict[str, Any]:
        answer = await organizer.client("POST", "/api/v1/events", json_body=self.content(**changes))
        assert answer.status == 201, answer.body
        return answer.data

    async def published(self, organizer: Person, **changes: Any) -> tuple[OnChain, dict[str, Any]]:
        """Draft an event, keep its document and write what the chain's logs would become."""
        draft = await self.draft(organizer, **changes)
        await self.keep_document(organizer, draft)
        return await self.mined(organizer, draft), draft

    async def keep_document(self, organizer: Person, draft: dict[str, Any]) -> str:
        """Publish as far as the platform's part goes; whether the chain would take it is another test."""
        answer = await organizer.client("POST", f"/api/v1/events/{draft['id']}/publish")
        assert answer.status == 200 or answer.error["code"] in PREPARED, answer.body
        return await self.database.fetchval(
            "SELECT '0x' || encode(metadata_hash, 'hex') FROM event_drafts WHERE id = $1", UUID(draft["id"])
        )

    async def mined(
        self, organizer: Person, draft: dict[str, Any], *, metadata_hash: str | None = None, block: int = 1
    ) -> OnChain:
        """Write the projection of a draft's event."""
        number = next(_numbers)
        event = OnChain(Address(keccak(b"event %d" % number)[:20]), number)
        if metadata_hash is None:
            metadata_hash = await self.database.fetchval(
                "SELECT '0x' || encode(metadata_hash, 'hex') FROM event_drafts WHERE id = $1",
                UUID(draft["id"]),
            )
        limits = draft["rules"]
        async with self.database.transaction() as tx:
            await tx.execute(
                """
                INSERT INTO events (chain_id, ticket_contract, id, blockchain_id, organizer, name,
                                    metadata_uri, metadata_hash, ticket_price_wei, max_tickets,
                                    starts_at, ends_at, fee_bps, gift_policy, max_gifts,
                                    gifts_to_contracts, resale_cap_bps, royalty_bps,
                                    created_block, created_at, transaction_hash)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 250, $13, $14, $15, $16, $17, $18,
                        $19, $20)
                """,
                *(CHAIN_ID, event.contract, event.id, number, organizer.address, draft["title"]),
                f"{PUBLIC_URL}/api/v1/metadata/{metadata_hash}",
                bytes.fromhex(metadata_hash[2:]),
                *(int(draft["tiers"][0]["priceWei"]), draft["max_tickets"]),
                *(moment(draft["startTime"]), moment(draft["endTime"]), limits["giftPolicy"]),
                *(
                    limits["maxGifts"],
                    limits["giftsToContracts"],
                    limits["resaleCapBps"],
                    limits["royaltyBps"],
                ),
                *(block, self.clock(), keccak(b"creation %d" % number)),
            )
            await tx.executemany(
                """
                INSERT INTO tiers (chain_id, ticket_contract, tier_id, price_wei, supply, sale_starts_at,
                                   sale_ends_at, max_per_purchase, max_per_wallet, allow_list_root)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                """,
                [
                    (
                        *(CHAIN_ID, event.contract, tier["tierId"], int(tier["priceWei"]), tier["supply"]),
                        *(moment(tier["saleStart"]), moment(tier["saleEnd"])),
                        *(tier["maxPerPurchase"], tier["maxPerWallet"], bytes(32)),
                    )
                    for tier in draft["tiers"]
                ],
            )
            await cache_notes.invalidate(tx, [f"event:{event.id}"])
        return event

    async def sold(
        self,
        event: OnChain,
        holder: Person | bytes,
        *,
        tier: int = 0,
        quantity: int = 1,
        price: int = 10**16,
        complimentary: bool = False,
    ) -> list[int]:
        """Write the projection of a purchase; return the tickets."""
        owner = holder.address if isinstance(holder, Person) else holder
        async with self.database.transaction() as tx:
            first: int = await tx.fetchval(
                "SELECT sold_tickets + 1 FROM events WHERE id = $1 FOR UPDATE", event.id
            )
            tokens = list(range(first, first + quantity))
            at = self.clock()
            block = 1_000 * event.number + first
            place = (CHAIN_ID, block, event.contract)
            await tx.execute(
                "UPDATE events SET sold_tickets = sold_tickets + $2 WHERE id = $1", event.id, quantity
            )
            await tx.execute(
                "UPDATE tiers SET sold = sold + $3 WHERE ticket_contract = $1 AND tier_id = $2",
                *(event.contract, tier, quantity),
            )
            await tx.executemany(
                "INSERT INTO tickets VALUES ($1, $2, $3, $4, 'valid', $5, $6, 0, $7, $8, $7)",
                [(CHAIN_ID, event.contract, token, owner, tier, price, block, at) for token in tokens],
            )
            await tx.executemany(
                "INSERT INTO transfers VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                [
                    (
                        *place[:2],
                        token - first,
                        place[2],
                        token,
                        NOBODY,
                        owner,
                        keccak(b"sale %d" % first),
                        at,
                    )
                    for token in tokens
                ],
            )
            if complimentary:
                await tx.execute(
                    "INSERT INTO grants VALUES ($1, $2, 500, $3, $4, $5, $6, $7, $8)",
                    *(*place, tier, quantity, first, keccak(b"sale %d" % first), at),
                )
            else:
                await tx.execute(
                    "INSERT INTO sales VALUES ($1, $2, 500, $3, $4, $5, $6, $7, $8, $9, $10)",
                    *(*place, owner, tier, quantity, price, first, keccak(b"sale %d" % first), at),
                )
            await cache_notes.invalidate(tx, [f"event:{event.id}"])
        return tokens

    async def given(self, event: OnChain, token: int, giver: Person, to: Person) -> None:
        """Write the projection of a gift."""
        block = 10**6 + next(_numbers)
        await self.database.execute(
            "INSERT INTO transfers VALUES ($1, $2, 0, $3, $4, $5, $6, $7, $8)",
            *(
                CHAIN_ID,
                block,
                event.contract,
                token,
                giver.address,
                to.address,
                keccak(b"gift"),
                self.clock(),
            ),
        )
        await self.database.execute(
            "UPDATE tickets SET owner = $3, gifts = gifts + 1 WHERE ticket_contract = $1 AND token_id = $2",
            *(event.contract, token, to.address),
        )

    async def become(self, event: OnChain, token: int, state: str) -> None:
        """Write the projection of a ticket's new state."""
        block = 10**6 + next(_numbers)
        await self.database.execute(
            "UPDATE tickets SET state = $3 WHERE ticket_contract = $1 AND token_id = $2",
            *(event.contract, token, state),
        )
        await self.database.execute(
            "INSERT INTO ticket_marks VALUES ($1, $2, 0, $3, $4, $5, NULL)",
            *(CHAIN_ID, block, event.contract, token, state),
        )

    async def cancelled(self, event: OnChain) -> None:
        async with self.database.transaction() as tx:
            await tx.execute("UPDATE events SET cancelled = TRUE WHERE id = $1", event.id)
            await cache_notes.invalidate(tx, [f"event:{event.id}"])

    async def order(self, buyer: Person, event: object, **changes: Any) -> Answered:
        """Ask for a purchase of one ticket of the first tier."""
        body = {"eventId": str(event), "tierId": 0, "quantity": 1, **changes}
        return await buyer.client("POST", "/api/v1/tickets/purchase", json_body=body)

    async def counts(self) -> dict[str, int]:
        """Return how many rows each table of the shop's own has."""
        tables = ("event_drafts", "metadata_documents", "event_registrations", "outbox")
        return {name: await self.database.fetchval(f"SELECT count(*) FROM {name}") for name in tables}


PREPARED = ("chain.unreachable", "chain.reverted", "events.chain_not_served")
"""What a publish may end with once the document is kept."""


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
