"""Invitations: for one person, once, for seven days, and to no more than who invites may give."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.edge.http_client import Client
from tests.events.shop import KEYS, Person, Shop
from tests.organizations.agency import ORGANIZATIONS, ROLES, Agency, accept, agency, code, staffed, user_id

from echain.edge.http.limits import Allowance, Limits
from echain.infra.metrics import Metrics
from echain.infra.quota import Quotas
from echain.organizations import inviting
from echain.organizations.invitationstore import EMAIL

UNKNOWN = (404, "organizations.invitation_unknown")
OVER = (409, "organizations.invitation_over")
ROUNDS = 20


async def offered(person: Person, token: str) -> Any:
    return await person.client("POST", f"{ORGANIZATIONS}/invitations/offer", json_body={"token": token})


async def declined(shop: Shop, token: str) -> Any:
    return await shop.anyone("POST", f"{ORGANIZATIONS}/invitations/decline", json_body={"token": token})


async def rows(shop: Shop) -> list[Any]:
    return await shop.database.fetch("SELECT * FROM invitations ORDER BY id")


async def test_who_holds_the_token_sees_the_offer_and_becomes_what_it_says(shop: Shop) -> None:
    made, guest = await agency(shop), await shop.person()
    issued = (await made.invite(made.founder, "finance")).data
    assert issued["link"] == f"https://tickets.example/invitation?token={issued['token']}"
    offer = (await offered(guest, issued["token"])).data
    assert (offer["organizationId"], offer["organizationName"], offer["role"]) == (
        made.id,
        "Harbour Nights",
        "finance",
    )
    joined = await accept(guest, issued["token"])
    assert (joined.status, joined.data["id"], joined.data["role"]) == (200, made.id, "finance")
    assert (await made.roles())[UUID(await user_id(guest))] == "finance"
    for answer in (await offered(guest, issued["token"]), await declined(shop, issued["token"])):
        assert code(answer) == OVER
    assert code(await accept(await shop.person(), issued["token"])) == OVER


async def test_the_token_is_shown_once_and_kept_as_a_hash(shop: Shop) -> None:
    made = await agency(shop)
    headers = {"idempotency-key": "once"}
    first = await made.founder.client(
        "POST", f"{made.path}/invitations", json_body={"role": "gate"}, headers=headers
    )
    assert (first.status, first.header("cache-control")) == (201, "no-store")
    again = await made.founder.client(
        "POST", f"{made.path}/invitations", json_body={"role": "gate"}, headers=headers
    )
    assert again.status == 409
    listed = await made.ask(made.founder, "GET", "/invitations")
    assert [one["id"] for one in listed.data] == [first.data["id"]]
    assert first.data["token"].encode() not in listed.body
    dump = await shop.database.fetchval("SELECT string_agg(i::text, ' ') FROM invitations AS i")
    for part in (first.data["token"][:20], first.data["token"][-20:]):
        assert part not in dump
        assert part.encode().hex() not in dump
    kept = await shop.database.fetchval("SELECT string_agg(i::text, ' ') FROM idempotency_keys AS i")
    assert first.data["token"] not in kept
    assert first.data["token"].encode().hex() not in kept


async def test_after_seven_days_it_is_over(shop: Shop) -> None:
    made, guest = await agency(shop), await shop.person()
    token = await made.token("gate")
    shop.clock.pass_by(days=6, hours=23)
    fresh = await shop.person(guest.wallet)
    assert (await offered(fresh, token)).status == 200
    shop.clock.pass_by(hours=1)
    fresh = await shop.person(guest.wallet)
    assert code(await offered(fresh, token)) == OVER
    assert code(await accept(fresh, token)) == OVER
    assert code(await declined(shop, token)) == OVER
    founder = Agency(shop, made.id, await shop.person(made.founder.wallet))
    assert (await founder.ask(founder.founder, "GET", "/invitations")).data == []


async def test_a_revoked_or_declined_invitation_is_over(shop: Shop) -> None:
    made, guest = await agency(shop), await shop.person()
    revoked = (await made.invite(made.founder, "gate")).data
    assert (await made.ask(made.founder, "DELETE", f"/invitations/{revoked['id']}")).status == 200
    assert code(await accept(guest, revoked["token"])) == OVER
    again = await made.ask(made.founder, "DELETE", f"/invitations/{revoked['id']}")
    assert code(again) == (404, "organizations.invitation_not_found")
    token = await made.token("gate")
    assert (await declined(shop, token)).status == 200
    assert code(await accept(guest, token)) == OVER
    assert await made.roles() == {UUID(await user_id(made.founder)): "owner"}


async def test_an_invitation_of_another_organization_cannot_be_revoked_through_mine(shop: Shop) -> None:
    made, other = await agency(shop), await agency(shop)
    issued = (await other.invite(other.founder, "gate")).data
    answer = await made.ask(made.founder, "DELETE", f"/invitations/{issued['id']}")
    assert code(answer) == (404, "organizations.invitation_not_found")
    assert (await accept(await shop.person(), issued["token"])).status == 200


async def test_a_member_cannot_use_one_up_and_it_changes_no_role(shop: Shop) -> None:
    made = await staffed(shop)
    token = await made.token("manager")
    for role in ROLES:
        answer = await accept(made.people[role], token)
        assert code(answer) == (409, "organizations.already_member"), role
    assert sorted((await made.roles()).values()) == sorted([*ROLES, "owner"])
    assert (await accept(await shop.person(), token)).status == 200


async def test_nobody_chooses_their_own_role_or_organization(shop: Shop) -> None:
    made, other, guest = await agency(shop), await agency(shop), await shop.person()
    token = await made.token("gate")
    for extra in ({"role": "owner"}, {"organizationId": other.id}, {"userId": await user_id(made.founder)}):
        answer = await accept(guest, token, **extra)
        assert (answer.status, answer.error["code"]) == (422, "request.invalid"), extra
    for body in (
        {"role": "admin"},
        {"role": "Owner"},
        {"role": ["gate"]},
        {},
        {"role": "gate", "expiresAt": "2030-01-01T00:00:00Z"},
        {"role": "gate", "token": "eci_" + "A" * 43},
    ):
        assert (await made.ask(made.founder, "POST", "/invitations", body)).status == 422, body
    assert (await accept(guest, token)).data["role"] == "gate"


async def test_one_who_accepts_at_the_same_time_as_others_wins(shop: Shop) -> None:
    for _ in range(ROUNDS):
        made = await agency(shop, wallet=False)
        token = await made.token("manager")
        guests = [await shop.person() for _ in range(4)]
        answers = await asyncio.gather(*(accept(guest, token) for guest in guests))
        assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
        assert {answer.error["code"] for answer in answers if answer.status == 409} == {OVER[1]}
        assert len(await made.roles()) == 2


async def test_one_person_who_accepts_twice_at_once_joins_once(shop: Shop) -> None:
    for _ in range(ROUNDS):
        made, guest = await agency(shop, wallet=False), await shop.person()
        tokens = [await made.token("gate"), await made.token("manager")]
        answers = await asyncio.gather(*(accept(guest, token) for token in [*tokens, tokens[0]]))
        assert sorted(answer.status for answer in answers) == [200, 409, 409]
        assert len(await made.roles()) == 2


async def test_accepting_and_revoking_at_once_does_one_of_both(shop: Shop) -> None:
    for _ in range(ROUNDS):
        made, guest = await agency(shop, wallet=False), await shop.person()
        issued = (await made.invite(made.founder, "gate")).data
        joined, revoked = await asyncio.gather(
            accept(guest, issued["token"]),
            made.ask(made.founder, "DELETE", f"/invitations/{issued['id']}"),
        )
        assert sorted([joined.status == 200, revoked.status == 200]) == [False, True]
        assert len(await made.roles()) == (2 if joined.status == 200 else 1)


async def test_who_loses_a_role_leaves_no_invitation_behind_that_it_could_not_make(shop: Shop) -> None:
    made = await staffed(shop)
    owner, manager = made.people["owner"], made.people["manager"]
    by_owner = {role: (await made.invite(owner, role)).data["token"] for role in ("gate", "manager", "owner")}
    by_manager = (await made.invite(manager, "gate")).data["token"]
    demoted, unmaking = await user_id(owner), f"organization.unmake_owner:{await user_id(owner)}"
    await made.ask(made.founder, "PUT", f"/members/{demoted}", {"role": "manager"}, confirm=unmaking)
    for role in ("manager", "owner"):
        assert code(await accept(await shop.person(), by_owner[role])) == OVER, role
    assert (await accept(await shop.person(), by_owner["gate"])).status == 200
    await made.ask(made.founder, "DELETE", f"/members/{await user_id(manager)}")
    assert code(await accept(manager, by_manager)) == OVER


@pytest.mark.parametrize(
    ("paths", "then"),
    [(("offer", "accept") * 2, "accept"), (("decline",) * 4, "decline")],
    ids=["known", "public"],
)
async def test_guessing_tokens_shuts_the_guesser_out(shop: Shop, paths: tuple[str, ...], then: str) -> None:
    made, guest, neighbour = await agency(shop), await shop.person(), await shop.person()
    token = await made.token("gate")
    app = shop.application(Limits(Quotas(None), Allowance(refusals=4), metrics=Metrics()))

    async def shown(person: Person, path: str, token: str) -> Any:
        client = Client(app, person.client.defaults)
        return await client("POST", f"{ORGANIZATIONS}/invitations/{path}", json_body={"token": token})

    for path in paths:
        assert code(await shown(guest, path, "eci_" + secrets.token_urlsafe(32))) == UNKNOWN
    assert code(await shown(guest, then, token)) == (429, "auth.shut_out")
    assert (await shown(neighbour, "accept", token)).status == 200


@pytest.mark.parametrize(
    "token", ["", "eci_", "eci_" + "A" * 42, "eci_" + "A" * 43, "eci_" + "A" * 44, "eca_" + "A" * 43]
)
async def test_a_token_of_another_shape_is_unknown(shop: Shop, token: str) -> None:
    guest = await shop.person()
    assert code(await offered(guest, token)) == UNKNOWN


EMAIL_TEXT = "Grace.Hopper@Navy.Example"


async def test_an_address_is_sealed_and_only_hinted_at(shop: Shop) -> None:
    made = await staffed(shop)
    issued = await made.invite(made.founder, "manager", email=EMAIL_TEXT, language="de")
    assert issued.data["emailHint"] == "G…@….example"
    answers = [issued]
    for person in (made.founder, made.people["manager"]):
        answers.append(await made.ask(person, "GET", "/invitations"))
        answers.append(await made.ask(person, "GET", "/members"))
    guest = await shop.person()
    answers.append(await offered(guest, issued.data["token"]))
    for answer in answers:
        assert b"hopper" not in answer.body.lower()
        assert b"navy" not in answer.body.lower()
    (row,) = [row for row in await rows(shop) if row["sealed"] is not None]
    assert b"navy" not in row["sealed"].lower()
    assert EMAIL.open(KEYS, row["id"], row["sealed"]).decode() == "Grace.Hopper@navy.example"
    queued = await shop.database.fetchval(
        "SELECT string_agg(convert_from(payload, 'UTF8'), ' ') FROM jobs.queue"
    )
    assert "organizations.invite" in queued
    assert issued.data["token"] not in queued
    assert "avy" not in queued
    await accept(guest, issued.data["token"])
    (row,) = [row for row in await rows(shop) if str(row["id"]) == issued.data["id"]]
    assert row["sealed"] is None


async def test_an_address_that_is_none_is_refused(shop: Shop) -> None:
    made = await agency(shop)
    for email in (
        "x",
        "a@b",
        "a b@c.de",
        "a@b.de\r\nBcc: c@d.de",
        "a@[127.0.0.1]",
        "é@x.de",
        "a@b.de,c@d.de",
        7,
    ):
        answer = await made.invite(made.founder, "gate", email=email)
        assert (answer.status, answer.error["code"]) == (422, "request.invalid"), email
    for language in ("english", "../de", "de\n", ""):
        answer = await made.invite(made.founder, "gate", email="a@b.de", language=language)
        assert answer.status == 422, language
    assert await rows(shop) == []


async def test_one_address_is_mailed_three_times_a_day_whoever_invites(shop: Shop) -> None:
    houses = [await agency(shop) for _ in range(2)]
    for number in range(3):
        house = houses[number % 2]
        issued = await house.invite(house.founder, "gate", email=EMAIL_TEXT)
        assert issued.status == 201
        await house.ask(house.founder, "DELETE", f"/invitations/{issued.data['id']}")
    for house in houses:
        refused = await house.invite(house.founder, "gate", email=EMAIL_TEXT.upper())
        assert code(refused) == (429, "organizations.too_many_invitations")
        assert refused.error["details"]["retryAfterSeconds"] == 86_401
        assert int(refused.header("retry-after") or 0) > 0
    assert (await houses[0].invite(houses[0].founder, "gate", email="other@x.example")).status == 201


async def test_ending_organizations_wins_nobody_more_mails(shop: Shop) -> None:
    person = await shop.person()
    for number in range(4):
        made = await agency(shop, person, wallet=False)
        issued = await made.invite(person, "gate", email=EMAIL_TEXT)
        assert issued.status == (201 if number < 3 else 429)
        assert (await made.ask(person, "DELETE", confirm="organization.delete")).status == 200


async def test_twenty_mails_a_day_are_the_most_of_one_person_and_of_one_organization(shop: Shop) -> None:
    made = await agency(shop)
    manager = await made.join("manager")
    for number in range(20):
        answer = await made.invite(made.founder, "gate", email=f"guest{number}@x.example")
        assert answer.status == 201
    elsewhere = await agency(shop, made.founder, wallet=False)
    for house, person in ((made, made.founder), (elsewhere, made.founder), (made, manager)):
        refused = await house.invite(person, "gate", email="another@x.example")
        assert code(refused) == (429, "organizations.too_many_invitations")
    assert (await made.invite(manager, "gate")).status == 201
    own = await agency(shop, manager, wallet=False)
    assert (await own.invite(manager, "gate", email="another@x.example")).status == 201


async def test_those_who_mail_one_address_at_once_do_it_three_times_together(shop: Shop) -> None:
    houses = [await agency(shop) for _ in range(6)]
    answers = await asyncio.gather(
        *(house.invite(house.founder, "gate", email=EMAIL_TEXT) for house in houses)
    )
    assert sorted(answer.status for answer in answers) == [201] * 3 + [429] * 3


async def test_fifty_are_open_at_most_and_a_hundred_a_day(shop: Shop) -> None:
    made = await agency(shop)
    first = [(await made.invite(made.founder, "gate")).data["id"] for _ in range(50)]
    full = await made.invite(made.founder, "gate")
    assert code(full) == (429, "organizations.too_many_invitations")
    for invitation in first:
        await made.ask(made.founder, "DELETE", f"/invitations/{invitation}")
    for _ in range(50):
        assert (await made.invite(made.founder, "gate")).status == 201
    last = (await made.ask(made.founder, "GET", "/invitations")).data[0]["id"]
    await made.ask(made.founder, "DELETE", f"/invitations/{last}")
    refused = await made.invite(made.founder, "gate")
    assert code(refused) == (429, "organizations.too_many_invitations")
    assert refused.error["details"]["again"] == "2026-01-03T03:04:05.000Z"
    # Another organization of the same person has no more of them.
    second = await agency(shop, made.founder, wallet=False)
    assert (await second.invite(made.founder, "gate")).status == 429


async def test_two_hundred_are_members_at_most(shop: Shop) -> None:
    made = await agency(shop)
    token = await made.token("gate")
    await shop.database.execute(
        """
        WITH people AS (
            INSERT INTO users (id, created_at) SELECT gen_random_uuid(), now() FROM generate_series(1, 199)
            RETURNING id
        )
        INSERT INTO members SELECT $1, id, 'gate', now() FROM people
        """,
        UUID(made.id),
    )
    guest = await shop.person()
    assert code(await accept(guest, token)) == (409, "organizations.too_many_members")
    someone = next(user for user, role in (await made.roles()).items() if role == "gate")
    assert (await made.ask(made.founder, "DELETE", f"/members/{someone}")).status == 200
    assert (await accept(guest, token)).status == 200


async def test_what_is_over_is_forgotten(shop: Shop) -> None:
    made = await agency(shop)
    for email in ("open@x.example", "over@x.example"):
        await made.invite(made.founder, "gate", email=email)
    over = (await made.ask(made.founder, "GET", "/invitations")).data[0]["id"]
    await made.ask(made.founder, "DELETE", f"/invitations/{over}")
    shop.clock.pass_by(hours=25)
    await inviting.sweep(shop.database, now=shop.clock())
    assert [row["email_index"] is None for row in await rows(shop)] == [False, True]
    shop.clock.pass_by(days=7)
    await inviting.sweep(shop.database, now=shop.clock())
    assert [(row["sealed"], row["email_index"]) for row in await rows(shop)] == [(None, None)] * 2
    shop.clock.pass_by(days=30)
    await inviting.sweep(shop.database, now=shop.clock())
    assert await rows(shop) == []


async def test_an_organization_that_is_gone_takes_its_invitations_along(shop: Shop) -> None:
    made, guest = await agency(shop), await shop.person()
    token = await made.token("gate")
    ended = await made.ask(made.founder, "DELETE", confirm="organization.delete")
    assert ended.status == 200, ended.body
    assert code(await accept(guest, token)) == OVER
    assert code(await offered(guest, token)) == OVER
    assert code(await made.invite(made.founder, "gate")) == (404, "organizations.not_found")
    assert code(await made.ask(made.founder, "DELETE", f"/invitations/{uuid4()}")) == (
        404,
        "organizations.not_found",
    )
