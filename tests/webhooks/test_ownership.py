"""Whose a subscription is: an organization's, whoever made it and left; and what it may hear then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.webhooks.office import ROOT, Office, Person

from echain.kernel.evm import checksum
from echain.kernel.ids import uuid7

HOOK = "https://hooks.example.com/echain"


class House:
    """An organization with Ada's wallet and its members, by their roles."""

    def __init__(self, office: Office, ada: Person) -> None:
        self.office = office
        self.ada = ada
        self.id = uuid7()

    async def founded(self) -> House:
        now = self.office.clock()
        await self.office.database.execute("INSERT INTO organizations VALUES ($1, 'House', $2)", self.id, now)
        await self.takes(self.ada)
        await self.gives(self.ada, "owner")
        return self

    async def takes(self, person: Person) -> None:
        """Let the organization have somebody's wallet."""
        await self.office.database.execute(
            """
            INSERT INTO organization_wallets VALUES ($1, $2, $3)
            ON CONFLICT (address) DO UPDATE SET organization_id = excluded.organization_id
            """,
            *(person.address, self.id, self.office.clock()),
        )

    async def gives(self, person: Person, role: str | None) -> None:
        user = await self.office.database.fetchval(
            "SELECT user_id FROM wallets WHERE address = $1", person.address
        )
        if role is None:
            await self.office.database.execute("DELETE FROM members WHERE user_id = $1", user)
        else:
            await self.office.database.execute(
                """
                INSERT INTO members VALUES ($1, $2, $3, $4)
                ON CONFLICT (organization_id, user_id) DO UPDATE SET role = excluded.role
                """,
                *(self.id, user, role, self.office.clock()),
            )


async def listed(person: Person) -> list[str]:
    return [one["id"] for one in (await person.client("GET", ROOT)).data]


async def waiting(office: Office, subscription: dict[str, Any]) -> int:
    return await office.database.fetchval(
        "SELECT count(*) FROM webhook_deliveries WHERE subscription_id = $1", UUID(subscription["id"])
    )


async def test_a_members_subscription_is_the_organizations_and_stays_when_they_leave(office: Office) -> None:
    ada, bo, cy, eve = [await office.person() for _ in range(4)]
    house = await House(office, ada).founded()
    await house.gives(bo, "manager")
    await house.gives(cy, "manager")
    made = await bo.subscribe(HOOK, organizationId=str(house.id))
    assert (made["organizationId"], made["channels"]) == (str(house.id), [ada.channel])
    assert await listed(ada) == await listed(cy) == [made["id"]]
    assert await listed(eve) == []
    await house.gives(bo, None)
    assert await listed(bo) == []
    gone = await bo.client("GET", f"{ROOT}/{made['id']}")
    assert (gone.status, gone.error["code"]) == (404, "webhooks.subscription_not_found")
    await office.tell([office.message(ada.channel)])
    assert await waiting(office, made) == 1, "it goes on hearing without who made it"
    assert (await cy.client("DELETE", f"{ROOT}/{made['id']}")).status == 200


@pytest.mark.parametrize("role", ["finance", "gate"])
async def test_a_role_that_looks_after_no_webhooks_is_told_so(office: Office, role: str) -> None:
    ada, bo = await office.person(), await office.person()
    house = await House(office, ada).founded()
    await house.gives(bo, role)
    made = await ada.subscribe(HOOK)
    assert made["organizationId"] == str(house.id), "her wallet's, without being named"
    path = f"{ROOT}/{made['id']}"
    change = {"url": HOOK, "types": [], "channels": [ada.channel], "description": "", "enabled": True}
    for method, target, body in (
        ("GET", path, None),
        ("PUT", path, change),
        ("DELETE", path, None),
        ("GET", f"{path}/deliveries", None),
        ("POST", f"{path}/ping", None),
        ("POST", f"{path}/rotate", {}),
        ("POST", ROOT, {"url": HOOK, "organizationId": str(house.id)}),
    ):
        answer = await bo.client(method, target, json_body=body)
        assert (answer.status, answer.error["code"]) == (403, "organizations.permission_missing"), target
        assert answer.error["details"]["role"] == role
    assert await listed(bo) == []
    own = await bo.subscribe(HOOK, channels=[f"user:{checksum(bo.address)}"])
    assert own["organizationId"] is None, "what is private is one's own, whatever one is in"


