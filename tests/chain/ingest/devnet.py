"""Real contracts on a real node, real sales on them, and what the contracts themselves say of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from echain.chain.chains import chain
from echain.chain.contracts import contract
from echain.chain.deploy import Deployment, deploy
from echain.chain.follow import FollowedChain
from echain.chain.keys import DEVNET_KEY, Key
from echain.chain.rpc import Rpc
from echain.chain.types import Contract
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.kernel.evm import Address, checksum
from echain.kernel.time import utc_now

PRICE_WEI = 10**15
GAS = hex(3_000_000)


@dataclass
class Devnet:
    """A node of one's own with an event on sale."""

    anvil: Anvil
    deployment: Deployment
    accounts: list[str]
    tickets: Address

    @classmethod
    async def start(cls, anvil: Anvil, database: Database) -> Devnet:
        """Deploy the contracts and create an event."""
        rpc = Rpc([anvil.url], chain_id=anvil.chain_id)
        key = Key(DEVNET_KEY)
        try:
            devnet = chain(anvil.chain_id, devnet=True)
            deployment = await deploy(rpc, database, key, devnet, fee_bps=250, now=utc_now())
        finally:
            await rpc.close()
        accounts: list[str] = anvil.rpc("eth_accounts")
        start = int(anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) + 86_400
        net = cls(anvil, deployment, accounts, Address(bytes(20)))
        arguments = ["Harbour Lights", "ipfs://lights", PRICE_WEI, 1_000_000, start, start + 86_400]
        call = "createEvent(string,string,uint256,uint256,uint256,uint256)"
        created = net.send(checksum(key.address), deployment.factory, ("EventFactory", call), arguments)
        # The node mines at once, but not before it answers.
        while anvil.rpc("eth_getTransactionReceipt", created) is None:
            await asyncio.sleep(0.01)
        answer = net.read("EventFactory", deployment.factory, "getEvent(uint256)", 1)
        net.tickets = Address(bytes.fromhex(answer[26:66]))
        return net

    def followed(self, **changes: Any) -> FollowedChain:
        settings: dict[str, Any] = {
            "confirmations": 12,
            "block_seconds": 0.2,
            "ws_urls": (self.anvil.ws_url,),
            "resettable": True,
        }
        first = self.deployment.from_block
        return FollowedChain(
            chain_id=self.anvil.chain_id,
            roots=(
                Contract(self.deployment.factory, "factory", first),
                Contract(self.deployment.poap, "poap", first),
            ),
            from_block=first,
            **(settings | changes),
        )

    def send(
        self, sender: str, to: bytes, call: tuple[str, str], arguments: list[Any], value_wei: int = 0
    ) -> str:
        """Send a call from one of the node's own accounts; return its hash."""
        self.anvil.rpc("anvil_impersonateAccount", sender)
        transaction = {
            "from": sender,
            "to": checksum(Address(to)),
            "data": "0x" + contract(call[0]).encode(call[1], arguments).hex(),
            "value": hex(value_wei),
            "gas": GAS,
        }
        return self.anvil.rpc("eth_sendTransaction", transaction)

    def reorg(self, depth: int) -> None:
        """Replace the last blocks by empty ones; not while the node still mines.

        It loses blocks of its own when a fork meets a transaction that it is about to mine.
        """
        self._until_quiet()
        self.anvil.rpc("anvil_reorg", depth, [])
        self._until_quiet()

    def _until_quiet(self) -> None:
        before = None
        while True:
            pool = self.anvil.rpc("txpool_status")
            head = self.anvil.rpc("eth_getBlockByNumber", "latest", False)["hash"]
            if head == before and {pool["pending"], pool["queued"]} == {"0x0"}:
                return
            before = head
            time.sleep(0.005)

    def buy(self, account: int, quantity: int) -> str:
        buyer = self.accounts[account]
        arguments = [bytes.fromhex(buyer[2:]), quantity]
        call = "purchaseTickets(address,uint256)"
        return self.send(buyer, self.tickets, ("EventTicket", call), arguments, quantity * PRICE_WEI)

    def give(self, sender: int, receiver: int, token_id: int) -> str:
        people = [bytes.fromhex(self.accounts[number][2:]) for number in (sender, receiver)]
        call = "transferFrom(address,address,uint256)"
        return self.send(self.accounts[sender], self.tickets, ("EventTicket", call), [*people, token_id])

    def read(self, name: str, address: bytes, call: str, *arguments: Any) -> str:
        """Return the hexadecimal answer of a view function."""
        data = "0x" + contract(name).encode(call, list(arguments)).hex()
        return self.anvil.rpc("eth_call", {"to": checksum(Address(address)), "data": data}, "latest")

    def owners(self) -> dict[int, str]:
        """Return who holds each ticket, asked ticket by ticket."""
        minted = int(self.read("EventTicket", self.tickets, "ticketsMinted()"), 16)
        return {
            token: "0x" + self.read("EventTicket", self.tickets, "ownerOf(uint256)", token)[-40:]
            for token in range(1, minted + 1)
        }

    def paid_in_wei(self) -> int:
        return int(self.read("EventTicket", self.tickets, "escrow()")[2:66], 16)

    def transfers(self) -> list[tuple[int, int]]:
        """Return block and index of every transfer, read from the node's own logs."""
        topic = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
        query = {
            "fromBlock": "0x0",
            "toBlock": "latest",
            "address": checksum(self.tickets),
            "topics": [topic],
        }
        return [
            (int(log["blockNumber"], 16), int(log["logIndex"], 16))
            for log in self.anvil.rpc("eth_getLogs", query)
        ]

    async def differences(self, database: Database) -> list[str]:
        """Return where the projections are not what the contracts and the node's logs say."""
        # Aside, because the indexer under test lives in this very event loop.
        owners, paid_in, transfers = await asyncio.to_thread(
            lambda: (self.owners(), self.paid_in_wei(), self.transfers())
        )
        found: list[str] = []
        seen = {
            row["token_id"]: "0x" + row["owner"].hex()
            for row in await database.fetch("SELECT token_id, owner FROM tickets")
        }
        if seen != owners:
            found.append(f"tickets: {len(seen)} rows for {len(owners)} tickets, or other owners")
        paid = await database.fetchval("SELECT coalesce(sum(paid_in_wei), 0) FROM contract_escrow")
        if int(paid) != paid_in:
            found.append(f"paid in: {paid} is not {paid_in}")
        sold = await database.fetchval("SELECT sum(sold_tickets) FROM events")
        if (sold or 0) != len(owners):
            found.append(f"sold: {sold} is not {len(owners)}")
        facts = await database.fetch("SELECT block_number, log_index FROM transfers ORDER BY 1, 2")
        if [tuple(row) for row in facts] != transfers:
            found.append("transfers are not the node's logs")
        told = await database.fetchval(
            """
            SELECT count(*) FROM (
                SELECT channels AS channel, type, block_number FROM outbox
                UNION ALL SELECT channel, type, block_number FROM messages
            ) AS told
            WHERE type = 'ticket_sold' AND channel LIKE 'event:%' AND block_number IS NOT NULL
            """
        )
        sales = await database.fetchval("SELECT count(*) FROM sales")
        if told != sales:
            found.append(f"{told} sales told of {sales}")
        return found
