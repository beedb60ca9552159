"""Every request that changes something leaves an entry in the audit log, in the chain where it belongs.

A new route that is no GET must be called here with success, or say why it changes nothing worth an entry.
"""

from __future__ import annotations

import ast
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from PIL import Image
from tests.accounts.people import Answer, Browser, Process, Wallet
from tests.edge.http_client import Answered, Client
from tests.policy.policies import Who
from tests.policy.program import policies_of
from tests.policy.requests import RAW, body_of, path_of
from tests.policy.routes import ROUTES
from tests.policy.test_matrix import things_for
from tests.policy.verdicts import verdict
from tests.policy.world import OURS, Person, World

from echain.kernel.evm import checksum
from echain.kernel.ids import uuid7
from echain.kernel.time import utc_now
from echain.notify.addressstore import ASKED, Verification, insert_verification
from echain.notify.composing import Composer
from echain.notify.letters import Brand
from echain.notify.rendering import Templates
from echain.notify.types import NoticeKind

NOT_AUDITED: Final[dict[str, str]] = {
    "POST /api/v1/auth/refresh": "a session goes on; its beginning, end and a token used twice are audited",
    "POST /api/v1/auth/confirmations": "nothing happens before the signature comes, and is audited then",
    "POST /api/v1/organizations/invitations/offer": "tells what an invitation offers",
    "POST /api/v1/events/{id}/tiers/{tier}/price": "prepares a transaction and writes nothing",
    "POST /api/v1/events/{id}/withdraw": "prepares a transaction and writes nothing",
    "POST /api/v1/events/{id}/verify": "answers a question",
    "POST /api/v1/tickets/purchase": "prepares a transaction and writes nothing",
    "POST /api/v1/tickets/{id}/transfer": "prepares a transaction and writes nothing",
    "POST /api/v1/tickets/{id}/refund": "prepares a transaction and writes nothing",
    "POST /api/v1/gates/{id}/enable": "prepares a transaction and writes nothing",
    "POST /api/v1/transactions": "notes which transaction to look at; what it does stands on its chain",
    "POST /webhooks/coinbase": "the inbox keeps what was received, whole and with its signature",
    "POST /api/v1/notifications/read": "what somebody has seen changes nothing for others",
    "POST /api/v1/notifications/{id}/read": "what somebody has seen changes nothing for others",
}

ELSEWHERE: Final[dict[str, str]] = {
    "POST /api/v1/auth/oauth/{provider}/link": "tests/accounts/oidc/test_identities.py identity.linked",
    "POST /api/v1/auth/oauth/{provider}/logout": "tests/accounts/oidc/test_provider_logout.py session.ended",
    "PUT /api/v1/me/email": "tests/notify/test_addresses.py email.asked",
    "POST /api/v1/me/email/resend": "tests/notify/test_addresses.py email.asked_again",
}
"""What needs a provider or a mail server outside: the file whose tests have one, and what they look for."""

COUNT: Final = "SELECT last_value FROM audit_entries_position_seq"
ENTRIES: Final = """
    SELECT position, organization_id, at, action, actor_id FROM audit_entries WHERE position > $1
    UNION ALL
    SELECT position, organization_id, at, action, actor_id FROM audit_arrivals WHERE position > $1
    ORDER BY position
"""

Scenario = Callable[[World], Awaitable[Answered | Answer]]
SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(*names: str) -> Callable[[Scenario], Scenario]:
    """Call a route in a way of its own, where a good request takes more than who, what and a body."""

    def keep(act: Scenario) -> Scenario:
        SCENARIOS.update(dict.fromkeys(names, act))
        return act

    return keep


def wallet_client(made: World, name: str) -> tuple[Person, Client]:
    person = made.people[name]
    return person, person.client


async def signature(person: Person, action: str, target: str) -> dict[str, str]:
    """Return the header that confirms something dangerous."""
    assert person.wallet is not None
    asked = await person.ask("POST", "/api/v1/auth/confirmations", {"action": action, "target": target})
    return {"echain-confirmation": f"{asked['id']}:{person.wallet.sign(asked['message'])}"}


