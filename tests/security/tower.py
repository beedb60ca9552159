"""The platform with its security monitor: real chain, database, mail server; relay and worker run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.accounts.people import LASTING, Browser, Clock, Process, Wallet
from tests.admission.theatre import DEVNET, KEY, Theatre, opened
from tests.edge.http_client import Answered, Client
from tests.events.shop import KEYS, Person, Shop
from tests.infra.postoffice import Letter
from tests.infra.relaying import running
from tests.notify.town import TEMPLATES, Town, around

from echain.accounts import adminrest
from echain.accounts import rest as accounts_rest
from echain.accounts import service as accounts
from echain.accounts.admins import Administrators
from echain.chain.contractwallet import ContractWallets
from echain.chain.rpc import Rpc
from echain.edge.http import Application, StoredIdempotency, application
from echain.edge.http.limits import Limits
from echain.infra.audit import ClientSeals
from echain.infra.audit.chain import AuditKeys
from echain.infra.audit.sealer import Sealer
from echain.infra.audit.verify import verify
from echain.infra.cache import Cache
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.infra.jobs import JobKind, Workers, enqueue
from echain.infra.metrics import Metrics
from echain.infra.relay import Relay
from echain.infra.secret import Secret
from echain.kernel.evm import Address, checksum
from echain.kernel.time import utc_now
from echain.notify import jobs as notify_jobs
from echain.security import deskrest, jobs
from echain.security import rest as alarms_rest
from echain.security.hearing import NAME, Hearing, Valuables
from echain.security.kinds import Tick
from echain.security.service import Watchmen

PUBLIC_URL = "https://tickets.example"
ETHER = 10**18
ADMIN_MAIL = "admin@harbour.example"
AUDIT_KEYS = AuditKeys([Secret("33" * 32)])
VALUE_WEI = ETHER
"""What much money is in these tests."""


@dataclass
class Tower:
    """Everything of a test; ``boss`` administers the platform by configuration."""

    town: Town
    rpc: Rpc
    tools: jobs.Tools
    hearing: Hearing
    boss: Person
    administrators: Administrators
    app: Application
    theatre: Theatre | None
    metrics: Metrics
    refusals: list[str] = field(default_factory=list)

    @property
    def shop(self) -> Shop:
        return self.town.shop

    @property
    def database(self) -> Database:
        return self.town.database

    @property
    def clock(self) -> Clock:
        return self.town.clock

    @property
    def stage(self) -> Theatre:
        assert self.theatre is not None, "this tower has no chain"
        return self.theatre

    # --- people ---

    async def person(self, wallet: Wallet | None = None) -> Person:
        """Sign somebody in."""
        wallet = wallet or Wallet(self.clock)
        grant = await wallet.sign_in(self.browser())
        return Person(wallet, Client(self.app, {"authorization": f"Bearer {grant['accessToken']}"}))

    def browser(self, **changes: Any) -> Browser:
        return Browser(Process(self.app, self.shop.authenticator), **changes)

    async def confirmed(self, person: Person, action: str, target: str) -> dict[str, str]:
        """Return the header by which somebody confirms an action."""
        body = {"action": action, "target": target}
        asked = await person.client("POST", "/api/v1/auth/confirmations", json_body=body)
        assert asked.status == 201, asked.body
        return {"echain-confirmation": f"{asked.data['id']}:{person.wallet.sign(asked.data['message'])}"}

    async def appoint(self, by: Person, address: str) -> Answered:
        header = await self.confirmed(by, "admin.grant", address)
        return await by.client("POST", "/api/v1/admin/admins", json_body={"address": address}, headers=header)

    async def dismiss(self, by: Person, address: str) -> Answered:
        header = await self.confirmed(by, "admin.revoke", address)
        return await by.client("DELETE", f"/api/v1/admin/admins/{address}", headers=header)

    # --- what was raised ---

    async def alarms(self, query: str = "") -> list[dict[str, Any]]:
        """Return the alarms, the oldest first, once nothing is under way."""
        await self.town.quiet()
        answer = await self.boss.client("GET", f"/api/v1/admin/alarms{query}")
        assert answer.status == 200, answer.body
        return list(reversed(answer.data))

    async def kinds(self) -> list[str]:
        return [one["kind"] for one in await self.alarms()]

    async def inbox(self) -> list[dict[str, Any]]:
        """Return what the boss is told of alarms in the app."""
        return [one for one in await self.town.inbox(self.boss) if one["kind"] == "alarm"]

    def mails(self) -> list[Letter]:
        return [one for one in self.town.office.letters if one.parsed["Subject"].startswith("Alarm")]

    def counted(self, kind: str) -> int:
        page = self.metrics.render().decode()
        (line,) = [
            line
            for line in page.splitlines()
            if line.startswith(f'echain_security_alarms_total{{kind="{kind}"}}')
        ]
        return int(float(line.rpartition(" ")[2]))

    async def messages(self) -> list[dict[str, Any]]:
        """Return what was told of alarms on the channel of the platform."""
        rows = await self.database.fetch(
            "SELECT data FROM messages WHERE channel = 'platform' AND type = 'alarm' ORDER BY sequence"
        )
        return [json.loads(row["data"]) for row in rows]

    # --- what runs ---

    async def tick(self, kind: JobKind[Any]) -> None:
        """Do what the clock asks for, and what follows from it."""
        async with self.database.transaction() as tx:
            await enqueue(tx, kind, [Tick()])
        await self.town.quiet()

    @asynccontextmanager
    async def relaying(self) -> AsyncGenerator[None]:
        seen = {"notify": self.town.listener.seen, NAME: self.hearing}
        relay = Relay(self.database, None, seen, {"notify": self.town.listener.settled})
        async with running(relay.run()):
            yield

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        handlers = {**notify_jobs.handlers(self.town.tools), **jobs.handlers(self.tools)}
        workers = Workers(self.town.url, self.database, handlers, Metrics())
        async with running(workers.run()):
            yield

    @asynccontextmanager
    async def sealing(self) -> AsyncGenerator[None]:
        async with running(Sealer(self.database, AUDIT_KEYS, metrics=Metrics()).run()):
            yield

    def application(
        self, limits: Limits | None = None, on_refused: Callable[[str], None] = lambda _: None
    ) -> Application:
        """Return one more API process of the same platform."""
        return _application(
            self.shop, self.rpc, self.administrators, self.tools, limits=limits, on_refused=on_refused
        )


def _application(
    shop: Shop,
    rpc: Rpc,
    administrators: Administrators,
    tools: jobs.Tools,
    *,
    limits: Limits | None = None,
    on_refused: Callable[[str], None] = lambda _: None,
) -> Application:
    rpcs = {DEVNET.chain_id: rpc}
    return application(
        [
            *accounts_rest.endpoints(
                shop.database, shop.authenticator, public_url=PUBLIC_URL, chain_ids=[DEVNET.chain_id]
            ),
            *adminrest.endpoints(shop.database, shop.authenticator, administrators, ContractWallets(rpcs)),
            *alarms_rest.endpoints(shop.database),
            *deskrest.endpoints(shop.database, rpcs, tools.deployments),
        ],
        authenticate=shop.authenticator,
        clock=shop.clock,
        idempotency=StoredIdempotency(shop.database),
        title="echain",
        version="1",
        limits=limits,
        seals=ClientSeals(KEYS),
        on_refused=on_refused,
    )


async def _audited(database: Database, span: timedelta) -> Sequence[str]:
    report = await verify(database, AUDIT_KEYS, since=utc_now() - span)
    return [f"row {one.number}: {one.what}" for one in report.findings]


@asynccontextmanager
async def built(
    url: str, anvil: Anvil | None = None, *, works: bool = True, mail: bool = True
) -> AsyncGenerator[Tower]:
    """Build a tower on a fresh database; with a node the contracts stand on it.

    ``works`` False lets no relay and no worker run. ``mail``: the boss has an address of e-mail.
    """
    async with AsyncExitStack() as stack:
        database = await Database.connect(url, size=20, name="tower")
        stack.push_async_callback(database.close)
        rpc = Rpc([anvil.url if anvil else "http://127.0.0.1:1"], chain_id=DEVNET.chain_id, timeout=5)
        stack.push_async_callback(rpc.close)
        theatre = None if anvil is None else await opened(anvil, database, rpc)
        cache = await stack.enter_async_context(Cache(url, None))
        clock = Clock(utc_now())
        shop = Shop(database, cache, rpc, clock, None)
        stack.push_async_callback(shop.fees.close)
        wallet = Wallet(clock)
        administrators = Administrators([Address(bytes.fromhex(wallet.address[2:]))])
        shop.authenticator = accounts.authenticator(database, clock, LASTING, administrators)
        town = await stack.enter_async_context(around(shop, url, works=False))
        metrics = Metrics()
        tools = jobs.Tools(
            chains={} if theatre is None else {DEVNET.chain_id: jobs.Watched(rpc, 1, 1_000, ETHER // 20)},
            deployments=lambda: {} if theatre is None else {DEVNET.chain_id: theatre.deployment},
            platform=KEY.address,
            watchmen=Watchmen(administrators, TEMPLATES, town.tools.reach),
            audit=_audited,
            metrics=metrics,
            clock=clock,
        )
        hearing = Hearing({DEVNET.chain_id: Valuables(VALUE_WEI)}, clock)
        app = _application(shop, rpc, administrators, tools)
        browser = Browser(Process(app, shop.authenticator))
        grant = await wallet.sign_in(browser)
        boss = Person(wallet, Client(app, {"authorization": f"Bearer {grant['accessToken']}"}))
        tower = Tower(town, rpc, tools, hearing, boss, administrators, app, theatre, metrics)
        if works:
            await stack.enter_async_context(tower.relaying())
            await stack.enter_async_context(tower.working())
            if mail:
                await town.confirm(boss, ADMIN_MAIL)
        yield tower


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def text(address: Address) -> str:
    return checksum(address)
