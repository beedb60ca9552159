"""A person with a wallet, as the demo plays them: signs in, signs intents, sends them by the platform."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from echain.chain.rpc import Rpc
from echain.kernel.time import rfc3339, utc_now

Json = dict[str, Any]

SETTLE_SECONDS = 30.0
"""How long a step waits for the chain and the projections before it gives up."""

_POLL_SECONDS = 0.02


class Refused(Exception):
    """The platform answered no; ``code`` is the envelope's."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.status = status
        self.code = str(error.get("code"))
        self.details = cast("Mapping[str, Any]", error.get("details") or {})


@dataclass
class Client:
    """The platform's REST interface, as one caller sees it."""

    http: aiohttp.ClientSession
    base_url: str
    token: str | None = None

    async def call(self, method: str, path: str, body: Json | None = None, **headers: str) -> Any:
        """Return the envelope's data.

        Raises:
            Refused: the envelope says ``success: false``.
        """
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if method == "POST":
            headers.setdefault("Idempotency-Key", secrets.token_hex(16))
        async with self.http.request(
            method, f"{self.base_url}/api/v1{path}", json=body, headers=headers
        ) as answer:
            envelope = await answer.json()
        if not envelope["success"]:
            raise Refused(answer.status, envelope["error"])
        return envelope["data"]

    async def get(self, path: str) -> Any:
        return await self.call("GET", path)

    async def post(self, path: str, body: Json | None = None) -> Any:
        return await self.call("POST", path, body)


@dataclass
class Wallet:
    """A fresh key with a session of its own."""

    name: str
    rpc: Rpc
    client: Client
    chain_id: int
    account: LocalAccount = field(default_factory=lambda: cast("LocalAccount", Account.create()))

    @property
    def address(self) -> str:
        return self.account.address

    async def fund(self, wei: int) -> None:
        """Give the wallet coins; only a devnet node knows how."""
        await self.rpc.call("anvil_setBalance", [self.address, hex(wei)])

    async def sign_in(self) -> None:
        """Sign the platform's nonce (EIP-4361) and keep the session's token."""
        nonce = (await self.client.get(f"/auth/nonce/{self.address}"))["nonce"]
        message = self._sign_in_message(nonce)
        signature = self.account.sign_message(encode_defunct(text=message)).signature
        session = await self.client.post(
            "/auth/verify", {"message": message, "signature": "0x" + signature.hex().removeprefix("0x")}
        )
        self.client.token = session["accessToken"]

    def _sign_in_message(self, nonce: str) -> str:
        now = utc_now()
        return (
            f"{urlsplit(self.client.base_url).netloc} wants you to sign in with your Ethereum account:\n"
            f"{self.address}\n\nSign in to echain.\n\n"
            f"URI: {self.client.base_url}\nVersion: 1\nChain ID: {self.chain_id}\nNonce: {nonce}\n"
            f"Issued At: {rfc3339(now)}\nExpiration Time: {rfc3339(now + timedelta(minutes=5))}"
        )

    async def send(self, intent: Json) -> str:
        """Sign an intent, hand it to the platform, wait until it is mined; return the transaction hash.

        Raises:
            Refused: the platform would not take it.
            RuntimeError: mined but failed, or not mined in time.
        """
        sent = await self.client.post(
            "/transactions", {"chainId": self.chain_id, "raw": await self.sign(intent)}
        )
        return await self.mined(sent["hash"])

    async def sign(self, intent: Json) -> str:
        nonce = int(await self.rpc.call("eth_getTransactionCount", [self.address, "pending"]), 16)
        signed = self.account.sign_transaction(
            {
                "type": 2,
                "chainId": self.chain_id,
                "nonce": nonce,
                "to": intent["to"],
                "data": intent["data"],
                "value": int(intent["value"]),
                "gas": int(intent["gas"]),
                "maxFeePerGas": int(intent["maxFeePerGas"]),
                "maxPriorityFeePerGas": int(intent["maxPriorityFeePerGas"]),
            }
        )
        return "0x" + signed.raw_transaction.hex().removeprefix("0x")

    async def mined(self, transaction_hash: str) -> str:
        async with asyncio.timeout(SETTLE_SECONDS):
            while (receipt := await self.rpc.call("eth_getTransactionReceipt", [transaction_hash])) is None:
                await asyncio.sleep(_POLL_SECONDS)
        if receipt["status"] != "0x1":
            raise RuntimeError(f"{self.name}'s transaction {transaction_hash} was mined but failed")
        return transaction_hash
