"""Who administers the platform: by configuration, by others, with a fresh signature, not a moment longer."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from tests.accounts.people import LASTING, Browser, Wallet
from tests.edge.http_client import Answered, Client
from tests.events.shop import Person
from tests.infra.relaying import running
from tests.security.tower import Tower, _application

from echain.accounts import adminstore
from echain.accounts import service as accounts
from echain.accounts.admins import Administrators
from echain.accounts.admintypes import UserSuspended
from echain.accounts.keys import create
from echain.accounts.types import IssuedKey, KeyLimits
from echain.edge.http import Caller
from echain.infra.database import Tx

ADMINS = "/api/v1/admin/admins"
USERS = "/api/v1/admin/users"


async def is_admin(person: Person) -> bool:
    answer = await person.client("GET", ADMINS)
    assert answer.status in (200, 403), answer.body
    return answer.status == 200


async def user_id(tower: Tower, person: Person) -> str:
    return str((await person.client("GET", "/api/v1/auth/me")).data["userId"])


async def confirmed(tower: Tower, by: Person, what: str, user: str) -> Answered:
    header = await tower.confirmed(by, f"user.{what}", user)
    return await by.client("POST", f"{USERS}/{user}/{what}", headers=header)


async def key_of(tower: Tower, tx: Tx, caller: Caller) -> IssuedKey:
    """Make an API key of somebody."""
    return await create(
        tx,
        caller,
        name="key",
        scopes=("events:read",),
        known_scopes={"events:read"},
        limits=KeyLimits(),
        most=KeyLimits(1_000, 6_000),
        expires_at=None,
        now=tower.clock(),
    )


def orphaned(tower: Tower) -> None:
    """Let the configuration name nobody from now on."""
    tower.administrators.configured = frozenset()
    tower.shop.authenticator.forget_all()


async def test_an_administrator_by_configuration_appoints_others_who_appoint_others(inland: Tower) -> None:
    ada, bo = await inland.person(), await inland.person()
    assert not await is_admin(ada)
    answer = await inland.appoint(inland.boss, ada.text)
    assert (answer.status, answer.data["address"], answer.data["grantedBy"]) == (
        *(201, ada.text),
        inland.boss.text,
    )
    assert await is_admin(ada), "at once, with the session that they have"
    inland.clock.pass_by(seconds=1)
    assert (await inland.appoint(ada, bo.text)).status == 201
    listed = (await bo.client("GET", ADMINS)).data
    assert [(one["address"], one["configured"]) for one in listed] == [
        (inland.boss.text, True),
        (ada.text, False),
        (bo.text, False),
    ]
    again = await inland.appoint(ada, bo.text)
    assert (again.status, again.error["code"]) == (409, "admin.already_administrator")
    assert (await inland.appoint(ada, inland.boss.text)).error["code"] == "admin.already_administrator"


async def test_without_a_fresh_signature_for_this_very_thing_nothing_is_done(inland: Tower) -> None:
    ada, bo = await inland.person(), await inland.person()
    body = {"address": ada.text}
    bare = await inland.boss.client("POST", ADMINS, json_body=body)
    assert (bare.status, bare.error["code"]) == (403, "auth.confirmation_needed")
    for header in (
        await inland.confirmed(inland.boss, "admin.grant", bo.text),
        await inland.confirmed(inland.boss, "admin.revoke", ada.text),
        await inland.confirmed(ada, "admin.grant", ada.text),
    ):
        other = await inland.boss.client("POST", ADMINS, json_body=body, headers=header)
        assert (other.status, other.error["code"]) == (403, "auth.confirmation_invalid")
    header = await inland.confirmed(inland.boss, "admin.grant", ada.text)
    assert (await inland.boss.client("POST", ADMINS, json_body=body, headers=header)).status == 201
    assert (await inland.dismiss(inland.boss, ada.text)).status == 200
    replayed = await inland.boss.client("POST", ADMINS, json_body=body, headers=header)
    assert (replayed.status, replayed.error["code"]) == (403, "auth.confirmation_invalid")
    assert not await is_admin(ada)


async def test_the_role_ends_at_once_in_every_process(inland: Tower, database_url: str) -> None:
    ada = await inland.person()
    elsewhere = accounts.authenticator(inland.database, inland.clock, LASTING, inland.administrators)
    app = _application(inland.shop, inland.rpc, inland.administrators, inland.tools)
    app._authenticate = elsewhere
    other = Person(ada.wallet, Client(app, ada.client.defaults))
    async with running(elsewhere.follow(database_url)):
        await inland.appoint(inland.boss, ada.text)
        async with asyncio.timeout(20):
            while not await is_admin(other):
                await asyncio.sleep(0.02)
        assert (await inland.dismiss(inland.boss, ada.text)).status == 200
        assert not await is_admin(ada), "in the process that took it"
        # The clock stands, so nothing that is remembered grows old.
        async with asyncio.timeout(20):
            while await is_admin(other):
                await asyncio.sleep(0.02)
    assert (await ada.client("GET", "/api/v1/auth/me")).status == 200, "they are signed in as before"


async def test_who_is_configured_cannot_be_revoked_and_strangers_have_no_role(inland: Tower) -> None:
    configured = await inland.dismiss(inland.boss, inland.boss.text)
    assert (configured.status, configured.error["code"]) == (409, "admin.configured_administrator")
    stranger = await inland.dismiss(inland.boss, Wallet(inland.clock).address)
    assert (stranger.status, stranger.error["code"]) == (404, "admin.administrator_not_found")
    wrong = await inland.boss.client("DELETE", f"{ADMINS}/0x12")
    assert wrong.status == 422


async def test_the_last_administrator_stays_where_none_is_configured(inland: Tower) -> None:
    ada, bo = await inland.person(), await inland.person()
    for person in (ada, bo):
        await inland.appoint(inland.boss, person.text)
    orphaned(inland)
    assert (await inland.dismiss(ada, ada.text)).status == 200, "bo is left"
    last = await inland.dismiss(bo, bo.text)
    assert (last.status, last.error["code"]) == (409, "admin.last_administrator")
    assert await is_admin(bo)


async def test_administrators_who_revoke_each_other_at_once_never_leave_none(inland: Tower) -> None:
    for _ in range(8):
        people = [await inland.person() for _ in range(3)]
        for person in people:
            inland.administrators.configured = frozenset({inland.boss.address})
            inland.shop.authenticator.forget_all()
            assert (await inland.appoint(inland.boss, person.text)).status == 201
        orphaned(inland)
        circle = [(one, people[(place + 1) % 3]) for place, one in enumerate(people)]
        headers = [await inland.confirmed(one, "admin.revoke", other.text) for one, other in circle]
        answers = await asyncio.gather(
            *(
                one.client("DELETE", f"{ADMINS}/{other.text}", headers=header)
                for (one, other), header in zip(circle, headers, strict=True)
            )
        )
        assert {answer.status for answer in answers} <= {200, 403, 409}
        left = await inland.database.fetchval("SELECT count(*) FROM platform_admins")
        assert left == 3 - sum(answer.status == 200 for answer in answers)
        assert left >= 1
        await inland.database.execute("DELETE FROM platform_admins")


async def test_only_a_session_that_the_wallet_itself_signed_in_has_the_role(inland: Tower) -> None:
    other = Wallet(inland.clock)
    me = await user_id(inland, inland.boss)
    signed_in = await inland.person(other)
    # Both wallets are one user's now, as when somebody links a second.
    await inland.database.execute("UPDATE wallets SET user_id = $1 WHERE address = $2", me, signed_in.address)
    await inland.database.execute(
        "UPDATE sessions SET user_id = $1 WHERE address = $2", me, signed_in.address
    )
    inland.shop.authenticator.forget_all()
    second = await inland.person(other)
    assert await user_id(inland, second) == me
    assert not await is_admin(second)
    assert await is_admin(inland.boss)


async def test_no_api_key_opens_the_desk_not_even_an_administrators(inland: Tower) -> None:
    caller = await inland.shop.authenticator(dict(inland.boss.client.defaults), {})
    assert caller is not None
    assert caller.admin
    async with inland.database.transaction() as tx:
        issued = await key_of(inland, tx, caller)
    answer = await Client(inland.app, {"authorization": f"Bearer {issued.key}"})("GET", ADMINS)
    assert (answer.status, answer.error["code"]) == (403, "auth.administrators_only")


async def test_changes_of_the_role_are_alarms_each_and_stand_in_the_audit_log(inland: Tower) -> None:
    ada = await inland.person()
    await inland.appoint(inland.boss, ada.text)
    await inland.dismiss(inland.boss, ada.text)
    alarms = await inland.alarms()
    for alarm in alarms:
        assert (alarm["kind"], alarm["severity"], alarm["subject"]) == ("admin_changed", "severe", ada.text)
        assert alarm["facts"]["by"] == inland.boss.text
    # Two jobs raise them, side by side.
    assert sorted(alarm["facts"]["change"] for alarm in alarms) == ["granted", "revoked"]
    entries = (await inland.boss.client("GET", "/api/v1/admin/audit?action=admin.")).data
    assert [(one["action"], one["resource"], one["actor"]["address"]) for one in entries] == [
        ("admin.revoked", f"wallet:{ada.text}", inland.boss.text),
        ("admin.granted", f"wallet:{ada.text}", inland.boss.text),
    ]


# --- suspending ---


async def test_a_suspended_user_is_out_at_once_everywhere_and_can_come_back(inland: Tower) -> None:
    wallet = Wallet(inland.clock)
    phone, laptop = await inland.person(wallet), await inland.person(wallet)
    user = await user_id(inland, phone)
    answer = await confirmed(inland, inland.boss, "suspend", user)
    assert (answer.status, answer.data["sessions"], answer.data["apiKeys"]) == (200, 0, 0)
    assert answer.data["suspendedAt"] is not None
    for person in (phone, laptop):
        refused = await person.client("GET", "/api/v1/auth/me")
        assert (refused.status, refused.error["code"]) == (401, "auth.token_invalid")
    browser = inland.browser()
    nonce = (await browser.get("/nonce")).data["nonce"]
    message = wallet.message(nonce)
    refused = await browser.verify(message, wallet.sign(message))
    assert (refused.status, refused.code) == (403, "auth.user_suspended")
    assert "administrators" in refused.body["error"]["message"]
    again = await confirmed(inland, inland.boss, "suspend", user)
    assert (again.status, again.error["code"]) == (409, "admin.already_suspended")
    back = await confirmed(inland, inland.boss, "reinstate", user)
    assert (back.status, back.data["suspendedAt"]) == (200, None)
    assert (await phone.client("GET", "/api/v1/auth/me")).status == 401, "what ended stays ended"
    assert (await (await inland.person(wallet)).client("GET", "/api/v1/auth/me")).status == 200
    fine = await confirmed(inland, inland.boss, "reinstate", user)
    assert (fine.status, fine.error["code"]) == (409, "admin.not_suspended")


async def test_refreshing_does_not_survive_a_suspension(inland: Tower) -> None:
    wallet = Wallet(inland.clock)
    browser = inland.browser()
    grant = await wallet.sign_in(browser)
    await confirmed(inland, inland.boss, "suspend", grant["userId"])
    refused = await browser.refresh(grant["refreshToken"])
    assert (refused.status, refused.code) == (401, "auth.refresh_unknown")


async def test_who_signs_in_while_being_suspended_is_refused_or_ended(inland: Tower) -> None:
    for _ in range(10):
        wallet = Wallet(inland.clock)
        person = await inland.person(wallet)
        user = await user_id(inland, person)
        browsers: list[Browser] = []
        signed: list[tuple[str, str]] = []
        for _ in range(4):
            browser = inland.browser()
            message = wallet.message((await browser.get("/nonce")).data["nonce"])
            browsers.append(browser)
            signed.append((message, wallet.sign(message)))
        answers = await asyncio.gather(
            confirmed(inland, inland.boss, "suspend", user),
            *(browser.verify(*one) for browser, one in zip(browsers, signed, strict=True)),
        )
        assert answers[0].status == 200
        live = await inland.database.fetchval(
            "SELECT count(*) FROM sessions WHERE user_id = $1 AND ended_at IS NULL", user
        )
        assert live == 0


async def test_who_signs_in_as_a_suspension_commits_waits_for_it_and_is_refused(inland: Tower) -> None:
    person = await inland.person()
    user = UUID(await user_id(inland, person))
    async with inland.database.transaction() as tx:
        await inland.administrators.suspend(tx, user, now=inland.clock())
        signing = asyncio.create_task(_open_session(inland, user, person))
        async with asyncio.timeout(20):
            while not await inland.database.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            ):
                assert not signing.done(), "it did not wait"
                await asyncio.sleep(0.01)
    with pytest.raises(UserSuspended):
        await signing
    live = "SELECT count(*) FROM sessions WHERE user_id = $1 AND ended_at IS NULL"
    assert await inland.database.fetchval(live, user) == 0


async def _open_session(tower: Tower, user: UUID, person: Person) -> None:
    async with tower.database.transaction() as tx:
        await accounts.open_session(
            tx, LASTING, user, address=person.address, device="test", now=tower.clock(), method="wallet"
        )


async def test_a_key_cannot_be_made_by_a_session_that_a_process_still_remembers(inland: Tower) -> None:
    person = await inland.person()
    caller = await inland.shop.authenticator(dict(person.client.defaults), {})
    assert caller is not None
    await confirmed(inland, inland.boss, "suspend", str(caller.id))
    async with inland.database.transaction() as tx:
        with pytest.raises(UserSuspended):
            await key_of(inland, tx, caller)


async def test_administrators_cannot_be_suspended_and_the_suspended_not_appointed(inland: Tower) -> None:
    ada, bo = await inland.person(), await inland.person()
    await inland.appoint(inland.boss, ada.text)
    for admin in (ada, inland.boss):
        kept = await confirmed(inland, inland.boss, "suspend", await user_id(inland, admin))
        assert (kept.status, kept.error["code"]) == (409, "admin.administrator_protected")
        assert await is_admin(admin)
    await confirmed(inland, inland.boss, "suspend", await user_id(inland, bo))
    refused = await inland.appoint(inland.boss, bo.text)
    assert (refused.status, refused.error["code"]) == (403, "auth.user_suspended")
    async with inland.database.connection() as connection:
        assert not await adminstore.is_granted(connection, bo.address)


async def test_a_suspension_needs_its_own_signature_and_an_existing_user(inland: Tower) -> None:
    ada = await inland.person()
    user = await user_id(inland, ada)
    bare = await inland.boss.client("POST", f"{USERS}/{user}/suspend")
    assert (bare.status, bare.error["code"]) == (403, "auth.confirmation_needed")
    nobody = "01890000-0000-7000-8000-000000000000"
    for what in ("suspend", "reinstate"):
        answer = await confirmed(inland, inland.boss, what, nobody)
        assert (answer.status, answer.error["code"]) == (404, "admin.user_not_found")
    assert (await ada.client("GET", "/api/v1/auth/me")).status == 200


# --- looking ---


async def test_users_are_found_by_wallet_by_its_beginning_and_by_id(inland: Tower) -> None:
    people = [await inland.person() for _ in range(5)]
    wanted = people[2]
    user = await user_id(inland, wanted)
    for search in (wanted.text, wanted.text.lower()[:14], user):
        [found] = (await inland.boss.client("GET", f"{USERS}?search={search}")).data
        assert (found["id"], found["addresses"]) == (user, [wanted.text])
    assert (await inland.boss.client("GET", f"{USERS}?search=0x12")).status == 422
    assert (await inland.boss.client("GET", f"{USERS}?search=%25")).status == 422
    detail = (await inland.boss.client("GET", f"{USERS}/{user}")).data
    assert (detail["sessions"], detail["apiKeys"], detail["administrator"]) == (1, 0, False)
    gone = await inland.boss.client("GET", f"{USERS}/01890000-0000-7000-8000-000000000000")
    assert (gone.status, gone.error["code"]) == (404, "admin.user_not_found")


async def test_users_are_listed_in_parts_that_together_are_all_of_them(inland: Tower) -> None:
    for _ in range(5):
        await inland.person()
    seen: list[str] = []
    cursor = ""
    while True:
        page = await inland.boss.client("GET", f"{USERS}?limit=2{cursor}")
        seen += [one["id"] for one in page.data]
        following = page.json["meta"]["page"].get("nextCursor")
        if following is None:
            break
        cursor = f"&cursor={following}"
    assert len(seen) == len(set(seen)) == 6
    await confirmed(inland, inland.boss, "suspend", seen[0])
    [out] = (await inland.boss.client("GET", f"{USERS}?suspended=true")).data
    assert out["id"] == seen[0]
    assert len((await inland.boss.client("GET", f"{USERS}?suspended=false")).data) == 5


async def test_nothing_of_a_users_mail_is_shown_to_administrators(inland: Tower) -> None:
    ada = await inland.person()
    await inland.town.confirm(ada, "ada.private@harbour.example")
    user = await user_id(inland, ada)
    for path in (f"{USERS}/{user}", f"{USERS}?search={user}", "/api/v1/admin/audit", "/api/v1/admin/jobs"):
        answer = await inland.boss.client("GET", path)
        assert answer.status == 200
        assert b"harbour.example" not in answer.body


async def test_the_administrators_of_a_configuration_are_known_without_a_row() -> None:
    wallet = bytes(19) + b"\x01"
    assert await Administrators([wallet]).include(None, wallet)  # type: ignore[arg-type]
    assert not await Administrators([wallet]).include(None, None)  # type: ignore[arg-type]