async def sign_in(made: World, path: str) -> Answer:
    wallet = made.people["attendee"].wallet
    assert wallet is not None
    browser = Browser(Process(made.app, made.users))
    message = wallet.message((await browser.get("/nonce")).data["nonce"])
    return await browser.send("POST", path, {"message": message, "signature": wallet.sign(message)})


@scenario("POST /api/v1/auth/verify")
async def _verify(made: World) -> Answer:
    return await sign_in(made, "/verify")


@scenario("POST /api/v1/auth/login")
async def _login(made: World) -> Answer:
    return await sign_in(made, "/login")


@scenario("DELETE /api/v1/auth/account")
async def _erase(made: World) -> Answered:
    person, client = wallet_client(made, "attendee")
    header = await signature(person, "account.erase", str(person.user_id))
    return await client("DELETE", "/api/v1/auth/account", headers=header)


@scenario("POST /api/v1/auth/wallets")
async def _wallet(made: World) -> Answer:
    wallet = Wallet(utc_now)  # type: ignore[arg-type]
    browser = Browser(Process(made.app, made.users), token=made.people["walletless"].token)
    message = wallet.message((await browser.get("/nonce")).data["nonce"])
    return await browser.send("POST", "/wallets", {"message": message, "signature": wallet.sign(message)})


@scenario("POST /api/v1/media")
async def _picture(made: World) -> Answered:
    picture = BytesIO()
    Image.new("RGB", (1200, 800), "red").save(picture, "PNG")
    _, client = wallet_client(made, "owner")
    return await client("POST", "/api/v1/media", body=picture.getvalue())


async def invited(made: World) -> str:
    """Return the token of a new invitation."""
    root = f"/api/v1/organizations/{made.organizations[OURS]}/invitations"
    issued = await made.people["owner"].ask("POST", root, {"role": "gate"})
    return issued["token"]


def answered_invitation(answer: str) -> Scenario:
    async def act(made: World) -> Answered:
        _, client = wallet_client(made, "attendee")
        body = {"token": await invited(made)}
        return await client("POST", f"/api/v1/organizations/invitations/{answer}", json_body=body)

    return act


SCENARIOS["POST /api/v1/organizations/invitations/accept"] = answered_invitation("accept")
SCENARIOS["POST /api/v1/organizations/invitations/decline"] = answered_invitation("decline")


@scenario("POST /invitation")
async def _invitation_page(made: World) -> Answered:
    return await Client(made.app)("POST", f"/invitation?token={await invited(made)}")


@scenario("DELETE /api/v1/organizations/{id}")
async def _delete_organization(made: World) -> Answered:
    person, client = wallet_client(made, "attendee")
    new = await person.ask("POST", "/api/v1/organizations", {"name": "Short-lived"})
    header = await signature(person, "organization.delete", new["id"])
    return await client("DELETE", f"/api/v1/organizations/{new['id']}", headers=header)


@scenario("POST /api/v1/organizations/{id}/owner")
async def _hand_over(made: World) -> Answered:
    person, client = wallet_client(made, "owner")
    organization = made.organizations[OURS]
    user = str(made.people["manager"].user_id)
    header = await signature(person, "organization.hand_over", f"{organization}:{user}")
    return await client(
        "POST", f"/api/v1/organizations/{organization}/owner", headers=header, json_body={"userId": user}
    )


@scenario("POST /api/v1/organizations/{id}/wallets")
async def _add_wallet(made: World) -> Answered:
    person, client = wallet_client(made, "attendee")
    new = await person.ask("POST", "/api/v1/organizations", {"name": "With a wallet"})
    return await client("POST", f"/api/v1/organizations/{new['id']}/wallets")


@scenario("DELETE /api/v1/organizations/{id}/wallets/{address}")
async def _remove_wallet(made: World) -> Answered:
    person, client = wallet_client(made, "attendee")
    new = await person.ask("POST", "/api/v1/organizations", {"name": "Without a wallet"})
    await person.ask("POST", f"/api/v1/organizations/{new['id']}/wallets")
    return await client("DELETE", f"/api/v1/organizations/{new['id']}/wallets/{checksum(person.address)}")


