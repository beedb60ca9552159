"""Sessions in cookies: what a page of ours may do with them, and nobody else's page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.accounts.people import PUBLIC_URL, Answer, Browser, Clock, Process, Wallet

from echain.accounts.accesstokens import AccessTokens
from echain.infra.database import Database
from echain.infra.secret import Secret

OURS = {"origin": PUBLIC_URL}
TOKEN, REFRESH, CSRF = "__Host-echain_token", "__Host-echain_refresh", "__Host-echain_csrf"


@dataclass
class Page:
    """A page of ours in a browser that is signed in by cookies."""

    browser: Browser
    csrf: str
    grant: dict[str, Any] = field(default_factory=dict)

    async def send(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send as the page's script does; a header given as "" stays away."""
        given = {**OURS, "x-csrf-token": self.csrf, **headers}
        return await self.browser.send(method, path, body, **{k: v for k, v in given.items() if v})


async def opened(browser: Browser, wallet: Wallet, **headers: str) -> Page:
    nonce = (await browser.get("/nonce")).data["nonce"]
    message = wallet.message(nonce)
    body = {"message": message, "signature": wallet.sign(message), "cookies": True}
    answer = await browser.send("POST", "/verify", body, **(headers or OURS))
    assert answer.status == 200, answer.body
    return Page(browser, answer.data["csrfToken"], answer.data)


@pytest.fixture
async def page(browser: Browser, wallet: Wallet) -> Page:
    return await opened(browser, wallet)


def refused(answer: Answer) -> None:
    assert (answer.status, answer.code) == (403, "auth.csrf"), answer.body


# --- what is given ---


async def test_signing_in_with_cookies_shows_no_token_to_scripts(browser: Browser, wallet: Wallet) -> None:
    page = await opened(browser, wallet)
    assert set(page.grant) == {
        "accessExpiresAt",
        "refreshExpiresAt",
        "sessionId",
        "userId",
        "address",
        "csrfToken",
        "tokenType",
    }
    assert browser.token is None
    assert (await browser.get("/me")).data == {
        "userId": page.grant["userId"],
        "address": wallet.address,
        "sessionId": page.grant["sessionId"],
        "csrfToken": page.csrf,
    }


async def test_each_cookie_is_kept_from_scripts_sites_and_neighbours_as_far_as_it_can(
    browser: Browser, wallet: Wallet
) -> None:
    nonce = (await browser.get("/nonce")).data["nonce"]
    message = wallet.message(nonce)
    body = {"message": message, "signature": wallet.sign(message), "cookies": True}
    answer = await browser.send("POST", "/verify", body, **OURS)
    attributes = {c.partition("=")[0]: set(c.split("; ")[1:]) for c in answer.set_cookies}
    month = "Max-Age=2592000"
    assert attributes == {
        TOKEN: {"Path=/", "SameSite=Lax", "Max-Age=600", "HttpOnly", "Secure"},
        REFRESH: {"Path=/", "SameSite=Strict", month, "HttpOnly", "Secure"},
        CSRF: {"Path=/", "SameSite=Strict", month, "Secure"},
    }
    assert answer.headers["cache-control"] == "no-store"
    assert browser.cookies[CSRF] == answer.data["csrfToken"]
    for name in (TOKEN, REFRESH):
        assert browser.cookies[name] not in str(answer.body)


async def test_each_sign_in_opens_a_new_session_whatever_cookies_were_planted(
    browser: Browser, wallet: Wallet, clock: Clock, process: Process
) -> None:
    mallory = await opened(Browser(process), Wallet(clock))
    planted = {name: mallory.browser.cookies[name] for name in (TOKEN, REFRESH, CSRF)}
    browser.cookies.update(planted)
    page = await opened(browser, wallet)
    assert page.grant["sessionId"] != mallory.grant["sessionId"]
    assert page.csrf != mallory.csrf
    for name, value in planted.items():
        assert browser.cookies[name] != value
    assert (await mallory.browser.get("/me")).data["address"] != wallet.address
    again = await opened(browser, wallet)
    assert again.grant["sessionId"] != page.grant["sessionId"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": ""},
    ],
    ids=str,
)
async def test_no_other_page_signs_a_browser_in(
    browser: Browser, wallet: Wallet, headers: dict[str, str]
) -> None:
    nonce = (await browser.get("/nonce")).data["nonce"]
    message = wallet.message(nonce)
    body = {"message": message, "signature": wallet.sign(message), "cookies": True}
    refused(await browser.send("POST", "/verify", body, **{k: v for k, v in headers.items() if v}))
    assert (await opened_with(browser, wallet, message)).status == 200, "the nonce is still good"


