"""The platform on a real database with a real mail server; what the chain says is said by hand."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.accounts.people import Clock
from tests.edge.http_client import Answered, Client
from tests.events.shop import CHAIN_ID, PUBLIC_URL, OnChain, Person, Shop
from tests.infra.postoffice import Letter, PostOffice, post_office
from tests.infra.relaying import running
from tests.kernel.conformity import conforms

from echain.chain.rpc import Rpc
from echain.edge.http import StoredIdempotency, application
from echain.infra.cache import Cache
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.jobs import JobKind, Workers, enqueue
from echain.infra.mail import Mailer
from echain.infra.mailserver import MailServer
from echain.infra.metrics import Metrics
from echain.infra.outbound import Outbound, Rules
from echain.infra.outbox import publish, revert
from echain.infra.relay import Relay
from echain.infra.secret import Secret
from echain.kernel.messages import Message
from echain.kernel.time import rfc3339
from echain.notify import jobs, pages, rest
from echain.notify.composing import Composer
from echain.notify.kinds import Tick
from echain.notify.letters import Brand
from echain.notify.pushing import Pusher, public_key
from echain.notify.relaying import Listener
from echain.notify.rendering import Templates
from echain.notify.wording import Coin

KEYS = DataKeys([Secret("11" * 32)])
VAPID = Secret("22" * 32)
TEMPLATES = Templates()
BRAND = Brand.of("Harbour Tickets <tickets@harbour.example>", PUBLIC_URL)
LINK = re.compile(r"https://tickets\.example(/\S+)")
QUIET_SECONDS = 20


@dataclass
class Town:
    """Everything of a test: ``shop`` with people and events, ``office`` where mail arrives."""

    url: str
    database: Database
    shop: Shop
    office: PostOffice
    tools: jobs.Tools
    listener: Listener
    app: Any

    @property
    def clock(self) -> Clock:
        return self.shop.clock

    def client(self, person: Person) -> Client:
        """Return somebody's client of the routes of notifications."""
        return Client(self.app, person.client.defaults)

    async def ask(self, person: Person, method: str, path: str, body: object = None) -> Any:
        answer = await self.answer(person, method, path, body)
        assert answer.status < 300, (answer.status, answer.body)
        return answer.data

    async def answer(
        self, person: Person, method: str, path: str, body: object = None, **headers: str
    ) -> Answered:
        return await self.client(person)(method, f"/api/v1{path}", json_body=body, headers=headers)

    async def anyone(self, method: str, target: str, **more: Any) -> Answered:
        return await Client(self.app)(method, target, **more)

    # --- what the chain says ---

    async def say(self, *messages: Message) -> None:
        for message in messages:
            conforms(message)
        async with self.database.transaction() as tx:
            await publish(tx, messages)

    async def buys(self, person: Person, event: OnChain, *, block: int, quantity: int = 1) -> list[str]:
        """Sell tickets to somebody in a block; return them."""
        tokens = await self.shop.sold(event, person, quantity=quantity)
        tickets = [event.ticket(token) for token in tokens]
        data = {
            "eventId": str(event.id),
            "ticketIds": tickets,
            "buyer": person.text,
            "tier": 0,
            "price": str(10**16),
            "remaining": 5,
        }
        await self.say(Message((f"event:{event.id}",), "ticket_sold", data, CHAIN_ID, block))
        return tickets

    async def updates(self, event: OnChain, *, block: int, **changed: Any) -> None:
        """Tell that an event was changed or cancelled; its rows are the test's business."""
        data = {"eventId": str(event.id), **changed}
        await self.say(Message((f"event:{event.id}", "platform"), "event_updated", data, CHAIN_ID, block))

    async def final(self, block: int) -> None:
        """Let the chain's finality reach a block."""
        await self.database.execute(
            """
            INSERT INTO chain_cursors (chain_id, from_block, block_number, block_hash, finalized_number)
            VALUES ($1, 0, $2, $3, $2)
            ON CONFLICT (chain_id) DO UPDATE SET finalized_number = $2, block_number = $2
            """,
            *(CHAIN_ID, block, bytes(32)),
        )

    async def fork(self, *, above: int) -> None:
        async with self.database.transaction() as tx:
            await revert(tx, CHAIN_ID, above=above)

    async def document(self, organizer: Person, **changes: Any) -> tuple[bytes, dict[str, Any]]:
        """Keep another document; return its hash and content."""
        draft = await self.shop.draft(organizer, **changes)
        await self.shop.keep_document(organizer, draft)
        row = await self.database.fetchrow(
            "SELECT metadata_hash FROM event_drafts WHERE id = $1", UUID(draft["id"])
        )
        assert row is not None
        return row["metadata_hash"], draft

    # --- what runs ---

    @asynccontextmanager
    async def relaying(self) -> AsyncGenerator[None]:
        relay = Relay(self.database, None, {"notify": self.listener.seen}, {"notify": self.listener.settled})
        async with running(relay.run()):
            yield

    @asynccontextmanager
    async def working(self, **more: Any) -> AsyncGenerator[None]:
        workers = Workers(self.url, self.database, jobs.handlers(self.tools), Metrics(), **more)
        async with running(workers.run()):
            yield

    async def quiet(self) -> None:
        """Wait until the relay has handed everything on, and no job is due."""
        async with asyncio.timeout(QUIET_SECONDS):
            still = 0
            while still < 2:
                still = still + 1 if await self._is_quiet() else 0
                await asyncio.sleep(0.02)

    async def _is_quiet(self) -> bool:
        return await self.database.fetchval(
            """
            SELECT NOT EXISTS (SELECT FROM outbox)
               AND NOT EXISTS (SELECT FROM relay_handlers, relay_cursor WHERE sequence < tip)
               AND NOT EXISTS (
                   SELECT FROM unsettled LEFT JOIN chain_cursors AS cursor USING (chain_id)
                    WHERE unsettled.chain_id = 0 OR unsettled.block_number <= finalized_number)
               AND NOT EXISTS (
                   SELECT FROM jobs.queue
                    WHERE status = 'picked' OR (status = 'queued' AND execute_after <= now()))
            """
        )

    async def tick(self, kind: JobKind[Any]) -> None:
        """Do what the clock asks for, now."""
        async with self.database.transaction() as tx:
            await enqueue(tx, kind, [Tick()])
        await self.quiet()

    # --- what people do ---

    async def later(self, **units: float) -> None:
        """Let time pass, and everybody stay signed in."""
        self.clock.pass_by(**units)
        until = self.clock() + timedelta(hours=1)
        await self.database.execute("UPDATE sessions SET expires_at = greatest(expires_at, $1)", until)

    async def resident(self, email: str | None = None, language: str = "en") -> Person:
        """Sign somebody in, and confirm their address by the mail that comes."""
        person = await self.shop.person()
        if email is not None:
            await self.confirm(person, email, language)
        return person

    async def confirm(self, person: Person, email: str, language: str = "en") -> None:
        answer = await self.answer(
            person, "PUT", "/me/email", {"email": email}, **{"accept-language": language}
        )
        assert answer.status == 200, answer.body
        await self.quiet()
        asked = self.office.letters.pop()
        assert asked.recipient == email
        token = link(asked).rpartition("=")[2]
        done = await self.anyone("POST", "/api/v1/email/verify", json_body={"token": token})
        assert done.status == 200, done.body

    async def choose(self, person: Person, **changes: Any) -> Any:
        """Change somebody's preferences; ``kinds`` maps kinds to what changes of them."""
        now = await self.ask(person, "GET", "/me/notification-preferences")
        wanted = {name: now[name] for name in ("language", "timeZone", "digest", "kinds")}
        for kind, ways in changes.pop("kinds", {}).items():
            wanted["kinds"][kind] |= ways
        return await self.ask(person, "PUT", "/me/notification-preferences", {**wanted, **changes})

    async def inbox(self, person: Person, query: str = "") -> list[dict[str, Any]]:
        return await self.ask(person, "GET", f"/notifications{query}")

    async def deliveries(self) -> list[tuple[str, str, str]]:
        """Return kind, channel and state of every delivery."""
        rows = await self.database.fetch(
            "SELECT kind, channel, state FROM notification_deliveries ORDER BY created_at, kind, channel"
        )
        return [(row["kind"], row["channel"], row["state"]) for row in rows]