@scenario("POST /api/v1/gates/{id}/scan")
async def _scan(made: World) -> Answered:
    _, client = wallet_client(made, "manager")
    ticket = made.things["held"]["manager"]["id"]
    code = (await client("GET", f"/api/v1/tickets/{ticket}/qr")).data["code"]
    gate = made.things["gate"][OURS]["id"]
    answer = await made.client(made.gates["A"])(
        "POST", f"/api/v1/gates/{gate}/scan", json_body={"code": code}
    )
    assert answer.data["verdict"] == "admitted", answer.data
    return answer


@scenario("POST /api/v1/tickets/{id}/checkin")
async def _check_in(made: World) -> Answered:
    ticket = made.things["held"]["manager"]["id"]
    answer = await made.client(made.gates["A"])("POST", f"/api/v1/tickets/{ticket}/checkin", json_body={})
    assert answer.data["verdict"] == "admitted", answer.data
    return answer


def confirmed(name: str, action: str, kind: str, target: str) -> None:
    """Have an administrator do something that asks for a signature."""

    async def act(made: World) -> Answered:
        person, client = wallet_client(made, "admin")
        (thing, *_) = [each for each in made.things[kind].values() if each.whose]
        header = await signature(person, action, thing[target])
        method, _, path = name.partition(" ")
        return await client(method, path.format(**thing.parts), headers=header)

    SCENARIOS[name] = act


confirmed("DELETE /api/v1/admin/admins/{address}", "admin.revoke", "administrator", "address")
confirmed("POST /api/v1/admin/users/{id}/suspend", "user.suspend", "user", "id")
confirmed("POST /api/v1/admin/users/{id}/reinstate", "user.reinstate", "suspended_user", "id")


@scenario("POST /api/v1/admin/admins")
async def _grant(made: World) -> Answered:
    person, client = wallet_client(made, "admin")
    somebody = checksum(made.people["manager"].address)
    header = await signature(person, "admin.grant", somebody)
    return await client("POST", "/api/v1/admin/admins", headers=header, json_body={"address": somebody})


async def asked(made: World) -> str:
    """Return the token of a mail that asked the attendee's address; of others only the hash is kept."""
    person, asked_id, now = made.people["attendee"], uuid7(), utc_now()
    token = "ecv_" + secrets.token_urlsafe(32)
    plain = b"ada@example.com"
    verification = Verification(
        id=asked_id,
        user_id=person.user_id,
        sealed=ASKED.seal(made.keys, asked_id, plain),
        found_by=ASKED.indexes(made.keys, plain)[0],
        token_hash=sha256(token.encode()).digest(),
        created_at=now,
        expires_at=now + timedelta(hours=1),
    )
    async with made.database.transaction() as tx:
        await insert_verification(tx, verification)
    return token


@scenario("POST /api/v1/email/verify")
async def _verify_address(made: World) -> Answered:
    return await Client(made.app)("POST", "/api/v1/email/verify", json_body={"token": await asked(made)})


@scenario("POST /email/verify")
async def _verify_page(made: World) -> Answered:
    return await Client(made.app)("POST", f"/email/verify?token={await asked(made)}")


@scenario("DELETE /api/v1/me/email")
async def _remove_address(made: World) -> Answered:
    await asked(made)
    return await made.people["attendee"].client("DELETE", "/api/v1/me/email")


@scenario("POST /unsubscribe")
async def _unsubscribe(made: World) -> Answered:
    composer = Composer(Templates(), made.keys, Brand("echain", "a@b.example", "https://tickets.example"), {})
    link = composer.unsubscribe_url(made.people["attendee"].user_id, NoticeKind.REMINDER)
    return await Client(made.app)("POST", f"/unsubscribe?{urlsplit(link).query}")


