"""Who asks is shown all that is held of them, and nothing of anybody else."""

from __future__ import annotations

import json

from tests.notify.pushservice import Browser as PushBrowser
from tests.privacy.home import EXPORT, Home

from echain.accounts import personalrest
from echain.accounts.erasing import ROWS_AT_ONCE
from echain.kernel.evm import checksum
from echain.kernel.time import utc_now

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


async def test_a_newcomers_export_has_every_section_and_their_wallet(home: Home) -> None:
    ada = await home.person(user_agent=FIREFOX)
    shown = await ada.export()
    assert shown["userId"] == str(ada.user_id)
    assert set(shown["sections"]) == {one.name for held in home.holdings for one in held.sections}
    assert all(part["about"] and part["next"] is None for part in shown["sections"].values())
    [wallet] = shown["sections"]["wallets"]["rows"]
    assert wallet["address"] == checksum(ada.address)
    [session] = shown["sections"]["sessions"]["rows"]
    assert session["device"] == "Firefox on Linux"
    assert shown["sections"]["account"]["rows"][0]["id"] == str(ada.user_id)


async def test_sealed_values_are_opened_for_their_owner_alone(home: Home) -> None:
    ada, eve = await home.person(), await home.person()
    await ada.ask("PUT", "/me/email", {"email": "ada@harbour.example"})
    browser = PushBrowser("https://push.example.com/ada-s-browser")
    await ada.ask("POST", "/push/subscriptions", browser.subscription)
    hers, others = await ada.export(), json.dumps(await eve.export())
    assert hers["sections"]["emailVerifications"]["rows"][0]["address"] == "ada@harbour.example"
    assert hers["sections"]["pushSubscriptions"]["rows"][0]["endpoint"].endswith("ada-s-browser")
    for secret in ("ada@harbour", "ada-s-browser", str(ada.user_id), checksum(ada.address)):
        assert secret not in others


async def test_keys_are_shown_without_their_secret_and_open_no_export(home: Home) -> None:
    ada = await home.person()
    scopes = await ada.ask("GET", "/api-keys/scopes")
    made = await ada.ask("POST", "/api-keys", {"name": "till", "scopes": scopes})
    [key] = (await ada.export())["sections"]["apiKeys"]["rows"]
    assert (key["name"], key["prefix"]) == ("till", made["key"][:12])
    assert made["key"] not in json.dumps(await ada.export())
    by_key = home.client(made["key"])
    assert (await by_key("GET", EXPORT)).error["code"] == "auth.scope_missing"
    assert (await by_key("DELETE", "/api/v1/auth/account")).error["code"] == "auth.scope_missing"


async def test_more_rows_than_fit_follow_page_by_page_each_once(home: Home) -> None:
    ada, eve = await home.person(), await home.person()
    count = 2 * ROWS_AT_ONCE + 1
    for person, of in ((ada, count), (eve, 3)):
        await home.database.execute(
            """
            INSERT INTO notifications (id, user_id, address, kind, occasion, data, visible, created_at)
            SELECT gen_random_uuid(), $1, $2, 'purchase', 'test ' || n, '{}', TRUE, $3
              FROM generate_series(1, $4) AS n
            """,
            *(person.user_id, person.address, utc_now(), of),
        )
    part = (await ada.export())["sections"]["notifications"]
    seen = [row["id"] for row in part["rows"]]
    while part["next"] is not None:
        answer = await ada.client("GET", f"{EXPORT}/notifications?after={part['next']}")
        part = answer.data
        assert len(part["rows"]) <= ROWS_AT_ONCE
        seen += [row["id"] for row in part["rows"]]
    assert len(seen) == len(set(seen)) == count
    theirs = await home.database.fetch("SELECT id FROM notifications WHERE user_id = $1", ada.user_id)
    assert set(seen) == {str(row["id"]) for row in theirs}
    assert (await ada.client("GET", f"{EXPORT}/nothing?after=x")).error["code"] == "auth.section_unknown"


async def test_what_others_did_and_invited_names_is_not_shown(home: Home) -> None:
    """Who invited somebody by mail is not shown whom; a stranger sees nothing of the organization."""
    ada, bo = await home.person(), await home.person()
    house = await ada.ask("POST", "/organizations", {"name": "The House"})
    invited = await ada.ask(
        "POST", f"/organizations/{house['id']}/invitations", {"role": "gate", "email": "cy@harbour.example"}
    )
    shown = json.dumps(await ada.export())
    assert "The House" in shown
    assert invited["id"] in shown
    assert "cy@harbour.example" not in shown
    assert "The House" not in json.dumps(await bo.export())


async def test_exports_are_counted_and_the_next_says_when(home: Home) -> None:
    ada, eve = await home.person(), await home.person()
    for _ in range(personalrest.EXPORTS.most):
        assert (await ada.client("GET", EXPORT)).status == 200
    refused = await ada.client("GET", EXPORT)
    assert (refused.status, refused.error["code"]) == (429, "request.limit_reached")
    assert int(refused.header("retry-after") or 0) > 0
    assert (await eve.client("GET", EXPORT)).status == 200


async def test_an_erased_account_is_shown_nothing(home: Home) -> None:
    ada = await home.person()
    assert (await ada.erase()).status == 200
    assert (await ada.client("GET", EXPORT)).status == 401
