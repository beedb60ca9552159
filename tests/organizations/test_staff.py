"""Staff who signed in without a wallet: members like others, but for what only a wallet can do."""

from __future__ import annotations

from tests.accounts.people import LASTING
from tests.edge.http_client import Client
from tests.events.shop import Shop
from tests.organizations.agency import ORGANIZATIONS, agency, code, user_id

from echain.accounts import service as accounts
from echain.kernel.ids import uuid7

EVENTS = "/api/v1/events"
NEEDED = (403, "auth.wallet_needed")


async def clerk(shop: Shop) -> Client:
    """Return the client of somebody whom a provider vouched for."""
    user = uuid7()
    async with shop.database.transaction() as tx:
        await tx.execute("INSERT INTO users (id, created_at) VALUES ($1, $2)", user, shop.clock())
        grant = await accounts.open_session(
            tx, LASTING, user, address=None, device="an office", now=shop.clock()
        )
    return Client(shop.app, {"authorization": f"Bearer {grant.access_token}"})


async def test_staff_without_a_wallet_draft_for_the_organization_that_they_name(shop: Shop) -> None:
    made, staff = await agency(shop), await clerk(shop)
    token = await made.token("manager")
    joined = await staff("POST", f"{ORGANIZATIONS}/invitations/accept", json_body={"token": token})
    assert (joined.status, joined.data["role"]) == (200, "manager")
    (own,) = [one for one in (await made.ask(made.founder, "GET", "/members")).data if not one["wallets"]]
    assert own["role"] == "manager"
    created = await staff("POST", EVENTS, json_body=shop.content(organizationId=made.id))
    assert (created.status, created.data["organizer"]) == (201, made.founder.text)
    assert code(await staff("POST", EVENTS, json_body=shop.content())) == NEEDED
    for query in ("?mine=true", "?status=draft"):
        assert [one["id"] for one in (await staff("GET", f"{EVENTS}{query}")).data] == [created.data["id"]]
    path = f"{EVENTS}/{created.data['id']}"
    assert (await staff("GET", path)).status == 200
    published = await staff("POST", f"{path}/publish")
    assert published.error["code"] in {"chain.unreachable", "chain.reverted", "events.chain_not_served"}
    assert (await staff("DELETE", path)).status == 200


async def test_an_owner_without_a_wallet_cannot_do_what_asks_for_a_signature(shop: Shop) -> None:
    staff = await clerk(shop)
    made = (await staff("POST", ORGANIZATIONS, json_body={"name": "Office"})).data
    path = f"{ORGANIZATIONS}/{made['id']}"
    assert code(await staff("POST", f"{path}/wallets")) == NEEDED
    ask = {"action": "organization.delete", "target": made["id"]}
    assert code(await staff("POST", "/api/v1/auth/confirmations", json_body=ask)) == NEEDED
    assert code(await staff("DELETE", path)) == (403, "auth.confirmation_needed")
    created = await staff("POST", EVENTS, json_body=shop.content(organizationId=made["id"]))
    assert code(created) == (409, "organizations.no_wallet")
    invited = await staff("POST", f"{path}/invitations", json_body={"role": "gate"})
    assert invited.status == 201
    guest = await shop.person()
    accepted = await guest.client(
        "POST", f"{ORGANIZATIONS}/invitations/accept", json_body={"token": invited.data["token"]}
    )
    assert accepted.status == 200
    changed = await staff("PUT", f"{path}/members/{await user_id(guest)}", json_body={"role": "finance"})
    assert changed.status == 200
