"""An organization with somebody in each role, all of it done through the front door."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.edge.http_client import Answered
from tests.events.shop import Person, Shop

ORGANIZATIONS = "/api/v1/organizations"
ROLES = ("owner", "manager", "finance", "gate")


@dataclass
class Agency:
    """An organization and its people by their roles; ``founder`` is the first owner."""

    shop: Shop
    id: str
    founder: Person
    people: dict[str, Person] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{ORGANIZATIONS}/{self.id}"

    async def ask(
        self, person: Person, method: str, path: str = "", body: object = None, *, confirm: str = ""
    ) -> Answered:
        """Send a request about the organization; ``confirm`` is an action that the person's wallet signs for.

        Its target is the organization, or what follows a colon is a part more.
        """
        headers = {}
        if confirm:
            action, *parts = confirm.split(":")
            headers = await signed(person, action, ":".join([self.id, *parts]))
        return await person.client(method, f"{self.path}{path}", json_body=body, headers=headers)

    async def invite(self, person: Person, role: str, **more: object) -> Answered:
        confirm = "organization.invite_owner" if role == "owner" else ""
        return await self.ask(person, "POST", "/invitations", {"role": role, **more}, confirm=confirm)

    async def token(self, role: str, **more: object) -> str:
        """Return the token of the founder's invitation."""
        answer = await self.invite(self.founder, role, **more)
        assert answer.status == 201, answer.body
        return answer.data["token"]

    async def join(self, role: str, person: Person | None = None) -> Person:
        """Make somebody a member in a role."""
        person = person or await self.shop.person()
        answer = await accept(person, await self.token(role))
        assert (answer.status, answer.data["role"]) == (200, role), answer.body
        return person

    async def roles(self) -> dict[UUID, str]:
        """Return who is what, as the database has it."""
        rows = await self.shop.database.fetch(
            "SELECT user_id, role FROM members WHERE organization_id = $1", UUID(self.id)
        )
        return {row["user_id"]: row["role"] for row in rows}


async def agency(shop: Shop, founder: Person | None = None, *, wallet: bool = True) -> Agency:
    """Begin an organization; with ``wallet`` the founder's wallet belongs to it."""
    founder = founder or await shop.person()
    answer = await founder.client("POST", ORGANIZATIONS, json_body={"name": "Harbour Nights"})
    assert answer.status == 201, answer.body
    made = Agency(shop, answer.data["id"], founder)
    if wallet:
        added = await made.ask(founder, "POST", "/wallets")
        assert added.status == 200, added.body
    return made


async def staffed(shop: Shop) -> Agency:
    """Begin an organization with somebody in each role; its owner is not the founder."""
    made = await agency(shop)
    for role in ROLES:
        made.people[role] = await made.join(role)
    return made


async def user_id(person: Person) -> str:
    return (await person.client("GET", "/api/v1/auth/me")).data["userId"]


async def accept(person: Person, token: str, **more: object) -> Answered:
    return await person.client(
        "POST", f"{ORGANIZATIONS}/invitations/accept", json_body={"token": token, **more}
    )


async def signed(person: Person, action: str, target: str) -> dict[str, str]:
    """Have the person's wallet sign for an action; return the header that shows it."""
    asked = await person.client(
        "POST", "/api/v1/auth/confirmations", json_body={"action": action, "target": target}
    )
    assert asked.status == 201, asked.body
    signature = person.wallet.sign(asked.data["message"])
    return {"echain-confirmation": f"{asked.data['id']}:{signature}"}


def code(answer: Answered) -> tuple[int, Any]:
    return answer.status, answer.error["code"]
