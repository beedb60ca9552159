"""Who signs in: browsers with cookies, wallets with keys, and the clock they go by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from echain.accounts.accesstokens import AccessTokens
from echain.accounts.authentication import Authenticator
from echain.edge.http import Application
from echain.infra.secret import Secret

PUBLIC_URL = "https://tickets.example"
TOKENS = AccessTokens([Secret("11" * 32)], issuer=PUBLIC_URL)
"""What all processes of these tests make and check access tokens with."""
LASTING = AccessTokens([Secret("11" * 32)], issuer=PUBLIC_URL, life=timedelta(days=90))
"""The same for tests in which days pass, and that are not about staying signed in."""

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Mobile/15E148 Safari/604.1"


@dataclass
class Clock:
    """The time as the test says it is."""

    now: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **units: float) -> None:
        self.now += timedelta(**units)


@dataclass
class Process:
    """One API process: its application and what it remembers."""

    app: Application
    authenticator: Authenticator


@dataclass
class Answer:
    status: int
    body: Any
    headers: dict[str, str]
    set_cookies: list[str]

    @property
    def data(self) -> Any:
        assert self.body["success"], self.body
        return self.body["data"]

    @property
    def code(self) -> str:
        assert not self.body["success"], self.body
        return self.body["error"]["code"]


@dataclass
class Browser:
    """A client with cookies, a User-Agent, an address and maybe a token."""

    process: Process
    user_agent: str = FIREFOX
    client: str = "192.0.2.1"
    token: str | None = None
    cookies: dict[str, str] = field(default_factory=dict)

    async def send(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send one request over ASGI and keep the cookies of its answer."""
        given = {"user-agent": self.user_agent, **headers}
        if self.token is not None:
            given.setdefault("authorization", f"Bearer {self.token}")
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        payload = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            given.setdefault("content-type", "application/json")
        messages = await self._over_asgi(method, path, given, payload)
        start, content = messages[0], b"".join(message["body"] for message in messages[1:])
        pairs = [(name.decode(), value.decode()) for name, value in start["headers"]]
        set_cookies = [value for name, value in pairs if name == "set-cookie"]
        for cookie in set_cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            if "; Max-Age=0;" in cookie:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return Answer(start["status"], json.loads(content), dict(pairs), set_cookies)

    async def _over_asgi(
        self, method: str, path: str, headers: Mapping[str, str], payload: bytes
    ) -> list[dict[str, Any]]:
        scope = {
            "type": "http",
            "method": method,
            "path": f"/api/v1/auth{path}",
            "raw_path": f"/api/v1/auth{path}".encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": (self.client, 50_000),
        }
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": payload}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.process.app(scope, receive, send)
        return messages

    async def get(self, path: str) -> Answer:
        return await self.send("GET", path)

    async def post(self, path: str, body: object = None) -> Answer:
        return await self.send("POST", path, body)

    async def delete(self, path: str) -> Answer:
        return await self.send("DELETE", path)

    async def verify(self, message: str, signature: str) -> Answer:
        return await self.post("/verify", {"message": message, "signature": signature})

    async def refresh(self, token: str) -> Answer:
        return await self.post("/refresh", {"refreshToken": token})


@dataclass
class Wallet:
    """A plain wallet: words messages as EIP-4361 says and signs them."""

    clock: Clock
    account: LocalAccount = field(default_factory=Account.create)

    @property
    def address(self) -> str:
        return self.account.address

    def message(self, nonce: str, **changes: str) -> str:
        """Return a sign-in message; ``changes`` replace its pieces."""
        parts = {
            "domain": urlsplit(PUBLIC_URL).netloc,
            "address": self.address,
            "statement": "Sign in to echain.",
            "uri": PUBLIC_URL,
            "version": "1",
            "chain_id": "84532",
            "nonce": nonce,
            "issued_at": self.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "rest": "",
            **changes,
        }
        return (
            "{domain} wants you to sign in with your Ethereum account:\n{address}\n\n{statement}\n\n"
            "URI: {uri}\nVersion: {version}\nChain ID: {chain_id}\nNonce: {nonce}\n"
            "Issued At: {issued_at}{rest}"
        ).format(**parts)

    def sign(self, message: str) -> str:
        return "0x" + bytes(self.account.sign_message(encode_defunct(text=message)).signature).hex()

    async def sign_in(self, browser: Browser) -> dict[str, Any]:
        """Sign in through ``browser``, which then carries the access token; return the grant."""
        nonce = (await browser.get("/nonce")).data["nonce"]
        message = self.message(nonce)
        answer = await browser.verify(message, self.sign(message))
        assert answer.status == 200, answer.body
        browser.token = answer.data["accessToken"]
        return answer.data
