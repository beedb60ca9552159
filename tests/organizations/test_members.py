"""Who may do what in an organization, and that it never loses its last owner."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from tests.events.shop import Person, Shop
from tests.organizations.agency import ORGANIZATIONS, ROLES, Agency, agency, code, signed, staffed, user_id

MISSING = (403, "organizations.permission_missing")
NOT_FOUND = (404, "organizations.not_found")
ROUNDS = 25


async def members(made: Agency, person: Person) -> dict[str, str]:
    answer = await made.ask(person, "GET", "/members")
    assert answer.status == 200, answer.body
    return {one["userId"]: one["role"] for one in answer.data}


async def test_who_begins_an_organization_owns_it(shop: Shop) -> None:
    made = await agency(shop)
    read = (await made.ask(made.founder, "GET")).data
    assert (read["name"], read["role"], read["wallets"]) == ("Harbour Nights", "owner", [made.founder.text])
    assert read["permissions"] == sorted(read["permissions"])
    assert {"money", "members", "audit_read"} <= set(read["permissions"])
    assert (await made.founder.client("GET", ORGANIZATIONS)).data == [read]
    assert await members(made, made.founder) == {await user_id(made.founder): "owner"}


async def test_a_repeated_request_with_its_key_begins_one(shop: Shop) -> None:
    person = await shop.person()
    for _ in range(2):
        answer = await person.client(
            "POST", ORGANIZATIONS, json_body={"name": "Once"}, headers={"idempotency-key": "one"}
        )
        assert answer.status == 201
    assert len((await person.client("GET", ORGANIZATIONS)).data) == 1


# Every route under an organization, and which roles may.
MAY: list[tuple[str, str, Any, set[str]]] = [
    ("GET", "", None, set(ROLES)),
    ("GET", "/members", None, {"owner", "manager"}),
    ("GET", "/invitations", None, {"owner", "manager"}),
    ("PUT", "", {"name": "Harbour Days"}, {"owner"}),
    ("POST", "/wallets", None, {"owner"}),
    ("POST", "/invitations", {"role": "gate"}, {"owner", "manager"}),
    ("POST", "/invitations", {"role": "finance"}, {"owner"}),
    ("POST", "/invitations", {"role": "manager"}, {"owner"}),
    ("POST", "/invitations", {"role": "owner"}, {"owner"}),
    ("PUT", "/members/{gate}", {"role": "finance"}, {"owner"}),
    ("PUT", "/members/{gate}", {"role": "gate"}, {"owner"}),
    ("PUT", "/members/{gate}", {"role": "owner"}, {"owner"}),
    ("PUT", "/members/{self}", {"role": "owner"}, {"owner"}),
    ("DELETE", "/members/{founder}", None, {"owner"}),
    ("DELETE", "/members/{manager2}", None, {"owner"}),
    ("DELETE", "/members/{gate2}", None, {"owner", "manager"}),
    ("DELETE", "/invitations/{for_gate}", None, {"owner", "manager"}),
    ("DELETE", "/invitations/{for_manager}", None, {"owner"}),
    ("DELETE", "/wallets/{wallet}", None, {"owner"}),
    ("POST", "/owner", {"userId": "{gate}"}, {"owner"}),
    ("DELETE", "", None, {"owner"}),
]


SIGNED = {
    ("POST", "/invitations", "owner"),
    ("PUT", "/members/{gate}", "owner"),
    ("PUT", "/members/{self}", "owner"),
    ("POST", "/owner", None),
    ("DELETE", "", None),
    ("DELETE", "/members/{founder}", None),
}
"""What owners may after a fresh signature alone; the tests below give it."""


@pytest.mark.parametrize(("method", "path", "body", "may"), MAY)
async def test_each_role_may_what_it_may_and_nothing_else(
    shop: Shop, method: str, path: str, body: Any, may: set[str]
) -> None:
    made = await staffed(shop)
    second = await made.join("gate")
    manager = await made.join("manager")
    open_ones = {}
    for role in ("gate", "manager"):
        open_ones[role] = (await made.invite(made.founder, role)).data["id"]
    names = {
        "founder": await user_id(made.founder),
        "gate": await user_id(made.people["gate"]),
        "gate2": await user_id(second),
        "manager2": await user_id(manager),
        "for_gate": open_ones["gate"],
        "for_manager": open_ones["manager"],
        "wallet": made.founder.text,
    }
    stranger = await shop.person()
    filled = None if body is None else {key: value.format(**names) for key, value in body.items()}
    nobody = await shop.anyone(method, made.path + path.format(**names, self=uuid4()), json_body=filled)
    assert code(nobody) == (401, "auth.required")
    foreign = await made.ask(stranger, method, path.format(**names, self=await user_id(stranger)), filled)
    absent = await stranger.client(
        method, f"{ORGANIZATIONS}/{uuid4()}{path.format(**names, self=uuid4())}", json_body=filled
    )
    assert code(foreign) == code(absent) == NOT_FOUND
    assert foreign.error == absent.error
    # Those who may not come first, so that the one who may still finds everything.
    for role in sorted(ROLES, key=lambda role: role in may):
        person = made.people[role]
        answer = await made.ask(person, method, path.format(**names, self=await user_id(person)), filled)
        if role not in may:
            assert code(answer) == MISSING, (role, answer.body)
            assert answer.error["details"]["role"] == role
        elif (method, path, (body or {}).get("role")) in SIGNED:
            assert code(answer) == (403, "auth.confirmation_needed"), role
        else:
            assert answer.status in {200, 201}, (role, answer.body)
            break


async def test_a_role_that_changes_counts_from_the_next_request_on(shop: Shop) -> None:
    made = await staffed(shop)
    finance = made.people["finance"]
    assert code(await made.ask(finance, "GET", "/members")) == MISSING
    path = f"/members/{await user_id(finance)}"
    changed = await made.ask(made.founder, "PUT", path, {"role": "manager"})
    assert (changed.status, changed.data["role"]) == (200, "manager")
    assert (await made.ask(finance, "GET", "/members")).status == 200
    assert (await made.ask(made.founder, "DELETE", path)).status == 200
    assert code(await made.ask(finance, "GET", "/members")) == NOT_FOUND


async def test_everybody_may_leave_but_the_last_owner(shop: Shop) -> None:
    made = await staffed(shop)
    for role in ROLES:
        person = made.people[role]
        left = await made.ask(person, "DELETE", f"/members/{await user_id(person)}")
        assert left.status == 200, (role, left.body)
        assert code(await made.ask(person, "GET")) == NOT_FOUND
    founder = await user_id(made.founder)
    assert code(await made.ask(made.founder, "DELETE", f"/members/{founder}")) == (
        409,
        "organizations.last_owner",
    )
    for role in ("manager", "finance", "gate"):
        demoted = await made.ask(made.founder, "PUT", f"/members/{founder}", {"role": role})
        assert code(demoted) == (409, "organizations.last_owner"), role
    assert await made.roles() == {UUID(founder): "owner"}


async def test_nobody_becomes_an_owner_without_a_signature_for_just_that(shop: Shop) -> None:
    made = await staffed(shop)
    gate = await user_id(made.people["gate"])
    manager = await user_id(made.people["manager"])
    for confirm in ("", f"organization.make_owner:{manager}", f"organization.hand_over:{gate}"):
        answer = await made.ask(made.founder, "PUT", f"/members/{gate}", {"role": "owner"}, confirm=confirm)
        assert answer.status in {401, 403}, (confirm, answer.body)
        assert answer.error["code"] in {"auth.confirmation_needed", "auth.confirmation_invalid"}
    assert (await made.roles())[UUID(gate)] == "gate"
    promoted = await made.ask(
        made.founder, "PUT", f"/members/{gate}", {"role": "owner"}, confirm=f"organization.make_owner:{gate}"
    )
    assert (promoted.status, promoted.data["role"]) == (200, "owner")


@pytest.mark.parametrize(
    ("method", "body"), [("PUT", {"role": "gate"}), ("PUT", {"role": "manager"}), ("DELETE", None)]
)
async def test_no_owner_is_unmade_without_another_owners_signature_for_just_that(
    shop: Shop, method: str, body: Any
) -> None:
    made = await staffed(shop)
    founder, gate = await user_id(made.founder), await user_id(made.people["gate"])
    other = made.people["owner"]
    needed = await made.ask(other, method, f"/members/{founder}", body)
    assert code(needed) == (403, "auth.confirmation_needed")
    assert needed.error["details"]["target"] == f"{made.id}:{founder}"
    for confirm in (f"organization.unmake_owner:{gate}", f"organization.make_owner:{founder}"):
        answer = await made.ask(other, method, f"/members/{founder}", body, confirm=confirm)
        assert answer.error["code"] in {"auth.confirmation_needed", "auth.confirmation_invalid"}, confirm
    assert (await made.roles())[UUID(founder)] == "owner"
    assert (await made.ask(other, method, f"/members/{gate}", body)).status == 200, "who is no owner"
    confirm = f"organization.unmake_owner:{founder}"
    assert (await made.ask(other, method, f"/members/{founder}", body, confirm=confirm)).status == 200
    assert (await made.roles()).get(UUID(founder)) != "owner"


async def test_a_confirmation_is_not_used_up_by_what_was_refused(shop: Shop) -> None:
    made = await agency(shop)
    other = await shop.person()
    target = await user_id(other)
    header = await signed(made.founder, "organization.hand_over", f"{made.id}:{target}")

    async def hand_over() -> Any:
        return await made.founder.client(
            "POST", f"{made.path}/owner", json_body={"userId": target}, headers=header
        )

    assert code(await hand_over()) == (404, "organizations.member_not_found")
    await made.join("gate", other)
    assert (await hand_over()).status == 200
    assert (await hand_over()).status in {401, 403}
    roles = await made.roles()
    assert roles == {UUID(target): "owner", UUID(await user_id(made.founder)): "manager"}


async def test_a_signature_does_one_thing_once(shop: Shop) -> None:
    made = await agency(shop)
    other = await made.join("manager")
    own, target = await user_id(made.founder), await user_id(other)
    used = (403, "auth.confirmation_invalid")
    pair = f"{made.id}:{target}"

    async def ask(header: dict[str, str], method: str, path: str, body: object) -> Any:
        return await made.founder.client(method, f"{made.path}{path}", json_body=body, headers=header)

    promoting = (await signed(made.founder, "organization.make_owner", pair), "PUT", f"/members/{target}")
    assert (await ask(*promoting, {"role": "owner"})).status == 200
    demoting = (await signed(made.founder, "organization.unmake_owner", pair), "PUT", f"/members/{target}")
    assert (await ask(*demoting, {"role": "manager"})).status == 200
    assert code(await ask(*promoting, {"role": "owner"})) == used
    inviting = (await signed(made.founder, "organization.invite_owner", made.id), "POST", "/invitations")
    assert (await ask(*inviting, {"role": "owner"})).status == 201
    assert code(await ask(*inviting, {"role": "owner"})) == used
    handing = (await signed(made.founder, "organization.hand_over", pair), "POST", "/owner")
    assert (await ask(*handing, {"userId": target})).status == 200
    back = await made.ask(other, "POST", "/owner", {"userId": own}, confirm=f"organization.hand_over:{own}")
    assert back.status == 200
    assert code(await ask(*handing, {"userId": target})) == used
    assert (await made.roles()) == {UUID(own): "owner", UUID(target): "manager"}


async def test_one_signature_shown_twice_at_once_counts_once(shop: Shop) -> None:
    made = await agency(shop)
    for _ in range(5):
        header = await signed(made.founder, "organization.invite_owner", made.id)
        answers = await asyncio.gather(
            *(
                made.founder.client(
                    "POST", f"{made.path}/invitations", json_body={"role": "owner"}, headers=header
                )
                for _ in range(3)
            )
        )
        assert sorted(answer.status for answer in answers) == [201, 403, 403]


async def test_who_hands_over_to_themselves_or_to_strangers_stays_the_owner(shop: Shop) -> None:
    made = await agency(shop)
    for heir in (await user_id(made.founder), await user_id(await shop.person()), str(uuid4())):
        answer = await made.ask(
            made.founder, "POST", "/owner", {"userId": heir}, confirm=f"organization.hand_over:{heir}"
        )
        assert code(answer) == (404, "organizations.member_not_found"), heir
    assert list((await made.roles()).values()) == ["owner"]


async def test_two_owners_who_go_at_once_leave_one(shop: Shop) -> None:
    """Each demotes or removes the other, or goes; whatever the order, one owner is left, and knows it."""
    for number in range(ROUNDS):
        made = await agency(shop, wallet=False)
        other = await made.join("owner")
        ids = {id(person): await user_id(person) for person in (made.founder, other)}
        acts = [
            [("PUT", other, {"role": "gate"}), ("PUT", made.founder, {"role": "gate"})],
            [("DELETE", other, None), ("DELETE", made.founder, None)],
            [("DELETE", made.founder, None), ("DELETE", other, None)],
            [("PUT", made.founder, {"role": "finance"}), ("PUT", other, {"role": "finance"})],
            [("DELETE", made.founder, None), ("PUT", made.founder, {"role": "gate"})],
        ][number % 5]
        answers = await asyncio.gather(
            *(
                made.ask(
                    *(person, method, f"/members/{ids[id(target)]}", body),
                    confirm="" if target is person else f"organization.unmake_owner:{ids[id(target)]}",
                )
                for person, (method, target, body) in zip((made.founder, other), acts, strict=True)
            )
        )
        owners = [user for user, role in (await made.roles()).items() if role == "owner"]
        assert len(owners) == 1, (number, [answer.body for answer in answers])
        assert min(answer.status for answer in answers) == 200
        assert {answer.status for answer in answers} <= {200, 403, 404, 409}


async def test_a_role_that_was_lost_while_waiting_for_the_lock_counts_no_more(shop: Shop) -> None:
    made = await staffed(shop)
    owner = made.people["owner"]
    async with shop.database.transaction() as tx:
        await tx.execute("SELECT FROM organizations WHERE id = $1 FOR UPDATE", UUID(made.id))
        founder = await user_id(made.founder)
        unmaking = f"organization.unmake_owner:{founder}"
        waiting = [
            asyncio.create_task(made.ask(owner, "PUT", "", {"name": "Mine now"})),
            asyncio.create_task(made.ask(owner, "DELETE", f"/members/{founder}", confirm=unmaking)),
            asyncio.create_task(made.ask(owner, "POST", "/invitations", {"role": "manager"})),
        ]
        async with asyncio.timeout(20):
            while await waiting_for_locks(shop) < len(waiting):
                await asyncio.sleep(0.01)
        await tx.execute(
            "UPDATE members SET role = 'gate' WHERE organization_id = $1 AND user_id = $2",
            *(UUID(made.id), UUID(await user_id(owner))),
        )
    for answer in await asyncio.gather(*waiting):
        assert code(answer) == MISSING
    assert (await made.ask(made.founder, "GET")).data["name"] == "Harbour Nights"


async def waiting_for_locks(shop: Shop) -> int:
    count = await shop.database.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    assert isinstance(count, int)
    return count


async def test_the_database_keeps_an_owner_even_from_those_who_take_no_lock(shop: Shop) -> None:
    made = await agency(shop)
    with pytest.raises(asyncpg.CheckViolationError, match="no owner"):
        await shop.database.execute("DELETE FROM members WHERE organization_id = $1", UUID(made.id))
    with pytest.raises(asyncpg.CheckViolationError, match="no owner"):
        await shop.database.execute(
            "UPDATE members SET role = 'gate' WHERE organization_id = $1", UUID(made.id)
        )
    assert list((await made.roles()).values()) == ["owner"]


async def test_unlocked_owners_who_race_are_held_by_the_database_too(shop: Shop) -> None:
    for _ in range(ROUNDS):
        made = await agency(shop, wallet=False)
        other = await made.join("owner")
        ids = [UUID(await user_id(person)) for person in (made.founder, other)]
        outcomes = await asyncio.gather(
            *(
                shop.database.execute(
                    "DELETE FROM members WHERE organization_id = $1 AND user_id = $2", UUID(made.id), one
                )
                for one in ids
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(one, asyncpg.CheckViolationError) for one in outcomes) == 1, outcomes
        assert len(await made.roles()) == 1


async def test_members_show_their_wallets_and_nothing_personal(shop: Shop) -> None:
    made = await staffed(shop)
    answer = await made.ask(made.people["manager"], "GET", "/members")
    assert [set(one) for one in answer.data] == [{"userId", "role", "wallets", "joinedAt"}] * 5
    assert [one["wallets"] for one in answer.data] == [
        [person.text] for person in (made.founder, *made.people.values())
    ]


async def test_names_that_cannot_be_seen_or_said_are_refused(shop: Shop) -> None:
    made = await agency(shop)
    hostile = [
        ("", 422), ("   ", 422), ("\u3000\u00a0", 422), ("x" * 81, 422), ("x" * 10_240, 422),
        ("tab\tbell\x07", 422), ("null\x00", 422), ("\u202eevil", 422),
        ("zero\u200bwidth", 422), ("\u2066isolate", 422), ("\ufeffmark", 422), ("pri\ue000vate", 422),
        ("See https://evil.example", 422), ("www.evil.example", 422), ("ftp://x", 422),
        ("Z" + "\u0301\u0302\u0303" * 9, 422), (7, 422), (None, 422), ({"name": "x"}, 422),
    ]  # fmt: skip
    for name, status in hostile:
        for method, path in (("PUT", made.path), ("POST", ORGANIZATIONS)):
            answer = await made.founder.client(method, path, json_body={"name": name})
            assert (answer.status, answer.error["code"]) == (status, "request.invalid"), (name, answer.body)
    for extra in ({"id": str(uuid4())}, {"role": "owner"}, {"organizationId": made.id}):
        answer = await made.founder.client("PUT", made.path, json_body={"name": "Fine", **extra})
        assert answer.status == 422
    assert (await made.ask(made.founder, "GET")).data["name"] == "Harbour Nights"
    for name, kept in (
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("'; DROP TABLE organizations; --", "'; DROP TABLE organizations; --"),
        ("  Kino   im \u2028 Hof ", "Kino im Hof"),
        ("Cafe\u0301 São João 東京 🎪", "Café São João 東京 🎪"),
    ):
        assert (await made.ask(made.founder, "PUT", "", {"name": name})).data["name"] == kept


async def test_a_surrogate_in_a_name_is_no_json(shop: Shop) -> None:
    person = await shop.person()
    answer = await person.client(
        "POST", ORGANIZATIONS, body=b'{"name": "\\ud800"}', headers={"content-type": "application/json"}
    )
    assert answer.status in {400, 422}


async def test_nobody_is_in_more_than_fifty_organizations(shop: Shop) -> None:
    person = await shop.person()
    answers = await asyncio.gather(
        *(
            person.client("POST", ORGANIZATIONS, json_body={"name": f"Number {number}"})
            for number in range(55)
        )
    )
    assert sorted(answer.status for answer in answers) == [201] * 50 + [409] * 5
    assert len((await person.client("GET", ORGANIZATIONS)).data) == 50
