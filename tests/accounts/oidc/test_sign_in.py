"""Signing in at a real OpenID provider, from the first page to the session."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.accounts.oidc.forger import Forger
from tests.accounts.oidc.world import (
    SECRET,
    Answered,
    Front,
    Site,
    Visitor,
    changed,
    client_of,
    query_of,
    serving,
)

from echain.infra.crypto import DataKeys

WRITTEN = {
    "users": 1,
    "identities": 1,
    "sessions": 1,
    "identity_sessions": 1,
    "oidc_starts": 0,
    "wallets": 0,
}
NOTHING = dict.fromkeys(WRITTEN, 0)


async def test_staff_sign_in_and_come_back_to_where_they_were(site: Site, corp: Front, ada: Visitor) -> None:
    away = await ada.start(returnTo="/desk?tab=sales#top")
    asked = query_of(away)
    assert away.startswith(f"{corp.issuer}/auth?")
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["redirect_uri"] == f"{site.url}/api/v1/auth/oauth/corp/callback"
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) == 43
    back = await ada.get(await ada.agree(away, "ada"))
    assert back.location == f"{site.url}/desk?tab=sales#top"
    assert back.headers["cache-control"] == "no-store"
    assert back.headers["referrer-policy"] == "no-referrer"
    assert await site.rows() == WRITTEN
    me = (await ada.get("/auth/me")).json["data"]
    assert me["address"] is None
    sessions = (await ada.get("/auth/sessions")).json["data"]
    assert [(one["id"], one["device"], one["method"]) for one in sessions] == [
        (me["sessionId"], "Firefox on Linux", "oidc")
    ]


async def test_the_session_comes_in_cookies_that_scripts_cannot_read(ada: Visitor) -> None:
    answer = await ada.sign_in()
    cookies = {one.partition("=")[0]: one for one in answer.set_cookies}
    assert set(cookies) == {"echain_token", "echain_refresh", "echain_csrf"}
    assert "HttpOnly" in cookies["echain_token"]
    assert "HttpOnly" in cookies["echain_refresh"]
    assert "SameSite=Strict" in cookies["echain_refresh"]


async def test_the_same_person_is_the_same_user_and_gets_another_session(site: Site, ada: Visitor) -> None:
    await ada.sign_in()
    first = (await ada.get("/auth/me")).json["data"]
    await ada.sign_in()
    second = (await ada.get("/auth/me")).json["data"]
    assert first["userId"] == second["userId"]
    assert first["sessionId"] != second["sessionId"]
    assert await site.rows() == WRITTEN | {"sessions": 2, "identity_sessions": 2}


async def test_somebody_else_at_the_same_provider_is_another_user(ada: Visitor, mallory: Visitor) -> None:
    await ada.sign_in("ada")
    await mallory.sign_in("eve")
    users = [(await one.get("/auth/me")).json["data"]["userId"] for one in (ada, mallory)]
    assert users[0] != users[1]


async def test_of_first_sign_ins_at_the_same_moment_one_user_comes(site: Site) -> None:
    visitors = [site.visitor() for _ in range(6)]
    try:
        backs = [await one.agree(await one.start(), "ada") for one in visitors]
        answers = await asyncio.gather(*(one.get(back) for one, back in zip(visitors, backs, strict=True)))
    finally:
        for one in visitors:
            await one.session.close()
    assert [one.status for one in answers] == [303] * 6
    assert await site.rows() == WRITTEN | {"sessions": 6, "identity_sessions": 6}


# --- How we prove ourselves to the provider ---


async def test_a_secret_of_any_characters_arrives_in_the_header(site: Site, ada: Visitor) -> None:
    assert {*"+:%/=& "} <= set(SECRET)
    assert (await ada.sign_in()).status == 303
    assert site.config.oidc[0].client_secret is not None


async def test_a_secret_goes_into_the_body_where_the_provider_takes_no_header(
    site: Site, corp: Front, ada: Visitor
) -> None:
    method = "client_secret_post"
    corp.configure(clients=[client_of(site.url, "corp", "echain", token_endpoint_auth_method=method)])

    def only_body(answer: Answered) -> None:
        answer.json = answer.json | {"token_endpoint_auth_methods_supported": [method]}

    corp.alter["/.well-known/openid-configuration"] = only_body
    assert (await ada.sign_in()).status == 303


async def test_a_public_client_needs_no_secret(database_url: str, tmp_path: Path, corp: Front) -> None:
    async with serving(database_url, tmp_path, corp, ECHAIN_OIDC_CORP_CLIENT_SECRET="") as site:
        public = client_of(site.url, "corp", "echain", token_endpoint_auth_method="none")
        del public["client_secret"]
        corp.configure(clients=[public])
        async with site.visitor() as ada:
            assert (await ada.sign_in()).status == 303


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_each_algorithm_that_we_know_signs(
    site: Site, corp: Front, ada: Visitor, algorithm: str
) -> None:
    corp.configure(clients=[client_of(site.url, "corp", "echain", id_token_signed_response_alg=algorithm)])
    assert (await ada.sign_in()).status == 303


# --- What the provider tells of people ---


async def test_what_the_provider_tells_is_shown_to_its_owner_and_sealed_at_rest(
    site: Site, ada: Visitor
) -> None:
    await ada.sign_in()
    (shown,) = (await ada.get("/auth/identities")).json["data"]
    assert (shown["provider"], shown["name"], shown["email"]) == ("corp", "Ada Lovelace", "ada@corp.example")
    row = await site.database.fetchrow("SELECT * FROM identities")
    assert row is not None
    assert b"Ada" not in row["sealed"]
    assert b"corp.example" not in row["sealed"]
    assert "corp.example" not in repr({name: value for name, value in row.items() if name != "sealed"})


async def test_names_in_the_id_token_spare_the_question(corp: Front, ada: Visitor) -> None:
    corp.configure(idTokenClaims=True)
    await ada.sign_in()
    assert (await ada.get("/auth/identities")).json["data"][0]["email"] == "ada@corp.example"
    assert corp.count("/me") == 0


async def test_what_the_id_token_says_stays_where_userinfo_says_less(corp: Front, ada: Visitor) -> None:
    Forger().rewrite(corp, lambda one: one.update(email="ada@token.example", email_verified=True))

    def only_the_name(answer: Answered) -> None:
        answer.json = {name: answer.json[name] for name in ("sub", "name")}

    corp.alter["/me"] = only_the_name
    await ada.sign_in()
    (shown,) = (await ada.get("/auth/identities")).json["data"]
    assert (shown["name"], shown["email"]) == ("Ada Lovelace", "ada@token.example")


async def test_without_the_scopes_nothing_is_asked_or_kept(
    database_url: str, tmp_path: Path, corp: Front
) -> None:
    async with (
        serving(database_url, tmp_path, corp, ECHAIN_OIDC_CORP_SCOPES="openid") as site,
        site.visitor() as ada,
    ):
        await ada.sign_in()
        (shown,) = (await ada.get("/auth/identities")).json["data"]
        assert (shown["name"], shown["email"]) == (None, None)
        assert corp.count("/me") == 0


@pytest.mark.parametrize(
    ("login", "let_in"), [("ada", True), ("bob", False), ("eve", False), ("sub", False), ("nil", False)]
)
async def test_only_confirmed_addresses_of_the_named_domains_are_let_in(
    database_url: str, tmp_path: Path, corp: Front, login: str, *, let_in: bool
) -> None:
    domains = "corp.example,corp.test"
    async with (
        serving(database_url, tmp_path, corp, ECHAIN_OIDC_CORP_DOMAINS=domains) as site,
        site.visitor() as visitor,
    ):
        answer = await visitor.sign_in(login)
        if let_in:
            assert answer.status == 303
            return
        assert (answer.status, answer.code) == (403, "auth.oidc_email_not_allowed")
        assert answer.set_cookies == []
        assert await site.rows() == NOTHING


# --- Starting, and coming back ---


async def test_providers_are_listed_for_everybody(site: Site, ada: Visitor) -> None:
    assert (await ada.get("/auth/oauth")).json["data"] == [
        {"name": "corp", "nameShown": "Corp", "startUrl": "/api/v1/auth/oauth/corp/start"}
    ]
    for path in ("start", "callback?state=x"):
        answer = await ada.get(f"/auth/oauth/nobody/{path}")
        assert (answer.status, answer.code) == (404, "auth.oidc_provider_unknown")


EVIL = (
    *("//evil.example", "///evil.example", "/\\evil.example", "\\/evil.example", "/\\/evil.example"),
    *("https:evil.example", "https://evil.example", "http:/evil.example", "javascript:alert(1)"),
    *("evil.example", "@evil.example", ".evil.example", "", " /x", "/ x", "/\t/evil.example"),
    *("/x\r\nSet-Cookie: a=b", "/x\nLocation: //evil.example", "/\x00", "/ä", "/a//b", "/" + "a" * 1_000),
    *("%2f%2fevil.example", "%68ttps://evil.example", "/..//evil.example", "?next=/", "#/x"),
)


async def test_nobody_is_led_anywhere_else(site: Site, ada: Visitor) -> None:
    for evil in EVIL:
        answer = await ada.get("/auth/oauth/corp/start", params={"returnTo": evil})
        assert (answer.status, answer.code) == (422, "request.invalid"), evil
        assert answer.json["error"]["details"]["fields"][0]["path"] == "returnTo"
    assert await site.rows() == NOTHING


async def test_paths_of_this_site_lead_back_to_it(site: Site, ada: Visitor) -> None:
    for fine in ("/", "/a/b?c=//d", "/a?next=https://other.example", "/%2F/evil.example", "/@evil.example"):
        assert (await ada.sign_in(returnTo=fine)).headers["location"] == f"{site.url}{fine}"


async def test_two_tabs_of_one_browser_may_sign_in_at_once(site: Site, ada: Visitor) -> None:
    one, two = await ada.start(returnTo="/one"), await ada.start(returnTo="/two")
    back_two, back_one = await ada.agree(two, "ada"), await ada.agree(one, "ada")
    assert (await ada.get(back_one)).location == f"{site.url}/one"
    assert (await ada.get(back_two)).location == f"{site.url}/two"


async def test_who_gives_up_at_the_provider_hears_that(site: Site, corp: Front, ada: Visitor) -> None:
    page = await ada.get(await ada.start())
    while page.status in (302, 303):
        page = await ada.get(page.location)
    answer = await ada.get(f"{page.url}/abort")
    while answer.status in (302, 303):
        answer = await ada.get(answer.location)
    assert answer.url.startswith(f"{site.url}/api/v1/auth/oauth/corp/callback?error=access_denied")
    assert (answer.status, answer.code) == (403, "auth.oidc_denied")
    assert await site.rows() == NOTHING


async def test_other_parameters_of_the_response_are_ignored(ada: Visitor) -> None:
    back = await ada.agree(await ada.start(), "ada")
    answer = await ada.get(changed(back, session_state="x", scope="openid email", authuser="0"))
    assert answer.status == 303


async def test_what_is_under_way_is_sealed(site: Site, ada: Visitor) -> None:
    asked = query_of(await ada.start())
    row = await site.database.fetchrow("SELECT * FROM oidc_starts")
    assert row is not None
    text = repr(tuple(row.values()))
    assert asked["state"] not in text
    assert asked["nonce"] not in text
    assert asked["nonce"].encode() in DataKeys(site.config.data_keys).open(
        row["sealed"], context=f"oidc_starts.sealed:{row['id']}"
    )


async def test_old_starts_do_not_pile_up(site: Site, ada: Visitor) -> None:
    for _ in range(3):
        await ada.start()
    await site.database.execute("UPDATE oidc_starts SET expires_at = now() - interval '1 second'")
    await ada.start()
    assert (await site.rows())["oidc_starts"] == 1
