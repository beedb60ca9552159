"""Follows a `ForkNode` as the indexer does, and reads every projection of its chain as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.chain.ingest.blocktree import ROOTS, Grown
from tests.chain.ingest.forknode import ForkNode

from echain.admission.onchain import AdmissionProjector
from echain.chain.follow import FollowedChain, Follower
from echain.chain.ingest import Projection
from echain.chain.rebuild import rebuild
from echain.chain.rpc import Rpc
from echain.chain.types import Projector
from echain.events.onchain import EventProjector
from echain.infra.database import Database
from echain.tickets.onchain import TicketProjector

PROJECTIONS = (
    *("event_creations", "event_updates", "event_cancellations", "tier_additions", "price_updates"),
    *("events", "tiers", "transfers", "sales", "grants", "ticket_marks", "refunds", "payouts", "tickets"),
    *("contract_escrow", "gate_settings", "gate_keys", "poaps"),
)
STORE = ("chain_logs", "chain_contracts")


def projectors() -> tuple[Projector, ...]:
    return (EventProjector(), TicketProjector(), AdmissionProjector())


@dataclass
class Followed:
    """One chain in one database."""

    node: ForkNode
    rpc: Rpc
    database: Database

    def follower(self, **changes: Any) -> Follower:
        """Return a follower as after a restart: it knows only what the database says."""
        settings: dict[str, Any] = {"confirmations": 3, "block_seconds": 0.2, "resettable": True, **changes}
        chain = FollowedChain(chain_id=self.node.chain_id, roots=ROOTS, **settings)
        return Follower(self.rpc, self.database, projectors(), chain)

    async def dump(self, tables: tuple[str, ...] = (*STORE, *PROJECTIONS)) -> dict[str, list[str]]:
        """Return every row of the chain as text, table by table."""
        return {
            table: [
                row[0]
                for row in await self.database.fetch(
                    f"SELECT t::text FROM {table} t WHERE chain_id = $1 ORDER BY 1", self.node.chain_id
                )
            ]
            for table in tables
        }

    async def rebuilt(self) -> dict[str, list[str]]:
        """Return the dump after a rebuild from the stored logs."""
        async with self.database.session() as connection:
            await rebuild(connection, self.node.chain_id, Projection(projectors()))
        return await self.dump()

    async def anew(self) -> dict[str, list[str]]:
        """Return the dump after everything was forgotten and the node's chain was read from its start."""
        for table in (*STORE, *PROJECTIONS, "chain_blocks", "chain_cursors"):
            await self.database.execute(f"DELETE FROM {table} WHERE chain_id = $1", self.node.chain_id)
        await self.follower().catch_up()
        return await self.dump()

    async def differences(self, tip: Grown) -> list[str]:
        """Return where tickets, tiers, sums, POAPs and gates are not what the model of the contracts says."""
        found: list[str] = []
        chain, scene = self.node.chain_id, tip.scene
        tickets = {
            (row["ticket_contract"], row["token_id"]): (
                *(row["owner"], row["state"], row["tier_id"], int(row["price_paid_wei"]), row["gifts"]),
            )
            for row in await self.database.fetch("SELECT * FROM tickets WHERE chain_id = $1", chain)
        }
        expected = {
            (bytes(event.address), token): (
                *(ticket.owner, ticket.state, ticket.tier, ticket.price, ticket.gifts),
            )
            for event in scene.events
            for token, ticket in event.tickets.items()
        }
        found += _differing("tickets", tickets, expected)
        tiers = {
            (row["ticket_contract"], row["tier_id"]): (int(row["price_wei"]), row["sold"])
            for row in await self.database.fetch("SELECT * FROM tiers WHERE chain_id = $1", chain)
        }
        found += _differing(
            "tiers",
            tiers,
            {
                (bytes(event.address), tier): (price, event.sold[tier])
                for event in scene.events
                for tier, price in enumerate(event.prices)
            },
        )
        events = {
            int(row["blockchain_id"]): (
                *(row["metadata_uri"], row["sold_tickets"], row["cancelled"], int(row["ticket_price_wei"])),
            )
            for row in await self.database.fetch("SELECT * FROM events WHERE chain_id = $1", chain)
        }
        found += _differing(
            "events",
            events,
            {
                event.number: (event.uri, sum(event.sold), event.cancelled, event.prices[0])
                for event in scene.events
            },
        )
        sums = {
            bytes(row["ticket_contract"]): tuple(
                int(row[f"{name}_wei"]) for name in ("paid_in", "refunded", "withdrawn", "fees")
            )
            for row in await self.database.fetch("SELECT * FROM contract_escrow WHERE chain_id = $1", chain)
        }
        owed = {
            bytes(event.address): (event.paid_in, event.refunded, event.withdrawn, event.fees)
            for event in scene.events
        }
        found += _differing("sums", sums, {address: money for address, money in owed.items() if any(money)})
        poaps = {
            (int(row["blockchain_id"]), row["token_id"]): row["attendee"]
            for row in await self.database.fetch("SELECT * FROM poaps WHERE chain_id = $1", chain)
        }
        found += _differing("poaps", poaps, scene.poaps)
        gates = {
            (int(row["blockchain_id"]), bytes(row["gate"]))
            for row in await self.database.fetch("SELECT * FROM gate_keys WHERE chain_id = $1", chain)
        }
        enabled = {gate for gate, until in scene.gates.items() if until}
        return [*found, *(f"gate {gate}" for gate in gates ^ enabled)]


def _differing(what: str, seen: dict[Any, Any], expected: dict[Any, Any]) -> list[str]:
    return [
        f"{what} {key}: {seen.get(key)} is not {expected.get(key)}"
        for key in seen.keys() | expected.keys()
        if seen.get(key) != expected.get(key)
    ]