def link(letter: Letter) -> str:
    """Return the path of the first link in a mail's text."""
    found = LINK.search(letter.part("text/plain"))
    assert found is not None, letter.part("text/plain")
    return found[1]


def subjects(letters: list[Letter]) -> list[str]:
    return sorted(letter.parsed["Subject"] for letter in letters)


def when(town: Town, **changes: Any) -> dict[str, str]:
    """Return a new start and end."""
    starts = town.clock() + timedelta(**changes)
    return {"startsAt": rfc3339(starts), "endsAt": rfc3339(starts + timedelta(hours=5))}


@asynccontextmanager
async def founded(
    url: str, *, works: bool = True, seconds: float = 5, trusts: ssl.SSLContext | None = None
) -> AsyncGenerator[Town]:
    """Found a town on a fresh database, with a shop whose chain nobody asks.

    ``works`` False lets nothing run; ``seconds`` is the patience with the mail server; ``trusts`` are the
    certificates of push services.
    """
    async with AsyncExitStack() as stack:
        database = await Database.connect(url, size=20, name="town")
        stack.push_async_callback(database.close)
        rpc = Rpc(["http://127.0.0.1:1"], chain_id=CHAIN_ID)
        stack.push_async_callback(rpc.close)
        cache = await stack.enter_async_context(Cache(url, None))
        shop = Shop(database, cache, rpc, Clock(), None)
        stack.push_async_callback(shop.fees.close)
        yield await stack.enter_async_context(around(shop, url, works=works, seconds=seconds, trusts=trusts))


@asynccontextmanager
async def around(
    shop: Shop, url: str, *, works: bool = True, seconds: float = 5, trusts: ssl.SSLContext | None = None
) -> AsyncGenerator[Town]:
    """Found a town around a shop."""
    async with AsyncExitStack() as stack:
        office = await stack.enter_async_context(post_office())
        mailer = Mailer(MailServer.of(f"smtp://127.0.0.1:{office.port}"), seconds=seconds)
        stack.push_async_callback(mailer.close)
        outbound = await stack.enter_async_context(
            Outbound(Rules(private=True), user_agent="town", tls=trusts)
        )
        composer = Composer(TEMPLATES, KEYS, BRAND, {CHAIN_ID: Coin("ETH")})
        pusher = Pusher(VAPID, outbound, contact="mailto:tickets@harbour.example")
        tools = jobs.Tools(composer, mailer, pusher, Metrics(), shop.clock)
        surface = rest.Surface(shop.database, composer, True, public_key(VAPID), Rules(private=True))
        app = application(
            [*rest.endpoints(surface), *pages.endpoints(surface)],
            authenticate=shop.authenticator,
            clock=shop.clock,
            idempotency=StoredIdempotency(shop.database),
            title="echain",
            version="1",
        )
        listener = Listener(TEMPLATES, tools.reach, shop.clock)
        town = Town(url, shop.database, shop, office, tools, listener, app)
        if works:
            await stack.enter_async_context(town.relaying())
            await stack.enter_async_context(town.working())
        yield town
