"""Where webhooks come in and go out in tests: the application, couriers, and the clock they go by."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from tests.accounts.people import LASTING, Browser, Clock, Process, Wallet
from tests.edge.http_client import Answered, Client
from tests.webhooks import signing

from echain.accounts import rest as accounts_rest
from echain.accounts import service as accounts
from echain.edge.http import StoredIdempotency, application
from echain.edge.http.limits import Limits
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.metrics import Metrics
from echain.infra.outbound import Outbound, Rules
from echain.infra.relay import Relayed
from echain.infra.secret import Secret
from echain.kernel.evm import Address, checksum
from echain.kernel.time import to_unix
from echain.webhooks import coinbase, rest, spread
from echain.webhooks.courier import Courier
from echain.webhooks.jobs import sweep_once
from echain.webhooks.measures import Measures

PUBLIC_URL = "https://tickets.example"
KEYS = DataKeys([Secret("ab" * 32)])
SECRETS = coinbase.Secrets([Secret(signing.COMMERCE_SECRET)], [Secret(signing.CDP_SECRET)])
LOOPBACK = Rules(http=True, private=True)


class Person:
    """Somebody who signed in."""

    def __init__(self, wallet: Wallet, client: Client) -> None:
        self.wallet = wallet
        self.client = client

    @property
    def address(self) -> Address:
        return Address(bytes.fromhex(self.wallet.address[2:]))

    @property
    def channel(self) -> str:
        return f"organizer:{checksum(self.address)}"

    async def subscribe(self, url: str, **wanted: Any) -> dict[str, Any]:
        """Subscribe a receiver; return it with its secret."""
        answer = await self.client("POST", ROOT, json_body={"url": url, **wanted})
        assert answer.status == 201, answer.body
        return answer.data

    async def look(self, subscription: dict[str, Any]) -> dict[str, Any]:
        return (await self.client("GET", f"{ROOT}/{subscription['id']}")).data

    async def log(self, subscription: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
        """Return a subscription's deliveries, newest first."""
        return (await self.client("GET", f"{ROOT}/{subscription['id']}/deliveries{query}")).data


ROOT = "/api/v1/webhook-subscriptions"


class Office:
    """The application on a database, and a courier whose clock is the test's."""

    def __init__(self, database: Database, clock: Clock, *, targets: Rules = LOOPBACK) -> None:
        self.database = database
        self.clock = clock
        self.targets = targets
        self.metrics = Metrics()
        self.measures = Measures(self.metrics)
        self.outbound = Outbound(targets, user_agent="echain-test")
        self.courier = self.another_courier()
        self.authenticator = accounts.authenticator(database, clock, LASTING)
        self.app = self.application(SECRETS)
        self.anyone = Client(self.app)
        self.sequence = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.outbound.close()

    def application_with(self, targets: Rules) -> Any:
        """Return the application with other rules for receivers."""
        return self.application(SECRETS, targets)

    def application(
        self, secrets: coinbase.Secrets, targets: Rules | None = None, limits: Limits | None = None
    ) -> Any:
        return application(
            [
                *accounts_rest.endpoints(
                    self.database, self.authenticator, public_url=PUBLIC_URL, chain_ids=[84532]
                ),
                *rest.incoming(self.database, secrets, self.measures),
                *rest.endpoints(self.database, KEYS, targets or self.targets),
            ],
            authenticate=self.authenticator,
            clock=self.clock,
            idempotency=StoredIdempotency(self.database),
            title="echain",
            version="1",
            limits=limits,
        )

    def another_courier(self, chance: Callable[[], float] = lambda: 0.5) -> Courier:
        return Courier(self.database, KEYS, self.outbound, self.clock, self.measures, chance=chance)

    async def person(self) -> Person:
        wallet = Wallet(self.clock)
        grant = await wallet.sign_in(Browser(Process(self.app, self.authenticator)))
        return Person(wallet, Client(self.app, {"authorization": f"Bearer {grant['accessToken']}"}))

    # --- in ---

    @property
    def unix(self) -> int:
        return to_unix(self.clock())

    async def send(self, body: bytes, headers: dict[str, str]) -> Answered:
        """Post a webhook as Coinbase would."""
        return await self.anyone("POST", "/webhooks/coinbase", body=body, headers=headers)

    async def inbox(self) -> list[dict[str, Any]]:
        rows = await self.database.fetch("SELECT * FROM webhook_inbox ORDER BY id")
        return [dict(row) for row in rows]

    async def waiting_jobs(self, kind: str) -> list[dict[str, Any]]:
        """Return the payloads of jobs of a kind that wait."""
        rows = await self.database.fetch("SELECT payload FROM jobs.queue WHERE status = 'queued' ORDER BY id")
        found = [json.loads(row["payload"]) for row in rows]
        return [one["data"] for one in found if one["kind"] == kind]

    # --- out ---

    def message(self, channel: str, kind: str = "ticket_sold", **data: Any) -> Relayed:
        """Return the next message that the relay would hand over."""
        self.sequence += 1
        now: datetime = self.clock()
        return Relayed(
            self.sequence,
            channel,
            kind,
            json.dumps(data or {"n": self.sequence}).encode(),
            None,
            None,
            int(now.timestamp() * 1000),
        )

    async def tell(self, messages: Sequence[Relayed], *, settled: bool = False) -> None:
        """Hand messages over as the relay does, in a transaction."""
        async with self.database.transaction() as tx:
            await spread.handler(self.clock, settled=settled)(tx, messages)

    async def deliver(self, subscription: dict[str, Any], courier: Courier | None = None) -> None:
        await (courier or self.courier).deliver(UUID(subscription["id"]))

    async def work_until(self, subscription: dict[str, Any], moment: datetime) -> int:
        """Let simulated time pass, the courier being woken when it asked to be; return the tries."""
        tries = 0
        while True:
            await self.deliver(subscription)
            tries += 1
            due = await self.database.fetchval(
                "SELECT next_try_at FROM webhook_subscriptions WHERE id = $1 AND enabled",
                UUID(subscription["id"]),
            )
            if due is None or due > moment:
                self.clock.now = max(self.clock.now, moment)
                return tries
            self.clock.now = due

    async def sweep(self) -> None:
        await sweep_once(self.database, self.clock)
