"""Builds the matrix's world: contracts on a real node, followed into a real database, and who may call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
from PIL import Image
from tests.accounts.people import PUBLIC_URL, Browser, Process, Wallet
from tests.admission.theatre import Theatre, opened
from tests.edge.http_client import Client
from tests.policy import desk
from tests.policy.undone import Undone
from tests.policy.world import CHAIN, MISSING, OURS, THEIRS, Caller, Person, Thing, World, draft

from echain.accounts import service as accounts
from echain.accounts.accesstokens import AccessTokens
from echain.chain.fees import Fees
from echain.chain.rpc import Rpc
from echain.edge.http import Application
from echain.entry.addressbook import AddressBook
from echain.entry.connections import services
from echain.entry.security import administrators
from echain.entry.settings import read
from echain.entry.wiring import application_of, fees_of
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.kernel.evm import checksum
from echain.kernel.ids import uuid7
from echain.kernel.time import rfc3339, utc_now

PUBLIC = "public"
ROLES = ("owner", "manager", "finance", "gate")


@asynccontextmanager
async def world(anvil: Anvil, database_url: str, home: Path) -> AsyncGenerator[World, None]:
    """Build everything; takes some seconds, most of them for the contracts."""
    async with AsyncExitStack() as stack:
        rpc = Rpc([anvil.url], chain_id=CHAIN)
        stack.push_async_callback(rpc.close)
        plain = await Database.connect(database_url, size=4, name="theatre")
        stack.push_async_callback(plain.close)
        theatre = await opened(anvil, plain, rpc)
        administrator = Wallet(utc_now)  # type: ignore[arg-type]
        config = read(
            {
                "ECHAIN_HOME": str(home),
                "ECHAIN_DEVNET": "true",
                "ECHAIN_DATABASE_URL": database_url,
                "ECHAIN_PUBLIC_URL": PUBLIC_URL,
                "ECHAIN_LIMITS": "false",
                "ECHAIN_CHAINS": str(CHAIN),
                f"ECHAIN_RPC_URL_{CHAIN}": anvil.url,
                "ECHAIN_ADMINS": administrator.address,
            }
        )
        parts = await services(config, stack, name="matrix")
        undone = Undone(database_url)
        await undone.open()
        stack.push_async_callback(undone.shut)
        parts = msgspec.structs.replace(parts, database=undone)
        book = AddressBook(config, undone)
        await book.read()
        tokens = AccessTokens(config.token_keys, issuer=config.public_url)
        users = accounts.authenticator(undone, utc_now, tokens, administrators(config))
        fees = fees_of(config, parts, stack)
        app = application_of(config, parts, book, fees, users, warm=lambda: True)
        made = World(app, users, undone, DataKeys(config.data_keys))

        def rebuilt(**changes: Any) -> Application:
            other = msgspec.structs.replace(parts, **changes)
            quotes = {
                chain_id: Fees(rpc, quote.chain)
                for (chain_id, quote), rpc in zip(fees.items(), other.rpcs.values(), strict=True)
            }
            return application_of(config, other, book, quotes, users, warm=lambda: True)

        made.rebuilt = rebuilt
        made.scopes = frozenset((await Client(app)("GET", "/api/v1/api-keys/scopes")).data)
        await populate(made, theatre, administrator)
        yield made


async def populate(made: World, theatre: Theatre, administrator: Wallet) -> None:
    """Let everybody sign in, make the organizations, and give each everything that can be foreign."""
    for name in ("owner", "manager", "gate", "outsider", "attendee", "suspended", "other attendee"):
        await made.sign_in(name)
    await made.sign_in("admin", administrator)
    without = ("finance", "walletless", "co-owner", "their finance", "their gate", "other finance")
    without += ("other owner", "their owner")
    for name in (*without, "other gate"):
        await made.sign_in_without_wallet(name)
    await organizations(made)
    await stages(made, theatre)
    for whose, owner in ((OURS, "owner"), (THEIRS, "outsider")):
        await belongings(made, whose, made.people[owner])
    for person in made.people.values():
        await made.furnish(person)
    await published(made, theatre)
    absent(made)
    await desk.furnish(made)
    await everybody(made)


async def organizations(made: World) -> None:
    for whose, owner in ((OURS, "owner"), (THEIRS, "outsider")):
        person = made.people[owner]
        begun = await person.ask("POST", "/api/v1/organizations", {"name": whose})
        await person.ask("POST", f"/api/v1/organizations/{begun['id']}/wallets")
        made.organizations[whose] = UUID(begun["id"])
        parts = {"id": begun["id"], "address": checksum(person.address)}
        made.add("organization", whose, Thing(parts, whose))
        made.add("organization_wallet", whose, Thing(parts, whose))
    for name, role, whose in (
        *((role, role, OURS) for role in ROLES[1:]),
        ("co-owner", "owner", OURS),
        ("other owner", "owner", OURS),
        ("other finance", "finance", OURS),
        ("other gate", "gate", OURS),
        ("their owner", "owner", THEIRS),
        ("their finance", "finance", THEIRS),
        ("their gate", "gate", THEIRS),
    ):
        await made.database.execute(
            "INSERT INTO members (organization_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4)",
            made.organizations[whose],
            made.people[name].user_id,
            role,
            utc_now(),
        )
        parts = {"id": str(made.organizations[whose]), "user": str(made.people[name].user_id)}
        made.add("membership", name, Thing(parts, name))
        if name.startswith(("their", "other")):
            made.add(f"{role}_member", whose, Thing(parts, whose))
    for whose, owner in ((OURS, "owner"), (THEIRS, "outsider")):
        root = f"/api/v1/organizations/{made.organizations[whose]}"
        for role in ("gate", "finance"):
            invited = await made.people[owner].ask("POST", f"{root}/invitations", {"role": role})
            parts = {"id": str(made.organizations[whose]), "invitation": invited["id"]}
            made.add(f"{role}_invitation", whose, Thing(parts, whose))


async def stages(made: World, theatre: Theatre) -> None:
    """Create the events on the chain, and sell their tickets."""
    for event, whose, organizer in (("A", OURS, "owner"), ("A2", OURS, "owner"), ("B", THEIRS, "outsider")):
        show = await theatre.show(made.people[organizer].address)
        made.shows[event] = show
        holders = ("attendee", "owner", "manager", "gate", "admin") if event == "A" else ("other attendee",)
        for holder in holders:
            (token,) = await theatre.buy(show, made.people[holder].address)
            parts = {"id": show.ticket(token)}
            made.add("held", holder, Thing(parts, holder))
            if event != "A2":
                made.add("ticket", whose, Thing(parts, whose, event))
        if event != "A2":
            made.add("event", whose, Thing({"id": str(show.id), "tier": "0"}, whose, event))


async def belongings(made: World, whose: str, person: Person) -> None:
    """Give an organization a draft, gates, a receiver of webhooks with a delivery."""
    made_draft = await person.ask("POST", "/api/v1/events", draft(utc_now() + timedelta(days=30)))
    made.add("draft", whose, Thing({"id": made_draft["id"]}, whose))
    for event in ("A", "A2") if whose == OURS else ("B",):
        gate = await person.ask(
            "POST", "/api/v1/gates", {"eventId": str(made.shows[event].id), "name": f"Gate {event}"}
        )
        made.gates[event] = gate["secret"]
        ticket = made.things["held"]["attendee" if event == "A" else "other attendee"]["id"]
        admission = str(uuid4())
        if event != "A2":
            answer = await made.client(gate["secret"])(
                "POST", f"/api/v1/tickets/{ticket}/checkin", json_body={}
            )
            admission = answer.data["admissionId"]
            made.add("gate", whose, Thing({"id": gate["id"], "admission": admission}, whose, event))
    hook = await person.ask(
        "POST", "/api/v1/webhook-subscriptions", {"url": "https://hooks.example.com/x", "types": []}
    )
    made.add("subscription", whose, Thing({"id": hook["id"]}, whose))
    delivery = await person.ask("POST", f"/api/v1/webhook-subscriptions/{hook['id']}/ping")
    made.add("delivery", whose, Thing({"id": hook["id"], "delivery": delivery["id"]}, whose))


async def published(made: World, theatre: Theatre) -> None:
    """Keep what anybody may read by its hash: a document, a transaction, a picture."""
    owner = made.people["owner"]
    another = await owner.ask("POST", "/api/v1/events", draft(utc_now() + timedelta(days=40)))
    await owner.ask("POST", f"/api/v1/events/{another['id']}/publish")
    kept = await made.database.fetchval("SELECT '0x' || encode(hash, 'hex') FROM metadata_documents")
    made.add("document", PUBLIC, Thing({"hash": kept}, PUBLIC))
    block = theatre.anvil.rpc("eth_getBlockByNumber", "latest", True)
    made.add("transaction", PUBLIC, Thing({"hash": block["transactions"][0]["hash"]}, PUBLIC))
    file = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    answer = await owner.client("POST", "/api/v1/media", body=file.getvalue())
    made.add("file", PUBLIC, Thing({"cid": answer.data["uri"].rpartition("/")[2]}, PUBLIC))


def absent(made: World) -> None:
    """Name things that nobody has."""
    for kind in ("session", "api_key", "push", "notification"):
        made.add(kind, MISSING, Thing({"id": str(uuid7())}))
    for kind in ("event", "draft", "gate", "subscription"):
        parts = {"id": str(uuid7()), "tier": "0", "admission": str(uuid4())}
        made.add(kind, MISSING, Thing(parts))
    for kind in ("ticket", "held"):
        made.add(kind, MISSING, Thing({"id": f"{CHAIN}-0x{'12' * 20}-1"}))
    made.add("delivery", MISSING, Thing({"id": str(uuid7()), "delivery": str(uuid7())}))
    ours, theirs = made.things["delivery"][OURS], made.things["delivery"][THEIRS]
    made.add("delivery_alone", OURS, ours)
    for whose, parts in ((THEIRS, theirs.parts), (MISSING, {"delivery": str(uuid7())})):
        inside = {"id": ours["id"], "delivery": parts["delivery"]}
        made.add("delivery_alone", whose, Thing(inside, OURS, there=False))
    for kind in ("document", "transaction"):
        made.add(kind, MISSING, Thing({"hash": "0x" + "ab" * 32}))
    made.add("identity", MISSING, Thing({"id": str(uuid7())}))
    made.add("file", MISSING, Thing({"cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}))
    parts = {
        "id": str(uuid7()),
        "address": "0x" + "12" * 20,
        "user": str(uuid7()),
        "invitation": str(uuid7()),
    }
    for kind in ("organization", "organization_wallet", "membership"):
        made.add(kind, MISSING, Thing(parts))
    for role in ("owner", "finance", "gate"):
        made.add(f"{role}_member", MISSING, Thing(parts))
    for kind in ("gate_invitation", "finance_invitation"):
        made.add(kind, MISSING, Thing(parts))


async def everybody(made: World) -> None:
    """List who may call, and end what has to have ended."""
    people = made.people

    def bearer(token: str) -> Mapping[str, str]:
        return {"authorization": f"Bearer {token}"}

    made.callers = [
        Caller("nobody", kind="nobody"),
        Caller("attendee", bearer(people["attendee"].token), person="attendee"),
        Caller("user without wallet", bearer(people["walletless"].token), person="walletless", wallet=False),
        Caller(
            "owner of another organization",
            bearer(people["outsider"].token),
            person="outsider",
            roles={THEIRS: "owner"},
        ),
        Caller("administrator", bearer(people["admin"].token), person="admin", admin=True),
        *(
            Caller(
                f"{role} of the organization",
                bearer(people[role].token),
                person=role,
                roles={OURS: role},
                wallet=people[role].wallet is not None,
            )
            for role in ROLES
        ),
        *(
            Caller(f"gate of event {event}", bearer(made.gates[event]), kind="gate", event=event)
            for event in ("A", "A2", "B")
        ),
        Caller(
            "owner without wallet",
            bearer(people["co-owner"].token),
            person="co-owner",
            roles={OURS: "owner"},
            wallet=False,
        ),
        *await in_cookies(made),
        *await keys(made),
        *await ended(made),
        desk.suspended(made),
    ]


async def in_cookies(made: World) -> list[Caller]:
    """Return the owner's browser: as its own pages send requests, and as another site has it send them."""
    wallet = made.people["owner"].wallet
    assert wallet is not None
    browser = Browser(Process(made.app, made.users))
    nonce = (await browser.get("/nonce")).data["nonce"]
    message = wallet.message(nonce)
    proof = {"message": message, "signature": wallet.sign(message), "cookies": True}
    answer = await browser.send("POST", "/verify", proof, origin=PUBLIC_URL)
    assert answer.status == 200, answer.body
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    own = {
        "cookie": cookie,
        "origin": PUBLIC_URL,
        "sec-fetch-site": "same-origin",
        "x-csrf-token": browser.cookies["__Host-echain_csrf"],
    }
    other = {"cookie": cookie, "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    return [
        Caller("owner's browser", own, person="owner", roles={OURS: "owner"}),
        Caller(
            "another site in the owner's browser",
            other,
            person="owner",
            roles={OURS: "owner"},
            forged=True,
        ),
    ]