async def test_nobody_elses_private_channel_goes_into_an_organizations_subscription(office: Office) -> None:
    """Else every manager would read the notifications of whoever made it; not even one's own."""
    ada, bo = await office.person(), await office.person()
    house = await House(office, ada).founded()
    await house.gives(bo, "manager")
    for person, name in ((bo, bo), (bo, ada), (ada, ada)):
        answer = await person.client(
            "POST",
            ROOT,
            json_body={
                "url": HOOK,
                "organizationId": str(house.id),
                "channels": [f"user:{checksum(name.address)}"],
            },
        )
        assert (answer.status, answer.error["code"]) == (422, "request.invalid"), answer.body


async def test_an_organization_of_strangers_is_not_there(office: Office) -> None:
    ada, eve = await office.person(), await office.person()
    house = await House(office, ada).founded()
    body = {"url": HOOK, "organizationId": str(house.id)}
    answer = await eve.client("POST", ROOT, json_body=body)
    assert (answer.status, answer.error["code"]) == (404, "organizations.not_found")
    body = {"url": HOOK, "channels": [ada.channel]}
    assert (await eve.client("POST", ROOT, json_body=body)).status == 422


async def test_an_organizers_channel_is_heard_only_as_long_as_the_wallet_is_theirs(office: Office) -> None:
    """Three ways to lose it: the wallet moves on, the organization takes it over, the owner leaves that."""
    ada, bo, cy = [await office.person() for _ in range(3)]
    before = await ada.subscribe(HOOK)
    assert before["organizationId"] is None
    await office.tell([office.message(ada.channel)])
    assert await waiting(office, before) == 1, "her own, while the wallet is in no organization"
    house = await House(office, ada).founded()
    of_house = await ada.subscribe(HOOK)
    await office.tell([office.message(ada.channel)])
    assert (await waiting(office, before), await waiting(office, of_house)) == (2, 1)
    await house.gives(bo, "owner")
    await house.gives(ada, "gate")
    await office.tell([office.message(ada.channel)])
    assert (await waiting(office, before), await waiting(office, of_house)) == (2, 2), "at the gate no more"
    await house.gives(ada, None)
    await office.tell([office.message(ada.channel)])
    assert (await waiting(office, before), await waiting(office, of_house)) == (2, 3)
    other = await House(office, cy).founded()
    await other.takes(ada)
    await office.tell([office.message(ada.channel)])
    assert (await waiting(office, before), await waiting(office, of_house)) == (2, 3), "another's wallet now"


async def test_subscriptions_of_an_organization_that_has_ended_go(office: Office) -> None:
    ada = await office.person()
    house = await House(office, ada).founded()
    await ada.subscribe(HOOK)
    own = await ada.subscribe(HOOK, channels=[f"user:{checksum(ada.address)}"])
    await office.database.execute(
        "UPDATE organizations SET deleted_at = $2 WHERE id = $1", house.id, office.clock()
    )
    await office.sweep()
    rows = await office.database.fetch("SELECT id FROM webhook_subscriptions")
    assert [str(row["id"]) for row in rows] == [own["id"]]


async def test_who_looks_after_it_is_told_when_its_receiver_is_given_up(office: Office) -> None:
    """Owners and managers; not who made it, who is no more."""
    ada, bo, cy, di = [await office.person() for _ in range(4)]
    house = await House(office, ada).founded()
    for person, role in ((bo, "manager"), (cy, "finance"), (di, "manager")):
        await house.gives(person, role)
    made = await di.subscribe("http://127.0.0.1:9/nobody", organizationId=str(house.id))
    await house.gives(di, None)
    await office.database.execute("UPDATE webhook_subscriptions SET owner = NULL")
    await office.tell([office.message(ada.channel)])
    await office.work_until(made, office.clock() + timedelta(days=4))
    told = await office.database.fetchval("SELECT channels FROM outbox WHERE type = 'notification'")
    assert sorted(told.split(" ")) == sorted(f"user:{checksum(person.address)}" for person in (ada, bo))