async def opened_with(browser: Browser, wallet: Wallet, message: str) -> Answer:
    body = {"message": message, "signature": wallet.sign(message), "cookies": True}
    return await browser.send("POST", "/verify", body, **OURS)


# --- what it takes to change anything ---

WRITES: dict[str, Callable[[Page], tuple[str, str, object]]] = {
    "logout": lambda _: ("POST", "/logout", None),
    "everywhere": lambda _: ("DELETE", "/sessions", None),
    "one session": lambda page: ("DELETE", f"/sessions/{page.grant['sessionId']}", None),
    "naming": lambda page: ("PUT", f"/sessions/{page.grant['sessionId']}", {"name": "Desk"}),
    "confirming": lambda page: (
        "POST",
        "/confirmations",
        {"action": "account.erase", "target": page.grant["userId"]},
    ),
    "refresh": lambda _: ("POST", "/refresh", None),
}
FORGED: dict[str, dict[str, str]] = {
    "no token": {"x-csrf-token": ""},
    "a wrong token": {"x-csrf-token": "A" * 43},
    "a token cut short": {"x-csrf-token": "A"},
    "a token beyond ASCII": {"x-csrf-token": "é" * 43},
    "a foreign origin": {"origin": "https://evil.example"},
    "a neighbour": {"origin": "https://evil.tickets.example"},
    "our name in front of another": {"origin": "https://tickets.example.evil.example"},
    "another scheme": {"origin": "http://tickets.example"},
    "another port": {"origin": "https://tickets.example:8443"},
    "no origin that is told": {"origin": "null"},
    "neither origin nor site": {"origin": ""},
    "another site": {"origin": "", "sec-fetch-site": "cross-site"},
    "a sibling": {"origin": "", "sec-fetch-site": "same-site"},
    "the address bar": {"origin": "", "sec-fetch-site": "none"},
    "two words that differ": {"sec-fetch-site": "cross-site"},
}


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_nothing_is_changed_by_cookie_unless_a_page_of_ours_shows_its_sessions_token(
    page: Page, write: Callable[[Page], tuple[str, str, object]], headers: dict[str, str]
) -> None:
    method, path, body = write(page)
    before = dict(page.browser.cookies)
    refused(await page.send(method, path, body, **headers))
    assert page.browser.cookies == before
    assert (await page.browser.get("/me")).data["sessionId"] == page.grant["sessionId"]
    assert [one["name"] for one in (await page.browser.get("/sessions")).data] == [None]
    assert (await page.send(method, path, body)).status in (200, 201), "meant, it is done"


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_another_sessions_token_does_not_stand_in(
    page: Page, process: Process, clock: Clock, write: Callable[[Page], tuple[str, str, object]]
) -> None:
    """A signed-in attacker has a token of ours, only not this session's."""
    mallory = await opened(Browser(process), Wallet(clock))
    method, path, body = write(page)
    refused(await page.send(method, path, body, **{"x-csrf-token": mallory.csrf}))


async def test_a_planted_copy_of_a_token_is_none_to_what_knows_the_session(
    page: Page, process: Process, clock: Clock
) -> None:
    """Who could plant a cookie could copy his own token into both places: it is bound to the session."""
    mallory = await opened(Browser(process), Wallet(clock))
    page.browser.cookies[CSRF] = mallory.csrf
    refused(await page.send("POST", "/logout", **{"x-csrf-token": mallory.csrf}))


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]
)
@pytest.mark.parametrize("path", ["/logout", "/refresh", "/verify", "/confirmations"])
async def test_what_a_form_can_send_changes_nothing(page: Page, content_type: str, path: str) -> None:
    """No form can set a header of ours, and its content types carry no JSON here."""
    sent = {"content-type": content_type, "origin": "https://evil.example"}
    answer = await page.browser.send("POST", path, {"cookies": True}, **sent)
    assert answer.status in (403, 415)
    assert (await page.browser.get("/me")).status == 200
    ours = await page.send("POST", "/confirmations", {"action": "x"}, **{"content-type": content_type})
    assert ours.status == 415


