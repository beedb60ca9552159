"""The whole application on a database, people with everything that is kept of them, and what they may do."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.accounts.people import PUBLIC_URL, Browser, Process, Wallet
from tests.edge.http_client import Answered, Client

from echain.accounts import service as accounts
from echain.accounts.accesstokens import AccessTokens
from echain.edge.http import Application
from echain.entry.addressbook import AddressBook
from echain.entry.connections import services
from echain.entry.privacy import holdings
from echain.entry.settings import read
from echain.entry.wiring import application_of
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.personal import Holding
from echain.kernel.evm import Address
from echain.kernel.ids import uuid7
from echain.kernel.time import utc_now

ACCOUNT = "/api/v1/auth/account"
EXPORT = "/api/v1/auth/export"


@dataclass
class Person:
    """Somebody who signed in; without ``wallet`` by another's word."""

    user_id: UUID
    client: Client
    wallet: Wallet | None = None

    @property
    def address(self) -> Address:
        assert self.wallet is not None
        return Address(bytes.fromhex(self.wallet.address[2:]))

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        answer = await self.client(method, f"/api/v1{path}", json_body=body, headers=headers)
        assert answer.status < 300, (method, path, answer.body)
        return answer.data

    async def confirmed(self) -> dict[str, str]:
        """Return the header by which the wallet confirms that the account is to be erased."""
        assert self.wallet is not None
        asked = await self.ask(
            "POST", "/auth/confirmations", {"action": "account.erase", "target": str(self.user_id)}
        )
        signature = self.wallet.sign(asked["message"])
        return {"echain-confirmation": f"{asked['id']}:{signature}"}

    async def erase(self) -> Answered:
        return await self.client("DELETE", ACCOUNT, headers=await self.confirmed())

    async def export(self) -> dict[str, Any]:
        answer = await self.client("GET", EXPORT)
        assert answer.status == 200, answer.body
        return answer.data


@dataclass
class Home:
    """One API process and its database; `another` is a second process."""

    database: Database
    keys: DataKeys
    app: Application
    users: accounts.Authenticator
    processes: list[Process] = field(default_factory=list)

    @property
    def holdings(self) -> list[Holding]:
        return holdings(self.keys)

    async def person(self, wallet: Wallet | None = None, user_agent: str | None = None) -> Person:
        wallet = wallet or Wallet(utc_now)  # type: ignore[arg-type]
        browser = Browser(Process(self.app, self.users))
        if user_agent is not None:
            browser.user_agent = user_agent
        grant = await wallet.sign_in(browser)
        return Person(UUID(grant["userId"]), self.client(grant["accessToken"]), wallet)

    async def without_wallet(self) -> Person:
        user_id, now = uuid7(), utc_now()
        async with self.database.transaction() as tx:
            await tx.execute("INSERT INTO users (id, created_at) VALUES ($1, $2)", user_id, now)
            grant = await accounts.open_session(
                tx, self.users.tokens, user_id, address=None, device="A browser", now=now
            )
        return Person(user_id, self.client(grant.access_token))

    def client(self, token: str) -> Client:
        return Client(self.app, {"authorization": f"Bearer {token}"})


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncGenerator[Home]:
    """Open a home on a migrated database, without Redis, chain or mail server."""
    config = read(
        {
            "ECHAIN_HOME": str(folder),
            "ECHAIN_DEVNET": "true",
            "ECHAIN_DATABASE_URL": url,
            "ECHAIN_PUBLIC_URL": PUBLIC_URL,
            "ECHAIN_SMTP_URL": "smtp://127.0.0.1:9",
            "ECHAIN_MAIL_FROM": "tickets@harbour.example",
        }
    )
    async with AsyncExitStack() as stack:
        parts = await services(config, stack, name="echain test")
        tokens = AccessTokens(config.token_keys, issuer=config.public_url)
        users = accounts.authenticator(parts.database, utc_now, tokens)
        book = AddressBook(config, parts.database)
        app = application_of(config, parts, book, {}, users, warm=lambda: True)
        yield Home(parts.database, DataKeys(config.data_keys), app, users)