async def keys(made: World) -> list[Caller]:
    """Return the owner's programs: a key that may everything, and for each scope one that may all else."""
    owner, callers = made.people["owner"], []
    for name, scopes in (
        ("every scope", made.scopes),
        *((f"all but {one}", made.scopes - {one}) for one in sorted(made.scopes)),
    ):
        key = await owner.ask("POST", "/api/v1/api-keys", {"name": "program", "scopes": sorted(scopes)})
        callers.append(
            Caller(
                f"owner's key with {name}",
                {"authorization": f"Bearer {key['key']}"},
                person="owner",
                roles={OURS: "owner"},
                scopes=scopes,
            )
        )
    return callers


async def ended(made: World) -> list[Caller]:
    """Return who shows what does not hold any more."""
    owner = made.people["owner"]
    session = await made.another_session(owner)
    assert owner.client is not None
    await owner.ask("DELETE", f"/api/v1/auth/sessions/{session.session_id}")
    soon = rfc3339(utc_now() + timedelta(seconds=30))
    key = await owner.ask(
        "POST", "/api/v1/api-keys", {"name": "short", "scopes": sorted(made.scopes), "expiresAt": soon}
    )
    await made.database.execute(
        """
        UPDATE api_keys SET created_at = created_at - interval '1 h', expires_at = expires_at - interval '1 h'
        WHERE id = $1
        """,
        UUID(key["id"]),
    )
    revoked = await owner.ask("POST", "/api/v1/api-keys", {"name": "gone", "scopes": sorted(made.scopes)})
    await owner.ask("DELETE", f"/api/v1/api-keys/{revoked['id']}")
    gate = await owner.ask("POST", "/api/v1/gates", {"eventId": str(made.shows["A"].id), "name": "Shut"})
    await owner.ask("POST", f"/api/v1/gates/{gate['id']}/revoke")
    shown = {
        "revoked session": (session.access_token, "auth.token_invalid"),
        "expired key": (key["key"], "auth.api_key_invalid"),
        "revoked key": (revoked["key"], "auth.api_key_invalid"),
        "revoked gate": (gate["secret"], "admission.gate_secret_invalid"),
    }
    return [
        Caller(name, {"authorization": f"Bearer {token}"}, refused=code)
        for name, (token, code) in shown.items()
    ]
