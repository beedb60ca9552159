"""An event belongs to the organization of its organizer's wallet, wherever that wallet goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

from tests.events.shop import Person, Shop
from tests.organizations.agency import ORGANIZATIONS, Agency, agency, code, signed, staffed, user_id

from echain.infra.database import connect
from echain.kernel.time import rfc3339
from echain.organizations.service import STANDING_CHANNEL

EVENTS = "/api/v1/events"
ROUNDS = 20


async def shown(shop: Shop, event: object) -> tuple[str | None, str | None]:
    """Return the organization of a published event as everybody sees it."""
    data = (await shop.anyone("GET", f"{EVENTS}/{event}")).data
    return data["organizationId"], data["organizationName"]


async def test_the_first_draft_makes_an_organization_and_the_second_does_not(shop: Shop) -> None:
    person = await shop.person()
    first, second = await shop.draft(person), await shop.draft(person)
    (mine,) = (await person.client("GET", ORGANIZATIONS)).data
    assert first["organizationId"] == second["organizationId"] == mine["id"]
    assert first["organizationName"] == mine["name"] == f"{person.text[:6]}…{person.text[-4:]}"
    assert (mine["role"], mine["wallets"]) == ("owner", [person.text])


async def test_first_drafts_that_race_make_one_organization(shop: Shop) -> None:
    for _ in range(ROUNDS):
        person = await shop.person()
        drafts = await asyncio.gather(*(shop.draft(person) for _ in range(4)))
        assert len({draft["organizationId"] for draft in drafts}) == 1
        assert len((await person.client("GET", ORGANIZATIONS)).data) == 1


async def test_a_first_draft_and_the_wallets_joining_race_without_losing_either(shop: Shop) -> None:
    for _ in range(ROUNDS):
        person = await shop.person()
        made = await agency(shop, person, wallet=False)
        drafted, added = await asyncio.gather(
            person.client("POST", EVENTS, json_body=shop.content()), made.ask(person, "POST", "/wallets")
        )
        assert drafted.status == 201
        if added.status == 200:
            assert drafted.data["organizationId"] == made.id
        else:
            assert code(added) == (409, "organizations.wallet_taken")


async def test_events_follow_the_wallet_and_pages_say_so_at_once(shop: Shop) -> None:
    person = await shop.person()
    made = await agency(shop, person)
    event, draft = await shop.published(person)
    assert await shown(shop, event.id) == await shown(shop, draft["id"]) == (made.id, "Harbour Nights")
    await made.ask(person, "PUT", "", {"name": "Harbour Days"})
    await until_shown(shop, event.id, (made.id, "Harbour Days"))
    listed = (await shop.anyone("GET", f"{EVENTS}?organizationId={made.id}")).data
    assert [(one["id"], one["organizationName"]) for one in listed] == [(draft["id"], "Harbour Days")]
    assert (await made.ask(person, "DELETE", f"/wallets/{person.text}")).status == 200
    await until_shown(shop, event.id, (None, None))
    assert (await shop.anyone("GET", f"{EVENTS}?organizationId={made.id}")).data == []
    other = await agency(shop, person, wallet=False)
    await other.ask(person, "POST", "/wallets")
    await until_shown(shop, event.id, (other.id, "Harbour Nights"))


async def until_shown(shop: Shop, event: object, expected: tuple[str | None, str | None]) -> None:
    """Wait for the notification that drops the kept page; it comes in a round trip."""
    async with asyncio.timeout(20):
        while await shown(shop, event) != expected:
            await asyncio.sleep(0.01)


async def test_a_wallet_belongs_to_one_organization(shop: Shop) -> None:
    person = await shop.person()
    first, second = await agency(shop, person), await agency(shop, person, wallet=False)
    assert (await first.ask(person, "POST", "/wallets")).status == 200
    assert code(await second.ask(person, "POST", "/wallets")) == (409, "organizations.wallet_taken")
    assert code(await second.ask(person, "DELETE", f"/wallets/{person.text}")) == (
        404,
        "organizations.wallet_not_found",
    )
    await first.ask(person, "DELETE", f"/wallets/{person.text}")
    assert (await second.ask(person, "POST", "/wallets")).data["wallets"] == [person.text]


async def removed(made: Agency, owner: Person) -> None:
    """Have the founder remove another owner, and sign for it."""
    who = await user_id(owner)
    answer = await made.ask(
        made.founder, "DELETE", f"/members/{who}", confirm=f"organization.unmake_owner:{who}"
    )
    assert answer.status == 200, answer.body


async def test_who_holds_a_wallet_may_take_it_back_and_nobody_else_from_outside(shop: Shop) -> None:
    made = await staffed(shop)
    owner = made.people["owner"]
    await made.ask(owner, "POST", "/wallets")
    await removed(made, owner)
    stranger = await shop.person()
    for wallet in (owner.text, made.founder.text):
        assert code(await made.ask(stranger, "DELETE", f"/wallets/{wallet}")) == (
            404,
            "organizations.not_found",
        )
    assert code(await made.ask(owner, "DELETE", f"/wallets/{made.founder.text}")) == (
        404,
        "organizations.not_found",
    )
    assert (await made.ask(owner, "DELETE", f"/wallets/{owner.text}")).status == 200
    assert (await made.ask(made.founder, "GET")).data["wallets"] == [made.founder.text]


async def test_who_was_removed_drafts_with_their_wallet_again_once_it_is_taken_out(shop: Shop) -> None:
    made = await staffed(shop)
    owner = made.people["owner"]
    await made.ask(owner, "POST", "/wallets")
    await removed(made, owner)
    refused = await owner.client("POST", EVENTS, json_body=shop.content())
    assert code(refused) == (409, "organizations.wallet_taken")
    assert refused.error["details"] == {"organizationId": made.id}
    await made.ask(owner, "DELETE", f"/wallets/{owner.text}")
    assert (await shop.draft(owner))["organizationId"] not in {made.id, None}


async def test_twenty_wallets_are_the_most(shop: Shop) -> None:
    made = await agency(shop)
    await shop.database.execute(
        "INSERT INTO organization_wallets SELECT decode(lpad(n::text, 40, '0'), 'hex'), $1, now()"
        " FROM generate_series(1, 19) AS n",
        UUID(made.id),
    )
    owner = await made.join("owner")
    assert code(await made.ask(owner, "POST", "/wallets")) == (409, "organizations.too_many_wallets")


async def test_an_organization_with_events_that_run_is_not_deleted(shop: Shop) -> None:
    person = await shop.person()
    made = await agency(shop, person)
    running, _ = await shop.published(person)
    cancelled, _ = await shop.published(person)
    await shop.cancelled(cancelled)
    over, _ = await shop.published(person)
    await shop.database.execute(
        "UPDATE events SET starts_at = $2, ends_at = $3 WHERE id = $1",
        *(over.id, shop.clock() - timedelta(days=2), shop.clock()),
    )
    refused = await made.ask(person, "DELETE", confirm="organization.delete")
    assert code(refused) == (409, "organizations.events_running")
    assert refused.error["details"] == {"events": 1}
    assert (await made.ask(person, "GET")).status == 200
    await shop.cancelled(running)
    ended = await made.ask(person, "DELETE", confirm="organization.delete")
    assert ended.status == 200, ended.body


async def test_what_is_deleted_is_gone_for_everybody_and_its_wallets_are_free(shop: Shop) -> None:
    made = await staffed(shop)
    draft = await shop.draft(made.founder)
    for confirm in ("", f"organization.hand_over:{await user_id(made.founder)}"):
        refused = await made.ask(made.founder, "DELETE", confirm=confirm)
        assert refused.error["code"] in {"auth.confirmation_needed", "auth.confirmation_invalid"}
    assert (await made.ask(made.founder, "DELETE", confirm="organization.delete")).status == 200
    for person in (made.founder, *made.people.values()):
        assert code(await made.ask(person, "GET")) == (404, "organizations.not_found")
        assert (await person.client("GET", ORGANIZATIONS)).data == []
        assert (await person.client("GET", f"{EVENTS}/{draft['id']}")).status == 404
    assert (await made.founder.client("GET", f"{EVENTS}?mine=true")).data == []
    hidden = await shop.database.fetchval(
        "SELECT deleted_at FROM event_drafts WHERE id = $1", UUID(draft["id"])
    )
    assert hidden == shop.clock()
    again = await shop.draft(made.founder)
    assert again["organizationId"] not in {made.id, None}


async def test_a_draft_that_races_with_the_end_of_its_organization_ends_with_it(shop: Shop) -> None:
    for _ in range(ROUNDS):
        person = await shop.person()
        made = await agency(shop, person)
        body = shop.content(organizationId=made.id)
        headers = await signed(person, "organization.delete", made.id)
        ended, *drafted = await asyncio.gather(
            person.client("DELETE", made.path, headers=headers),
            *(person.client("POST", EVENTS, json_body=body) for _ in range(3)),
        )
        assert ended.status == 200, ended.body
        assert {answer.status for answer in drafted} <= {201, 404, 409}
        left = await shop.database.fetchval(
            "SELECT count(*) FROM event_drafts WHERE organization_id = $1 AND deleted_at IS NULL",
            UUID(made.id),
        )
        assert left == 0


@asynccontextmanager
async def heard(shop: Shop) -> AsyncIterator[list[str]]:
    """Collect the users whose standing is told to have changed."""
    told: list[str] = []
    listener = await connect(shop.database._url)
    try:
        await listener.add_listener(STANDING_CHANNEL, lambda *note: told.append(note[3]))
        yield told
        # What committed before this is heard after it.
        fence = asyncio.Event()
        await listener.add_listener("fence", lambda *_: fence.set())
        await shop.database.execute("NOTIFY fence")
        async with asyncio.timeout(20):
            await fence.wait()
    finally:
        await listener.close()


async def test_whoever_gains_or_loses_something_is_told_of_by_their_user_id(shop: Shop) -> None:
    made = await staffed(shop)
    ids = {role: await user_id(person) for role, person in made.people.items()}
    founder, everyone = await user_id(made.founder), {*ids.values(), await user_id(made.founder)}
    guest = await shop.person()
    async with heard(shop) as told:
        await made.join("gate", guest)
    assert set(told) == {await user_id(guest)}
    async with heard(shop) as told:
        await made.ask(guest, "DELETE", f"/members/{await user_id(guest)}")
    assert set(told) == {await user_id(guest)}
    async with heard(shop) as told:
        await made.ask(made.founder, "PUT", f"/members/{ids['gate']}", {"role": "finance"})
    assert set(told) == {ids["gate"]}
    async with heard(shop) as told:
        await made.ask(made.founder, "PUT", f"/members/{ids['gate']}", {"role": "finance"})
        await made.ask(made.founder, "PUT", f"/members/{uuid4()}", {"role": "gate"})
        await made.ask(made.people["manager"], "DELETE", f"/members/{founder}")
    assert told == []
    async with heard(shop) as told:
        await made.ask(
            *(made.founder, "POST", "/owner", {"userId": ids["owner"]}),
            confirm=f"organization.hand_over:{ids['owner']}",
        )
    assert set(told) == {founder, ids["owner"]}
    async with heard(shop) as told:
        await made.ask(made.people["owner"], "DELETE", f"/wallets/{made.founder.text}")
    assert set(told) == everyone
    async with heard(shop) as told:
        await made.ask(made.people["owner"], "POST", "/wallets")
    assert set(told) == everyone
    async with heard(shop) as told:
        await made.ask(made.people["owner"], "DELETE", confirm="organization.delete")
    assert set(told) == everyone


# --- what members do with events ---


def update(shop: Shop, draft: dict[str, object]) -> dict[str, object]:
    return {**shop.content(title="Changed"), "version": draft["version"]}


async def test_drafts_are_seen_changed_and_deleted_by_those_whose_role_says_so(shop: Shop) -> None:
    made = await staffed(shop)
    missing = (403, "organizations.permission_missing")
    reads, writes = {"owner", "manager", "finance"}, {"owner", "manager"}
    stranger = await shop.person()
    for role, person in [*made.people.items(), ("stranger", stranger)]:
        draft = await shop.draft(made.founder)
        path = f"{EVENTS}/{draft['id']}"
        refusal = (404, "events.not_found") if role == "stranger" else missing
        read = await person.client("GET", path)
        assert read.status == 200 if role in reads else code(read) == refusal, role
        changed = await person.client("PUT", path, json_body=update(shop, draft))
        assert changed.status == 200 if role in writes else code(changed) == refusal, role
        published = await person.client("POST", f"{path}/publish")
        if role in writes:
            assert published.error["code"] not in {refusal[1], "events.not_found"}, role
        else:
            assert code(published) == refusal, role
        deleted = await person.client("DELETE", path)
        assert deleted.status == 200 if role in writes else code(deleted) == refusal, role
        for query in ("?mine=true", "?status=draft", f"?status=draft&organizationId={made.id}"):
            listed = (await person.client("GET", f"{EVENTS}{query}")).data
            assert bool(listed) == (role in reads and role not in writes), (role, query)
        if role not in writes:
            await made.founder.client("DELETE", path)


async def test_a_published_event_is_run_by_those_whose_role_says_so(shop: Shop) -> None:
    made = await staffed(shop)
    event, draft = await shop.published(made.founder)
    stranger = await shop.person()
    for role, person in [*made.people.items(), ("stranger", stranger)]:
        for identity in (event.id, draft["id"]):
            for method, path, body in (
                ("DELETE", "", None),
                ("POST", "/tiers/0/price", {"priceWei": "7"}),
                ("PUT", "", update(shop, draft)),
                ("POST", "/publish", None),
            ):
                answer = await person.client(method, f"{EVENTS}/{identity}{path}", json_body=body)
                where = (role, identity, method, path, answer.body)
                if role == "stranger":
                    assert code(answer) == (404, "events.not_found"), where
                elif role in {"finance", "gate"}:
                    assert code(answer) == (403, "organizations.permission_missing"), where
                else:
                    assert answer.status not in {403, 404}, where


async def test_a_role_that_ends_takes_the_draft_away_with_the_next_request(shop: Shop) -> None:
    made = await staffed(shop)
    draft = await shop.draft(made.founder)
    path, manager = f"{EVENTS}/{draft['id']}", made.people["manager"]
    for _ in range(3):
        assert (await manager.client("GET", path)).status == 200
    await made.ask(made.founder, "DELETE", f"/members/{await user_id(manager)}")
    assert code(await manager.client("GET", path)) == (404, "events.not_found")
    assert code(await manager.client("PUT", path, json_body=update(shop, draft))) == (404, "events.not_found")
    assert (await manager.client("GET", f"{EVENTS}?mine=true")).data == []
    tag = (await made.founder.client("GET", path)).header("etag")
    fresh = await manager.client("GET", path, headers={"if-none-match": tag or ""})
    assert fresh.status == 404


async def test_mine_is_everything_of_my_organizations_and_nothing_else(shop: Shop) -> None:
    first, second, foreign = await staffed(shop), await agency(shop), await agency(shop)
    manager = first.people["manager"]
    await second.join("finance", manager)
    expected = set()
    for made in (first, second, foreign):
        event, draft = await shop.published(made.founder)
        other = await shop.draft(made.founder, title="Draft")
        if made is not foreign:
            expected |= {draft["id"], other["id"]}
        assert event.id
    alone = await shop.draft(manager, title="Own")
    expected.add(alone["id"])
    listed = (await manager.client("GET", f"{EVENTS}?mine=true&perPage=50")).data
    assert {one["id"] for one in listed} == expected
    walked: list[str] = []
    cursor = ""
    while True:
        page = (await manager.client("GET", f"{EVENTS}?mine=true&cursor={cursor}&limit=2")).json
        walked += [one["id"] for one in page["data"]]
        cursor = page["meta"]["page"].get("nextCursor")
        if not cursor:
            break
    assert sorted(walked) == sorted(expected)
    gate = first.people["gate"]
    seen = (await gate.client("GET", f"{EVENTS}?mine=true")).data
    assert [one["status"] for one in seen] == ["upcoming"]


async def test_a_draft_is_for_the_organization_that_is_named_and_published_by_its_wallet(shop: Shop) -> None:
    made, foreign = await staffed(shop), await agency(shop)
    manager = made.people["manager"]
    draft = await shop.draft(manager, organizationId=made.id)
    assert (draft["organizationId"], draft["organizer"]) == (made.id, made.founder.text)
    for role in ("finance", "gate"):
        body = shop.content(organizationId=made.id)
        refused = await made.people[role].client("POST", EVENTS, json_body=body)
        assert code(refused) == (403, "organizations.permission_missing"), role
    for organization in (foreign.id, str(uuid4())):
        refused = await manager.client("POST", EVENTS, json_body=shop.content(organizationId=organization))
        assert code(refused) == (404, "organizations.not_found")
    body = {**update(shop, draft), "organizationId": foreign.id}
    assert (await manager.client("PUT", f"{EVENTS}/{draft['id']}", json_body=body)).status == 422
    await shop.keep_document(manager, draft)
    row = await shop.database.fetchrow(
        "SELECT organizer FROM metadata_documents WHERE draft_id = $1", UUID(draft["id"])
    )
    assert row is not None
    assert row["organizer"] == made.founder.address


async def test_a_draft_whose_wallet_has_left_is_published_by_another_or_not_at_all(shop: Shop) -> None:
    made = await staffed(shop)
    draft = await shop.draft(made.founder)
    await made.ask(made.people["owner"], "POST", "/wallets")
    await made.ask(made.founder, "DELETE", f"/wallets/{made.founder.text}")
    await shop.keep_document(made.people["manager"], draft)
    read = (await made.people["manager"].client("GET", f"{EVENTS}/{draft['id']}")).data
    assert (read["organizationId"], read["organizer"]) == (made.id, made.people["owner"].text)
    event = await shop.mined(made.people["owner"], draft)
    assert await shown(shop, draft["id"]) == (made.id, "Harbour Nights")
    assert await shown(shop, event.id) == (made.id, "Harbour Nights")
    second = await shop.draft(made.people["owner"])
    await made.ask(made.people["owner"], "DELETE", f"/wallets/{made.people['owner'].text}")
    refused = await made.people["manager"].client("POST", f"{EVENTS}/{second['id']}/publish")
    assert code(refused) == (409, "organizations.no_wallet")
    body = shop.content(organizationId=made.id)
    assert code(await made.people["manager"].client("POST", EVENTS, json_body=body)) == (
        409,
        "organizations.no_wallet",
    )


async def test_drafts_that_the_version_before_wrote_are_their_wallets(shop: Shop) -> None:
    """It knows no organizations and leaves the column empty, also while this version runs beside it."""
    made = await staffed(shop)
    draft = await shop.draft(made.founder)
    await shop.database.execute(
        "UPDATE event_drafts SET organization_id = NULL WHERE id = $1", UUID(draft["id"])
    )
    manager = made.people["manager"]
    assert (await manager.client("GET", f"{EVENTS}/{draft['id']}")).data["organizationId"] == made.id
    assert [one["id"] for one in (await manager.client("GET", f"{EVENTS}?mine=true")).data] == [draft["id"]]
    alone: Person = await shop.person()
    own = await shop.draft(alone)
    await shop.database.execute(
        "UPDATE event_drafts SET organization_id = NULL WHERE id = $1", UUID(own["id"])
    )
    (home,) = (await alone.client("GET", ORGANIZATIONS)).data
    await Agency(shop, home["id"], alone).ask(alone, "DELETE", f"/wallets/{alone.text}")
    read = await alone.client("GET", f"{EVENTS}/{own['id']}")
    assert (read.status, read.data["organizationId"]) == (200, None)
    assert (await alone.client("PUT", f"{EVENTS}/{own['id']}", json_body=update(shop, own))).status == 200
    assert [one["id"] for one in (await alone.client("GET", f"{EVENTS}?mine=true")).data] == [own["id"]]
    assert (await manager.client("GET", f"{EVENTS}/{own['id']}")).status == 404
    await shop.keep_document(alone, own)


async def test_a_past_event_stays_in_sight_when_its_organization_is_gone(shop: Shop) -> None:
    person = await shop.person()
    made = await agency(shop, person)
    starts = shop.clock() + timedelta(hours=1)
    event, _ = await shop.published(
        person, startTime=rfc3339(starts), endTime=rfc3339(starts + timedelta(hours=1))
    )
    assert await shown(shop, event.id) == (made.id, "Harbour Nights")
    shop.clock.pass_by(hours=3)
    person = await shop.person(person.wallet)
    ended = await made.ask(person, "DELETE", confirm="organization.delete")
    assert ended.status == 200, ended.body
    await until_shown(shop, event.id, (None, None))
