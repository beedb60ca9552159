"""What the matrix is about: two organizations with everything that belongs to them, and all who may call."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tests.accounts.people import Browser, Process, Wallet
from tests.admission.theatre import DEVNET, Show
from tests.edge.http_client import Answered, Client
from tests.notify.pushservice import Browser as PushBrowser
from tests.policy.undone import Undone

from echain.accounts import service as accounts
from echain.accounts.oidcstore import IDENTITIES
from echain.accounts.types import Grant
from echain.edge.http import Application
from echain.infra.crypto import DataKeys
from echain.kernel.evm import Address
from echain.kernel.ids import uuid7
from echain.kernel.time import rfc3339, utc_now

OURS, THEIRS, MISSING = "ours", "theirs", "missing"
CHAIN = DEVNET.chain_id
_clients = itertools.count(1)


@dataclass(frozen=True)
class Thing:
    """Something that a request may name: what goes into its path, and whose it is.

    ``whose`` is OURS or THEIRS, or a person; nobody's is empty. ``event`` tells events apart, for gates.
    ``there`` is False where the enclosing thing exists and this does not.
    """

    parts: Mapping[str, str]
    whose: str = ""
    event: str = ""
    there: bool = True

    def __getitem__(self, name: str) -> str:
        return self.parts[name]


@dataclass(frozen=True)
class Caller:
    """Who sends a request.

    ``person`` is whose things are their own; ``roles`` what they are in each organization. ``scopes`` are an
    API key's, None for everybody else. ``refused`` is the code of the 401 of credentials that do not hold,
    ``forged`` True where a browser sends a session's cookie along for another site.
    """

    name: str
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "user"
    person: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    wallet: bool = True
    admin: bool = False
    scopes: frozenset[str] | None = None
    refused: str = ""
    event: str = ""
    forged: bool = False


@dataclass
class Person:
    """Somebody who signed in, twice, with a key and what else people have."""

    name: str
    user_id: UUID
    wallet: Wallet | None = None
    token: str = ""
    client: Client = field(default_factory=lambda: Client(None))

    @property
    def address(self) -> Address:
        assert self.wallet is not None
        return Address(bytes.fromhex(self.wallet.address[2:]))

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = await self.client(method, path, json_body=body)
        assert 200 <= answer.status < 300, (self.name, method, path, answer.body)
        return answer.data


class World:
    """The application with everybody and everything; build it with `world`."""

    def __init__(
        self, app: Application, users: accounts.Authenticator, database: Undone, keys: DataKeys
    ) -> None:
        self.app = app
        self.users = users
        self.database = database
        self.people: dict[str, Person] = {}
        self.callers: list[Caller] = []
        self.things: dict[str, dict[str, Thing]] = {}
        self.shows: dict[str, Show] = {}
        self.gates: dict[str, str] = {}
        self.organizations: dict[str, UUID] = {}
        self.scopes: frozenset[str] = frozenset()
        self.keys = keys
        self.rebuilt: Callable[..., Application] = lambda **_: app
        """Makes the application anew, with other parts."""

    async def send(
        self, caller: Caller, method: str, path: str, *, body: object = None, raw: bytes = b""
    ) -> Answered:
        """Send one request and undo what it does."""
        client = Client(self.app, caller.headers)
        if method == "GET":
            return await client(method, path)
        async with self.database.begin():
            return await client(method, path, json_body=body, body=raw)

    def client(self, token: str) -> Client:
        return Client(self.app, {"authorization": f"Bearer {token}"})

    def add(self, kind: str, whose: str, thing: Thing) -> None:
        self.things.setdefault(kind, {})[whose] = thing

    # --- people ---

    async def sign_in(self, name: str, wallet: Wallet | None = None) -> Person:
        """Sign somebody in through the front door."""
        wallet = wallet or Wallet(utc_now)  # type: ignore[arg-type]
        grant = await wallet.sign_in(Browser(Process(self.app, self.users)))
        token = grant["accessToken"]
        person = Person(name, UUID(grant["userId"]), wallet, token, self.client(token))
        self.people[name] = person
        return person

    async def sign_in_without_wallet(self, name: str) -> Person:
        """Open the session of a user who came by somebody else's word, as an OpenID provider's."""
        person = Person(name, uuid7())
        await self.database.execute(
            "INSERT INTO users (id, created_at) VALUES ($1, $2)", person.user_id, utc_now()
        )
        grant = await self.another_session(person)
        person.token, person.client = grant.access_token, self.client(grant.access_token)
        self.people[name] = person
        return person

    async def another_session(self, person: Person) -> Grant:
        """Open one more session of somebody."""
        address = person.address if person.wallet else None
        async with self.database.transaction() as tx:
            return await accounts.open_session(
                tx, self.users.tokens, person.user_id, address=address, device="spare", now=utc_now()
            )

    async def furnish(self, person: Person) -> None:
        """Give a person one of everything that is theirs alone."""
        name = person.name
        self.add("session", name, Thing({"id": str((await self.another_session(person)).session_id)}, name))
        key = await person.ask("POST", "/api/v1/api-keys", {"name": "own", "scopes": sorted(self.scopes)})
        self.add("api_key", name, Thing({"id": key["id"]}, name))
        browser = PushBrowser(f"https://push.example.com/{name.replace(' ', '-')}")
        push = await person.ask("POST", "/api/v1/push/subscriptions", browser.subscription)
        self.add("push", name, Thing({"id": push["id"]}, name))
        notification = uuid7()
        await self.database.execute(
            """
            INSERT INTO notifications (id, user_id, address, kind, occasion, data, visible, created_at)
            VALUES ($1, $2, $3, 'purchase', 'matrix', '{}', TRUE, $4)
            """,
            notification,
            person.user_id,
            person.address if person.wallet else bytes(20),
            utc_now(),
        )
        self.add("notification", name, Thing({"id": str(notification)}, name))
        identity = uuid7()
        await self.database.execute(
            """
            INSERT INTO identities (id, user_id, issuer, subject, provider, sealed, created_at,
                                    last_sign_in_at)
            VALUES ($1, $2, 'https://staff.example', $3, 'staff', $5, $4, $4)
            """,
            identity,
            person.user_id,
            name,
            utc_now(),
            IDENTITIES.seal(self.keys, identity, b"{}"),
        )
        self.add("identity", name, Thing({"id": str(identity)}, name))


def draft(starts: datetime) -> dict[str, Any]:
    """Return the content of a good draft."""
    return {
        "chainId": CHAIN,
        "title": "Harbour Lights",
        "startTime": rfc3339(starts),
        "endTime": rfc3339(starts + timedelta(hours=5)),
        "tiers": [{"name": "Floor", "priceWei": "10000000000000000", "supply": 100}],
    }