async def test_reading_by_cookie_needs_no_token(page: Page) -> None:
    for path in ("/me", "/sessions"):
        assert (await page.browser.get(path)).status == 200
        assert (await page.browser.send("GET", path, origin="https://evil.example")).status == 200


async def test_what_foreign_pages_make_a_browser_read_stays_closed_to_them(page: Page) -> None:
    answer = await page.browser.send("GET", "/me", origin="https://evil.example")
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


async def test_where_a_browser_tells_no_origin_its_word_of_the_same_site_counts(page: Page) -> None:
    answer = await page.send("POST", "/logout", **{"origin": "", "sec-fetch-site": "same-origin"})
    assert answer.status == 200


async def test_a_bearer_token_beside_a_cookie_wins(
    page: Page, process: Process, clock: Clock, wallet: Wallet
) -> None:
    other = Browser(process)
    grant = await Wallet(clock).sign_in(other)
    both = replace(page.browser, token=grant["accessToken"])
    assert (await both.get("/me")).data["address"] == grant["address"]
    named = await both.send("PUT", f"/sessions/{grant['sessionId']}", {"name": "Desk"})
    assert named.status == 200, "a bearer token is sent by nobody but who holds it"
    wrong = replace(page.browser, token="eca_" + "A" * 43)
    assert (await wrong.get("/me")).code == "auth.token_invalid", "and it is not passed over"
    assert (await page.browser.get("/me")).data["address"] == wallet.address


async def test_another_scheme_beside_a_cookie_is_somebody_elses_business(page: Page) -> None:
    """A proxy in front may ask for a password of its own."""
    assert (await page.browser.send("GET", "/me", authorization="Basic dTpw")).status == 200


@pytest.mark.parametrize("name", [TOKEN, REFRESH, CSRF])
async def test_no_credential_works_in_anothers_place(page: Page, name: str) -> None:
    value = page.browser.cookies[name]
    for place in {TOKEN, REFRESH, CSRF} - {name}:
        mixed = replace(page.browser, cookies={**page.browser.cookies, place: value})
        answer = await Page(mixed, page.csrf).send("POST", "/refresh" if place != TOKEN else "/logout")
        assert answer.status in (401, 403), (name, place)
    assert (await page.browser.get("/me")).status == 200


async def test_without_https_the_cookies_are_ones_that_browsers_keep(
    start: Callable[..., Process], wallet: Wallet
) -> None:
    local = "http://127.0.0.1:8000"
    tokens = AccessTokens([Secret("11" * 32)], issuer=local)
    browser = Browser(start(local, tokens=tokens))
    nonce = (await browser.get("/nonce")).data["nonce"]
    message = wallet.message(nonce, domain="127.0.0.1:8000", uri=local)
    body = {"message": message, "signature": wallet.sign(message), "cookies": True}
    answer = await browser.send("POST", "/verify", body, origin=local)
    names = {cookie.partition("=")[0] for cookie in answer.set_cookies}
    assert names == {"echain_token", "echain_refresh", "echain_csrf"}
    assert not [cookie for cookie in answer.set_cookies if "Secure" in cookie]
    assert (await browser.get("/me")).status == 200


# --- staying signed in, and signing out ---


async def test_the_refresh_cookie_gives_new_cookies_of_the_same_session(page: Page, clock: Clock) -> None:
    before = dict(page.browser.cookies)
    clock.pass_by(minutes=11)
    assert (await page.browser.get("/me")).status == 401
    answer = await page.send("POST", "/refresh")
    assert answer.data["sessionId"] == page.grant["sessionId"]
    assert answer.data["csrfToken"] == page.csrf
    assert "refreshToken" not in answer.data
    for name in (TOKEN, REFRESH):
        assert page.browser.cookies[name] != before[name]
    assert (await page.browser.get("/me")).status == 200


