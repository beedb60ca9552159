"""The main job from end to end, signed for real and checked step by step against the contracts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp

from echain.chain.contracts import contract
from echain.chain.deploy import Deployment
from echain.chain.rpc import Rpc
from echain.entry.screen import Screen, listening
from echain.entry.wallet import SETTLE_SECONDS, Client, Json, Refused, Wallet
from echain.kernel.evm import checksum, parse_address
from echain.kernel.time import rfc3339, utc_now

ETHER = 10**18
GENERAL_PRICE_WEI = ETHER // 100
VIP_PRICE_WEI = ETHER // 20
VIP_SUPPLY = 2
REORG_DEPTH = 5
LIVE_MS = 1_000
"""How long after its block a sale may reach a screen; the bench says how fast it is on a machine at rest."""

_POLL_SECONDS = 0.02


class StepFailed(Exception):
    """What a step saw is not what must hold."""


@dataclass(frozen=True)
class Step:
    """One row of the journey's table."""

    title: str
    seconds: float
    hashes: tuple[str, ...] = ()
    note: str = ""
    failure: str | None = None


@dataclass
class Outcome:
    """What a step leaves to show: transaction hashes and a short note."""

    hashes: Sequence[str] = ()
    note: str = ""


@dataclass
class Journey:
    """The people, the things and what they have seen so far."""

    http: aiohttp.ClientSession
    base_url: str
    realtime_url: str
    rpc: Rpc
    chain_id: int
    deployment: Deployment
    deploy_hashes: Sequence[str] = ()
    event: Json = field(default_factory=dict)
    people: dict[str, Wallet] = field(default_factory=dict)
    gate: Client | None = None
    gate_id: str = ""
    old_code: str = ""
    given: Json = field(default_factory=dict)
    heard_ms: list[float] = field(default_factory=list)

    async def run(self) -> AsyncIterator[Step]:
        """Play every step in order; stop after the first that fails."""
        for title, step in self._steps():
            began = time.monotonic()
            try:
                outcome = await step()
            except (StepFailed, Refused, RuntimeError, TimeoutError, KeyError) as failure:
                yield Step(title, time.monotonic() - began, failure=f"{type(failure).__name__}: {failure}")
                return
            yield Step(title, time.monotonic() - began, tuple(outcome.hashes), outcome.note)

    def _steps(self) -> Sequence[tuple[str, Callable[[], Awaitable[Outcome]]]]:
        return (
            ("Contracts stand on the chain", self.deployed),
            ("Organizer signs in with Ethereum", self.organizer_signs_in),
            ("Draft with two tiers, through REST", self.drafts),
            ("Organizer signs the publish intent", self.publishes),
            ("Three buyers sign in and buy", self.three_buy),
            ("A screen heard each sale live", self.heard_live),
            ("Availability falls", self.availability_falls),
            ("A sold-out purchase is refused", self.sold_out_refused),
            ("A ticket is given away", self.gives_away),
            ("Its new holder's code is admitted", self.admits),
            ("The old holder's code is refused", self.old_code_refused),
            ("A second scan is refused", self.second_scan_refused),
            ("The POAP is minted", self.poap_minted),
            ("A second event is cancelled and refunded", self.cancelled_and_refunded),
            (f"A reorg of depth {REORG_DEPTH}; projections equal the chain", self.reorganized),
            ("Transparency totals equal the contract", self.totals_equal),
        )

    async def deployed(self) -> Outcome:
        for name, address in (
            ("EventFactory", self.deployment.factory),
            ("EventTicket", self.deployment.implementation),
            ("Poap", self.deployment.poap),
        ):
            if await self.rpc.call("eth_getCode", [checksum(address), "latest"]) == "0x":
                raise StepFailed(f"no code for {name} at {checksum(address)}")
        return Outcome(self.deploy_hashes, f"EventFactory {checksum(self.deployment.factory)}")

    async def organizer_signs_in(self) -> Outcome:
        organizer = await self._person("organizer")
        me = await organizer.client.get("/auth/me")
        _expect(me["address"], organizer.address, "the session's address")
        return Outcome(note=organizer.address)

    async def drafts(self) -> Outcome:
        draft = await self._draft("Harbour Lights Festival", tickets=10)
        self.event = draft
        return Outcome(note=f"draft {draft['id']}")

    async def publishes(self) -> Outcome:
        transaction_hash, self.event = await self._publish(self.event)
        return Outcome([transaction_hash], f"ticket contract {self.event['ticketContract']}")

    async def three_buy(self) -> Outcome:
        for name in ("ada", "bo", "cleo", "dana"):
            # One after the other: they share one cookie jar, and with it the nonce of whoever signs in.
            await self._person(name)
        async with listening(self.http, self.realtime_url, self.event["id"]) as screen:
            sales = [
                await self._heard_sale(screen, number, name, tier, quantity)
                for number, (name, tier, quantity) in enumerate(
                    (("ada", 0, 2), ("bo", 0, 1), ("cleo", 1, VIP_SUPPLY)), 1
                )
            ]
        return Outcome(sales, "5 tickets, 2 tiers")

    async def _heard_sale(self, screen: Screen, number: int, name: str, tier: int, quantity: int) -> str:
        """Buy, and note how long after its block was seen mined the sale reached the screen."""
        transaction_hash = await self._buy(self.event, name, tier, quantity)
        mined = time.monotonic()
        at, message = (await screen.sales(number))[-1]
        _expect(message["data"]["buyer"], self.people[name].address, "the buyer that the screen heard of")
        self.heard_ms.append(max(0.0, (at - mined) * 1000))
        return transaction_hash

    async def heard_live(self) -> Outcome:
        slowest = max(self.heard_ms)
        if slowest > LIVE_MS:
            raise StepFailed(f"a sale took {slowest:.0f} ms from its block to the screen, not {LIVE_MS}")
        return Outcome(note=f"{len(self.heard_ms)} sales by Socket.IO, {slowest:.0f} ms after their blocks")

    async def availability_falls(self) -> Outcome:
        await self._until_remaining([5, 0])
        return Outcome(note="General 8 → 5, VIP 2 → 0")

    async def sold_out_refused(self) -> Outcome:
        try:
            await self.people["dana"].client.post("/tickets/purchase", self._order(self.event, 1, 1))
        except Refused as refusal:
            _expect(refusal.code, "tickets.sold_out", "the refusal")
            return Outcome(note=f"409 {refusal.code}")
        raise StepFailed("the platform prepared a purchase of a sold-out tier")

    async def gives_away(self) -> Outcome:
        ada, dana = self.people["ada"], self.people["dana"]
        self.given = (await self._tickets_of(ada))[0]
        self.old_code = (await ada.client.get(f"/tickets/{self.given['id']}/qr"))["code"]
        intent = await ada.client.post(f"/tickets/{self.given['id']}/transfer", {"to": dana.address})
        transaction_hash = await ada.send(intent)

        async def moved() -> bool:
            return (await self._anyone().get(f"/tickets/{self.given['id']}"))["owner"] == dana.address

        await _until(moved, "the ticket's projection names its new owner")
        return Outcome([transaction_hash], f"ticket {self.given['token_id']}: ada → dana")

    async def admits(self) -> Outcome:
        transaction_hash = await self._open_gate()
        code = (await self.people["dana"].client.get(f"/tickets/{self.given['id']}/qr"))["code"]
        verdict = await self._scan(code)
        _expect(verdict["verdict"], "admitted", "the gate's verdict")
        return Outcome([transaction_hash], "admitted")

    async def old_code_refused(self) -> Outcome:
        return await self._refused(self.old_code, {"not_holder", "expired"})

    async def second_scan_refused(self) -> Outcome:
        code = (await self.people["dana"].client.get(f"/tickets/{self.given['id']}/qr"))["code"]
        return await self._refused(code, {"already_admitted"})

    async def poap_minted(self) -> Outcome:
        dana = self.people["dana"]
        seen: list[Json] = []

        async def minted() -> bool:
            seen[:] = await self._anyone().get(f"/poaps?attendee={dana.address}")
            return bool(seen)

        await _until(minted, "a POAP of the admitted attendee")
        held = await self._read(
            "Poap",
            self.deployment.poap,
            "hasPOAP(address,uint256)",
            parse_address(dana.address),
            self._event_number(),
        )
        _expect(held, True, "hasPOAP on chain")
        return Outcome([seen[0]["transactionHash"]], "by the platform's own sender")

    async def cancelled_and_refunded(self) -> Outcome:
        organizer, bo = self.people["organizer"], self.people["bo"]
        published, event = await self._publish(await self._draft("Rained-off Picnic", tickets=5))
        bought = await self._buy(event, "bo", 0, 2)
        tickets = await self._tickets_of(bo, event, count=2)
        cancelled = await organizer.send(await organizer.client.call("DELETE", f"/events/{event['id']}"))

        async def closed() -> bool:
            return (await self._anyone().get(f"/events/{event['id']}"))["status"] == "cancelled"

        await _until(closed, "the event's projection says cancelled")
        refunds = [
            await bo.send(await bo.client.post(f"/tickets/{ticket['id']}/refund")) for ticket in tickets
        ]
        balance = int(await self.rpc.call("eth_getBalance", [event["ticketContract"], "latest"]), 16)
        _expect(balance, 0, "what the cancelled event's contract still holds")
        return Outcome([published, bought, cancelled, *refunds], "2 tickets paid back, contract empty")

    async def reorganized(self) -> Outcome:
        await self.rpc.call("anvil_mine", [hex(REORG_DEPTH + 1)])
        lost = await self._buy(self.event, "ada", 0, 1)
        await self._until_remaining([4, 0])
        await self.rpc.call("anvil_reorg", [REORG_DEPTH, []])
        await self._until_remaining([5, 0])
        compared = await self._equal_to_chain()
        return Outcome(
            [lost], f"the last sale is gone; {compared} tickets and both tiers as the contract has them"
        )

    async def totals_equal(self) -> Outcome:
        path = f"/events/{self.event['id']}/transparency"

        async def matches() -> bool:
            return (await self._anyone().get(path))["matchesChain"] is True

        await _until(matches, "the totals match the contract")
        totals = (await self._anyone().get(path))["totals"]
        balance = int(await self.rpc.call("eth_getBalance", [self.event["ticketContract"], "latest"]), 16)
        _expect(int(totals["balance"]), balance, "the contract's balance")
        _expect(int(totals["paidIn"]), 3 * GENERAL_PRICE_WEI + 2 * VIP_PRICE_WEI, "what was paid in")
        return Outcome(note=f"{balance / ETHER:.3f} ETH in escrow, recounted from {5} tickets")

    def _anyone(self) -> Client:
        return Client(self.http, self.base_url)

    async def _person(self, name: str) -> Wallet:
        """Give a new person a funded wallet and a session."""
        wallet = Wallet(name, self.rpc, self._anyone(), self.chain_id)
        self.people[name] = wallet
        await wallet.fund(10 * ETHER)
        await wallet.sign_in()
        return wallet

    async def _draft(self, title: str, *, tickets: int) -> Json:
        starts = utc_now() + timedelta(days=30)
        return await self.people["organizer"].client.post(
            "/events",
            {
                "chainId": self.chain_id,
                "title": title,
                "description": "An evening by the water, played by the demo.",
                "place": {"name": "Old Harbour"},
                "startTime": rfc3339(starts),
                "endTime": rfc3339(starts + timedelta(hours=5)),
                "maxTickets": tickets,
                "tiers": [
                    {"name": "General", "priceWei": str(GENERAL_PRICE_WEI), "supply": tickets - VIP_SUPPLY},
                    {"name": "VIP", "priceWei": str(VIP_PRICE_WEI), "supply": VIP_SUPPLY},
                ],
            },
        )

    async def _publish(self, draft: Json) -> tuple[str, Json]:
        organizer = self.people["organizer"]
        transaction_hash = await organizer.send(await organizer.client.post(f"/events/{draft['id']}/publish"))
        seen: Json = {}

        async def published() -> bool:
            seen.update(await organizer.client.get(f"/events/{draft['id']}"))
            return seen["status"] != "draft"

        await _until(published, "the event's projection appears")
        return transaction_hash, seen

    def _order(self, event: Json, tier: int, quantity: int) -> Json:
        return {"eventId": event["id"], "tierId": tier, "quantity": quantity}

    async def _buy(self, event: Json, name: str, tier: int, quantity: int) -> str:
        buyer = self.people[name]
        return await buyer.send(
            await buyer.client.post("/tickets/purchase", self._order(event, tier, quantity))
        )

    async def _tickets_of(self, holder: Wallet, event: Json | None = None, *, count: int = 1) -> list[Json]:
        """Return a holder's tickets of an event once there are at least ``count``."""
        event = event or self.event
        seen: list[Json] = []

        async def there() -> bool:
            seen[:] = await self._anyone().get(f"/tickets?owner={holder.address}&eventId={event['id']}")
            return len(seen) >= count

        await _until(there, f"{holder.name}'s tickets appear")
        return seen

    async def _open_gate(self) -> str:
        organizer = self.people["organizer"]
        gate = await organizer.client.post("/gates", {"eventId": self.event["id"], "name": "Main door"})
        self.gate_id = gate["id"]
        self.gate = Client(self.http, self.base_url, gate["secret"])
        return await organizer.send(gate["intent"])

    async def _scan(self, code: str) -> Json:
        if self.gate is None:
            raise StepFailed("no gate is open")
        return await self.gate.post(f"/gates/{self.gate_id}/scan", {"code": code})

    async def _refused(self, code: str, reasons: set[str]) -> Outcome:
        verdict = (await self._scan(code))["verdict"]
        if verdict not in reasons:
            raise StepFailed(f"the gate said {verdict}, not {' or '.join(sorted(reasons))}")
        return Outcome(note=verdict)

    def _event_number(self) -> int:
        return int(self.event["blockchain_id"])

    async def _until_remaining(self, expected: list[int]) -> None:
        async def reached() -> bool:
            seen = await self._anyone().get(f"/events/{self.event['id']}/availability")
            return [tier["remaining"] for tier in seen["tiers"]] == expected

        await _until(reached, f"the tiers' remaining tickets become {expected}")

    async def _equal_to_chain(self) -> int:
        """Compare every projected ticket and tier of the event with the contract; return how many tickets."""
        at = parse_address(self.event["ticketContract"])
        tickets = await self._anyone().get(f"/tickets?eventId={self.event['id']}&perPage=100")
        for ticket in tickets:
            owner = await self._read("EventTicket", at, "ownerOf(uint256)", int(ticket["token_id"]))
            _expect(parse_address(ticket["owner"]), owner, f"owner of ticket {ticket['token_id']}")
        minted = await self._read("EventTicket", at, "ticketsMinted()")
        _expect(len(tickets), minted, "how many tickets there are")
        shown = await self._anyone().get(f"/events/{self.event['id']}/availability")
        for tier in shown["tiers"]:
            left = await self._read("EventTicket", at, "available(uint256)", tier["tierId"])
            _expect(tier["remaining"], left, f"what is left of tier {tier['tierId']}")
        return len(tickets)

    async def _read(self, name: str, address: bytes, signature: str, *arguments: object) -> Any:
        """Return the first output of a view function, straight from the contract."""
        interface = contract(name)
        data = interface.encode(signature, list(arguments))
        answer = await self.rpc.call(
            "eth_call", [{"to": "0x" + address.hex(), "data": "0x" + data.hex()}, "latest"]
        )
        return interface.decode_output(signature, bytes.fromhex(answer[2:]))[0]


def _expect(seen: object, expected: object, what: str) -> None:
    if seen != expected:
        raise StepFailed(f"{what}: {seen!r} instead of {expected!r}")


async def _until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until ``holds``; what people look at follows the chain, so it is looked at again and again.

    Raises:
        StepFailed: not within the time a step may take.
    """
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            while not await holds():
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise StepFailed(f"waited {SETTLE_SECONDS:.0f} s in vain: {what}") from None
