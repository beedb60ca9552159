"""Who meets in front of the pages: an organizer, buyers, and wallets that a page finds by EIP-6963."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from playwright.async_api import BrowserContext

from echain.chain.rpc import Rpc
from echain.entry.wallet import Client, Wallet
from echain.kernel.time import rfc3339, utc_now

ETHER = 10**18
SECONDS = 30_000
"""How long a page may take, in milliseconds, on the slowest machine."""

ANNOUNCE = """
    ([uuid, name, rdns, bridge]) => {
        const icon = 'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg"/>';
        const provider = {
            async request ({ method, params }) {
                const answer = await window[bridge](JSON.stringify([method, params ?? []]));
                const { result, error } = JSON.parse(answer);
                if (error) throw Object.assign(new Error(error.message), { code: error.code });
                return result;
            }
        };
        const detail = Object.freeze({ info: Object.freeze({ uuid, name, icon, rdns }), provider });
        const announce = () => window.dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail }));
        window.addEventListener('eip6963:requestProvider', announce);
        announce();
    }
"""


class WalletError(Exception):
    """What a wallet answers instead of a result (EIP-1193)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class BrowserWallet:
    """A wallet in a browser that signs for real; ``before`` runs before it answers a method."""

    rpc: Rpc
    chain_id: int
    name: str = "Test Wallet"
    account: LocalAccount = field(default_factory=Account.create)
    knows: set[int] = field(default_factory=set)
    before: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def announce(self, context: BrowserContext) -> None:
        """Be found by every page that opens in this browser from now on."""
        bridge = f"wallet_{self.account.address}"
        rdns = f"example.{self.name.lower().replace(' ', '-')}"
        await context.expose_function(bridge, self._answer)
        arguments = json.dumps([f"{self.account.address}", self.name, rdns, bridge])
        await context.add_init_script(f"({ANNOUNCE})({arguments})")

    async def _answer(self, text: str) -> str:
        method, params = json.loads(text)
        self.asked.append(method)
        try:
            if method in self.before:
                await self.before[method]()
            return json.dumps({"result": await self._do(method, params)})
        except WalletError as error:
            return json.dumps({"error": {"code": error.code, "message": str(error)}})

    async def _do(self, method: str, params: list[Any]) -> Any:
        match method:
            case "eth_requestAccounts" | "eth_accounts":
                return [self.account.address.lower()]
            case "eth_chainId":
                return hex(self.chain_id)
            case "eth_getBalance":
                return await self.rpc.call(method, params)
            case "wallet_switchEthereumChain":
                wanted = int(params[0]["chainId"], 16)
                if wanted not in self.knows:
                    raise WalletError(4902, "Unrecognized chain")
                self.chain_id = wanted
                return None
            case "personal_sign":
                signed = self.account.sign_message(encode_defunct(hexstr=params[0]))
                return "0x" + signed.signature.hex().removeprefix("0x")
            case "eth_sendTransaction":
                return await self._send(params[0])
            case _:
                raise WalletError(4200, f"{method} is not supported")

    async def _send(self, wanted: dict[str, str]) -> str:
        nonce = await self.rpc.call("eth_getTransactionCount", [self.account.address, "pending"])
        amounts = ("value", "gas", "maxFeePerGas", "maxPriorityFeePerGas")
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": self.chain_id,
            "nonce": int(nonce, 16),
            "to": wanted["to"],
            "data": wanted["data"],
            **{name: int(wanted[name], 16) for name in amounts},
        }
        signed = self.account.sign_transaction(transaction)
        return await self.rpc.call(
            "eth_sendRawTransaction", ["0x" + signed.raw_transaction.hex().removeprefix("0x")]
        )


@dataclass
class World:
    """The platform's people."""

    http: aiohttp.ClientSession
    url: str
    node: str
    chain_id: int = 0

    async def open(self) -> None:
        """Learn the chain and give the organizer a wallet and a session."""
        chains = await Client(self.http, self.url).get("/chains")
        self.chain_id = chains[0]["chainId"]
        self.rpc = Rpc([self.node], chain_id=self.chain_id)
        self.organizer = await self.person("organizer")

    async def close(self) -> None:
        await self.rpc.close()

    async def person(self, name: str) -> Wallet:
        """Return somebody with ten ether and a session, who needs no browser."""
        wallet = Wallet(name, self.rpc, Client(self.http, self.url), self.chain_id)
        await wallet.fund(10 * ETHER)
        await wallet.sign_in()
        return wallet

    async def wallet(self, context: BrowserContext, *, ether: int = 10, **options: Any) -> BrowserWallet:
        """Return a funded wallet that the context's pages find."""
        wallet = BrowserWallet(self.rpc, options.pop("chain_id", self.chain_id), **options)
        await self.rpc.call("anvil_setBalance", [wallet.account.address, hex(ether * ETHER)])
        await wallet.announce(context)
        return wallet

    async def event(self, **changes: Any) -> dict[str, Any]:
        """Have the organizer publish an event, and return it once everybody sees it."""
        starts = utc_now() + timedelta(days=30)
        content = {
            "chainId": self.chain_id,
            "title": "Harbour Lights",
            "description": "An evening by the water.",
            "startTime": rfc3339(starts),
            "endTime": rfc3339(starts + timedelta(hours=4)),
            "tiers": [{"name": "General", "priceWei": str(ETHER // 100), "supply": 50}],
        } | changes
        draft = await self.organizer.client.post("/events", content)
        await self.organizer.send(await self.organizer.client.post(f"/events/{draft['id']}/publish"))
        async with asyncio.timeout(30):
            while (event := await self.organizer.client.get(f"/events/{draft['id']}"))["status"] == "draft":
                await asyncio.sleep(0.05)
        return event

    async def buy(self, buyer: Wallet, event: dict[str, Any], quantity: int) -> None:
        order = {"eventId": event["id"], "tierId": 0, "quantity": quantity}
        await buyer.send(await buyer.client.post("/tickets/purchase", order))

    async def given(self, event: dict[str, Any], address: str, quantity: int) -> None:
        """Have somebody buy tickets for an address, and return once everybody sees them."""
        buyer = await self.person("benefactor")
        order = {"eventId": event["id"], "tierId": 0, "quantity": quantity, "recipient": address}
        await buyer.send(await buyer.client.post("/tickets/purchase", order))
        async with asyncio.timeout(30):
            while len(await self.tickets_of(address)) < quantity:
                await asyncio.sleep(0.05)

    async def tickets_of(self, address: str) -> list[dict[str, Any]]:
        return await Client(self.http, self.url).get(f"/tickets?owner={address}")
