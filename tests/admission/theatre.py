"""An event on a real chain with the platform's contracts, followed into a real database, step by step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from echain.admission.jobs import CHECK_IN, CheckInSweep
from echain.admission.onchain import AdmissionProjector
from echain.admission.service import Relay
from echain.chain.chains import Chain, chain
from echain.chain.contracts import contract
from echain.chain.deploy import Deployment, deploy
from echain.chain.fees import Fees
from echain.chain.follow import FollowedChain, Follower
from echain.chain.keys import DEVNET_KEY, Key
from echain.chain.rpc import Rpc
from echain.chain.send import Policy, Sender
from echain.chain.types import Contract
from echain.events.onchain import EventProjector
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.kernel.evm import Address, checksum, to_hex
from echain.kernel.money import Wei
from echain.kernel.time import utc_now
from echain.tickets.onchain import TicketProjector

DEVNET: Chain = chain(84532, devnet=True)
KEY = Key(DEVNET_KEY)
ETHER = 10**18
PRICE_WEI = ETHER // 100


@dataclass
class Show:
    """An event on the chain."""

    number: int
    organizer: Address
    contract: Address
    id: UUID

    def ticket(self, token_id: int) -> str:
        return f"{DEVNET.chain_id}-{to_hex(self.contract)}-{token_id}"


class Theatre:
    """The chain and its projection; nothing follows by itself, so that tests decide what is known when."""

    def __init__(self, anvil: Anvil, database: Database, rpc: Rpc, deployment: Deployment) -> None:
        self.anvil = anvil
        self.database = database
        self.rpc = rpc
        self.deployment = deployment
        self.relays = {DEVNET.chain_id: Relay(KEY.address)}
        self.follower = Follower(
            rpc,
            database,
            (EventProjector(), TicketProjector(), AdmissionProjector()),
            FollowedChain(
                chain_id=DEVNET.chain_id,
                roots=(
                    Contract(deployment.factory, "factory", deployment.from_block),
                    Contract(deployment.poap, "poap", deployment.from_block),
                ),
                from_block=deployment.from_block,
                confirmations=DEVNET.confirmations,
                block_seconds=DEVNET.block_seconds,
                resettable=True,
            ),
        )

    async def follow(self) -> None:
        """Bring the projection to the node's head."""
        await self.follower.catch_up()

    def send(self, sender: Address, to: Address, data: bytes, value_wei: int = 0) -> str:
        """Mine a transaction from anybody and return its hash."""
        self.anvil.rpc("anvil_setBalance", checksum(sender), hex(100 * ETHER))
        self.anvil.rpc("anvil_impersonateAccount", checksum(sender))
        call = {"from": checksum(sender), "to": checksum(to), "data": to_hex(data), "value": hex(value_wei)}
        sent = self.anvil.rpc("eth_sendTransaction", {**call, "gas": hex(5_000_000)})
        # The node mines beside its answers.
        while (receipt := self.anvil.rpc("eth_getTransactionReceipt", sent)) is None:
            time.sleep(0.01)
        assert receipt["status"] == "0x1", receipt
        return sent

    def send_intent(self, intent: dict[str, Any]) -> str:
        """Mine what the API prepared, as it is."""
        return self.send(
            Address(bytes.fromhex(intent["from"][2:])),
            Address(bytes.fromhex(intent["to"][2:])),
            bytes.fromhex(intent["data"][2:]),
            int(intent["value"]),
        )

    async def show(self, organizer: Address, *, seats: int = 100) -> Show:
        """Create an event with one tier and follow it into the projection."""
        now = int(self.anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        self.send(
            organizer,
            self.deployment.factory,
            contract("EventFactory").encode(
                "createEvent(string,string,uint256,uint256,uint256,uint256)",
                ["Harbour Lights", "ipfs://x", PRICE_WEI, seats, now + 3600, now + 7200],
            ),
        )
        await self.follow()
        row = await self.database.fetchrow("SELECT * FROM events ORDER BY created_block DESC LIMIT 1")
        assert row is not None
        return Show(int(row["blockchain_id"]), row["organizer"], row["ticket_contract"], row["id"])

    def call(self, sender: Address, show: Show, signature: str, *arguments: object) -> str:
        """Call the show's ticket contract and return the transaction's hash."""
        return self.send(sender, show.contract, contract("EventTicket").encode(signature, arguments))

    async def buy(self, show: Show, buyer: Address, quantity: int = 1) -> list[int]:
        """Buy tickets, follow, and return their ids."""
        before = await self._count(show)
        self.send(
            buyer,
            show.contract,
            contract("EventTicket").encode("purchaseTickets(address,uint256)", [buyer, quantity]),
            PRICE_WEI * quantity,
        )
        await self.follow()
        rows = await self.database.fetch(
            "SELECT token_id FROM tickets WHERE ticket_contract = $1 ORDER BY token_id", show.contract
        )
        return [row["token_id"] for row in rows][before:]

    async def _count(self, show: Show) -> int:
        return await self.database.fetchval(
            "SELECT count(*) FROM tickets WHERE ticket_contract = $1", show.contract
        )

    def pass_time(self, seconds: int) -> None:
        self.anvil.rpc("evm_increaseTime", seconds)
        self.mine(1)

    def mine(self, blocks: int) -> None:
        self.anvil.rpc("anvil_mine", hex(blocks))

    def reorganize(self, depth: int) -> None:
        """Replace the last blocks by as many empty ones."""
        self.anvil.rpc("anvil_reorg", depth, [])

    def sweep(self) -> CheckInSweep:
        return CheckInSweep(self.database, utc_now, self.relays)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Run the platform's sender meanwhile, with the policy of a worker."""
        fees = Fees(self.rpc, DEVNET)
        poap = contract("Poap")
        sender = Sender(
            self.rpc,
            self.database,
            KEY,
            DEVNET,
            fees=fees,
            policy=Policy(
                allowed=[(self.deployment.poap, poap.selector(CHECK_IN))],
                cap_per_transaction_wei=Wei(ETHER),
                cap_per_hour_wei=Wei(10 * ETHER),
            ),
            clock=utc_now,
        )
        task = asyncio.create_task(sender.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await fees.close()

    async def attended(self, attendee: Address, show: Show) -> bool:
        """Return what the POAP contract says of somebody."""
        signature = "hasPOAP(address,uint256)"
        data = contract("Poap").encode(signature, [attendee, show.number])
        call = {"to": checksum(self.deployment.poap), "data": to_hex(data)}
        answer = await self.rpc.call("eth_call", [call, "latest"])
        return contract("Poap").decode_output(signature, bytes.fromhex(answer[2:]))[0]


async def opened(anvil: Anvil, database: Database, rpc: Rpc) -> Theatre:
    """Deploy the contracts and return a theatre without shows."""
    deployment = await deploy(rpc, database, KEY, DEVNET, now=utc_now())
    theatre = Theatre(anvil, database, rpc, deployment)
    await theatre.follow()
    return theatre