async def test_without_the_csrf_cookie_no_absence_of_a_token_equals_it(page: Page) -> None:
    del page.browser.cookies[CSRF]
    refused(await page.send("POST", "/refresh", **{"x-csrf-token": ""}))
    refused(await page.send("POST", "/refresh"))


async def test_two_tabs_that_refresh_at_once_stay_signed_in(
    page: Page, start: Callable[..., Process]
) -> None:
    for _ in range(10):
        processes = [page.browser.process, start()]
        tabs = [
            Page(
                replace(page.browser, process=processes[n % 2], cookies=dict(page.browser.cookies)), page.csrf
            )
            for n in range(5)
        ]
        answers = await asyncio.gather(*(tab.send("POST", "/refresh") for tab in tabs))
        assert [answer.status for answer in answers] == [200] * 5
        assert len({tab.browser.cookies[REFRESH] for tab in tabs}) == 1
        page.browser.cookies = tabs[0].browser.cookies
    assert (await page.browser.get("/me")).status == 200


async def test_a_refresh_cookie_that_was_used_ends_the_session(
    page: Page, clock: Clock, database: Database
) -> None:
    stolen = replace(page.browser, cookies=dict(page.browser.cookies), user_agent="curl/8.5.0")
    await page.send("POST", "/refresh")
    answer = await Page(stolen, page.csrf).send("POST", "/refresh")
    assert (answer.status, answer.code) == (401, "auth.refresh_reused")
    assert (await page.browser.get("/me")).status == 401
    assert await database.fetchval("SELECT ended_by FROM sessions") == "reuse"


async def test_without_a_token_in_body_or_cookie_there_is_nothing_to_refresh(browser: Browser) -> None:
    for body in (None, {}, {"refreshToken": None}):
        answer = await browser.send("POST", "/refresh", body, **OURS)
        assert (answer.status, answer.code) == (422, "request.invalid")


async def test_a_refresh_token_in_the_body_is_answered_in_the_body(
    page: Page, process: Process, clock: Clock
) -> None:
    grant = await Wallet(clock).sign_in(Browser(process))
    answer = await page.browser.send("POST", "/refresh", {"refreshToken": grant["refreshToken"]})
    assert answer.data["sessionId"] == grant["sessionId"]
    assert answer.data["accessToken"]
    assert answer.set_cookies == []


@pytest.mark.parametrize("write", ["logout", "everywhere", "one session"])
async def test_signing_out_takes_the_cookies_away(page: Page, write: str) -> None:
    method, path, body = WRITES[write](page)
    kept = dict(page.browser.cookies)
    answer = await page.send(method, path, body)
    assert answer.data == {"ended": 1}
    assert sorted(answer.set_cookies) == sorted(
        f"{name}=; Path=/; SameSite=Lax; Max-Age=0; HttpOnly; Secure" for name in (TOKEN, REFRESH, CSRF)
    )
    page.browser.cookies = kept
    assert (await page.browser.get("/me")).status == 401
    assert (await page.send("POST", "/refresh")).code == "auth.refresh_unknown"


async def test_ending_another_device_keeps_ones_own_cookies(
    page: Page, other_browser: Browser, wallet: Wallet
) -> None:
    lost = await wallet.sign_in(other_browser)
    answer = await page.send("DELETE", f"/sessions/{lost['sessionId']}")
    assert answer.set_cookies == []
    assert (await page.browser.get("/me")).status == 200


async def test_a_stale_cookie_is_nobodys_and_no_guess(page: Page, clock: Clock) -> None:
    clock.pass_by(minutes=11)
    answer = await page.browser.get("/me")
    assert (answer.status, answer.code) == (401, "auth.required")


@pytest.mark.parametrize("value", ["", "x", "eyJ", "eyJ.x.y", "A" * 8000, "eck_" + "A" * 43])
async def test_a_cookie_that_we_did_not_write_is_nobodys(browser: Browser, value: str) -> None:
    browser.cookies[TOKEN] = value
    assert (await browser.get("/me")).code == "auth.required"


async def test_an_api_key_is_no_cookie(page: Page, database: Database) -> None:
    """A key in a cookie would open whatever a page asks for; it is not looked at."""
    page.browser.cookies[TOKEN] = "eck_" + "A" * 43
    assert (await page.browser.get("/me")).code == "auth.required"