async def good_request(made: World, name: str) -> Answered:
    """Call a route as the first who is let through, about the first thing that is theirs."""
    method, refused = name.partition(" ")[0], ""
    row = policies_of(name)
    for policy in row:
        for caller in made.callers:
            for whose, thing in things_for(made, policy, caller):
                if verdict(row, policy, caller, thing, safe=False) is not None:
                    continue
                client = Client(made.app, caller.headers)
                answer = await client(
                    method, path_of(name, thing), json_body=body_of(name, thing), body=RAW.get(name, b"")
                )
                if answer.status < 300:
                    return answer
                refused = f"{caller.name}, {whose}: {answer.status} {answer.body!r}"
    raise AssertionError(f"{name} was never called with success, write a scenario: {refused}")


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", sorted(set(ROUTES) - set(NOT_AUDITED) - set(ELSEWHERE)))
async def test_a_request_that_changes_something_is_audited(everything: World, name: str) -> None:
    if name.startswith("GET "):
        return
    database = everything.database
    async with database.begin():
        before, began = await database.fetchval(COUNT), utc_now()
        answer = await SCENARIOS.get(name, partial(good_request, name=name))(everything)
        assert 200 <= answer.status < 300, (name, answer)
        rows = await database.fetch(ENTRIES, before)
    assert rows, f"{name} wrote nothing into the audit log, and NOT_AUDITED does not say why"
    last = rows[-1]
    assert began <= last["at"] <= utc_now(), (name, last["at"])
    assert last["actor_id"] or "ANYONE" in {policy.who.name for policy in policies_of(name)}, name
    if name in SCENARIOS:
        return
    # What an organization's things are changed by stands in its own chain, where its owners can read it.
    if all(policy.who in (Who.MEMBER, Who.MEMBER_OR_GATE) for policy in policies_of(name)):
        assert last["organization_id"] in everything.organizations.values(), (name, last["action"])


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", sorted(NOT_AUDITED))
async def test_what_is_not_audited_is_a_route_that_there_is(name: str) -> None:
    assert name in ROUTES
    assert len(NOT_AUDITED[name].split()) > 2


@pytest.mark.parametrize(("name", "place"), sorted(ELSEWHERE.items()))
def test_what_is_called_elsewhere_is_looked_at_there(name: str, place: str) -> None:
    """A test there asserts that the action is in the log; to have the word somewhere is not enough."""
    file, _, action = place.partition(" ")
    assert name in ROUTES
    tree = ast.parse((Path(__file__).parents[2] / file).read_text())
    tests = [
        one for one in ast.walk(tree) if isinstance(one, ast.AsyncFunctionDef) and one.name[:5] == "test_"
    ]
    asserted = {
        word.value
        for one in tests
        for line in ast.walk(one)
        if isinstance(line, ast.Assert)
        for word in ast.walk(line)
        if isinstance(word, ast.Constant)
    }
    assert action in asserted


@pytest.mark.asyncio(loop_scope="session")
async def test_an_organizations_log_is_read_by_its_owners_alone(everything: World) -> None:
    path = f"/api/v1/organizations/{everything.organizations[OURS]}/audit"
    owner, manager, outsider = (everything.people[name].client for name in ("owner", "manager", "outsider"))
    page = await owner("GET", f"{path}?limit=3")
    assert len(page.data) == 3
    assert {entry["organizationId"] for entry in page.data} == {str(everything.organizations[OURS])}
    following = await owner("GET", f"{path}?limit=3&cursor={page.json['meta']['page']['nextCursor']}")
    assert not {entry["id"] for entry in page.data} & {entry["id"] for entry in following.data}
    gates = await owner("GET", f"{path}?action=gate.&resource=gate:{everything.things['gate'][OURS]['id']}")
    assert [entry["action"] for entry in gates.data] == ["gate.opened"]
    assert gates.data[0]["actor"]["id"] == str(everything.people["owner"].user_id)
    assert "203.0.113" not in gates.body.decode()
    assert (await outsider("GET", path)).status == 404
    assert (await manager("GET", f"{path}?action=no+action")).status == 422
