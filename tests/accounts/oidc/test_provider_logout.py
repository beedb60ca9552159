"""Who signs out at the provider is signed out here, as Back-Channel Logout 1.0 says, and nobody else is."""

from __future__ import annotations

import asyncio
import re
import time
from html import unescape
from typing import Any
from urllib.parse import urlencode, urljoin

import pytest
from tests.accounts.oidc.forger import KID, Forger
from tests.accounts.oidc.world import Answer, Front, Site, Visitor, serving

EVENT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture
def forger(corp: Front) -> Forger:
    """A key that stands among the provider's."""
    forger = Forger()
    forger.join(corp)
    return forger


async def sign_out_at(corp: Front, visitor: Visitor) -> None:
    """Press the button on the provider's own page."""
    page = await visitor.get(f"{corp.issuer}/session/end")
    action = re.search(r'action="([^"]+)"', page.text)
    token = re.search(r'name="xsrf" value="([^"]+)"', page.text)
    assert action is not None
    assert token is not None
    form = {"xsrf": token[1], "logout": "yes"}
    answer = await visitor.send("POST", urljoin(page.url, unescape(action[1])), data=form)
    assert answer.status in (302, 303), answer.text


async def told(site: Site, token: str, provider: str = "corp") -> Answer:
    async with site.visitor() as nobody:
        return await nobody.send("POST", f"/auth/oauth/{provider}/logout", data={"logout_token": token})


def claims(corp: Front, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {
        "iss": corp.issuer,
        "aud": "echain",
        "iat": now,
        "exp": now + 120,
        "jti": "one",
        "sub": "ada",
        "events": {EVENT: {}},
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


async def test_who_signs_out_at_the_provider_is_signed_out_here_on_that_device(
    site: Site, corp: Front, ada: Visitor, mallory: Visitor
) -> None:
    """Ada has two devices and two sessions at the provider; Mallory's device plays the second."""
    await ada.sign_in("ada")
    await mallory.sign_in("ada")
    await sign_out_at(corp, ada)
    async with asyncio.timeout(60):
        while await ada.me() is not None:
            await asyncio.sleep(0.02)
    assert await mallory.me() is not None
    ended = await site.database.fetch("SELECT ended_by FROM sessions WHERE ended_at IS NOT NULL")
    assert [row["ended_by"] for row in ended] == ["provider"]
    audited = await site.database.fetch("SELECT action FROM audit_entries WHERE action LIKE 'session.end%'")
    assert [row["action"] for row in audited] == ["session.ended"]


async def test_a_person_signed_out_everywhere_loses_every_session_of_this_provider(
    site: Site, corp: Front, ada: Visitor, mallory: Visitor, forger: Forger
) -> None:
    for _ in range(2):
        await ada.sign_in("ada")
    await mallory.sign_in("eve")
    answer = await told(site, forger.sign(claims(corp)))
    assert (answer.status, answer.json["data"]) == (200, {"ended": 2})
    assert await ada.me() is None
    assert await mallory.me() is not None


async def test_a_logout_token_shown_again_ends_nothing_that_began_since(
    site: Site, corp: Front, ada: Visitor, forger: Forger
) -> None:
    await ada.sign_in("ada")
    token = forger.sign(claims(corp, iat=int(time.time()) - 90))
    await site.database.execute("UPDATE sessions SET created_at = created_at - interval '2 minutes'")
    assert (await told(site, token)).json["data"] == {"ended": 1}
    await ada.sign_in("ada")
    assert (await told(site, token)).json["data"] == {"ended": 0}
    assert await ada.me() is not None


async def test_what_is_no_logout_token_of_now_for_us_ends_nothing(
    site: Site, corp: Front, ada: Visitor, forger: Forger
) -> None:
    await ada.sign_in("ada")
    now = int(time.time())
    wrong = {
        "another issuer": {"iss": "https://evil.example"},
        "another audience": {"aud": "somebody"},
        "no audience": {"aud": None},
        "an ID token": {"events": None, "nonce": "x"},
        "a nonce": {"nonce": "x"},
        "no event": {"events": {}},
        "another event": {"events": {"http://schemas.openid.net/event/other": {}}},
        "an event of another type": {"events": {EVENT: 1}},
        "events of another type": {"events": EVENT},
        "nobody": {"sub": None},
        "a subject of another type": {"sub": 7},
        "no name": {"jti": None},
        "no time": {"iat": None},
        "a time of another type": {"iat": True},
        "old": {"iat": now - 660, "exp": now + 60},
        "of the future": {"iat": now + 120},
        "expired": {"exp": now - 61},
        "an expiry of another type": {"exp": "later"},
    }
    for what, change in wrong.items():
        answer = await told(site, forger.sign(claims(corp, **change)))
        assert (answer.status, answer.code) == (400, "auth.oidc_logout_refused"), what
    stranger = Forger()
    for token in (stranger.sign(claims(corp)), "", "a.b.c", forger.sign(claims(corp))[:-3]):
        assert (await told(site, token)).status == 400
    assert await ada.me() is not None
    assert (await told(site, forger.sign(claims(corp, sid="another")))).json["data"] == {"ended": 0}
    assert (await told(site, forger.sign(claims(corp, sub="eve")))).json["data"] == {"ended": 0}
    assert await ada.me() is not None
    assert (await told(site, forger.sign(claims(corp, aud=["echain"])))).json["data"] == {"ended": 1}


async def test_forms_that_are_none_are_refused(site: Site, ada: Visitor) -> None:
    async def sent(body: bytes) -> int:
        return (await ada.send("POST", "/auth/oauth/corp/logout", data=body)).status

    twice = urlencode([("logout_token", "a"), ("logout_token", "b")]).encode()
    for body in (b"", b"logout_token", b"x=y", b"{}", b"\xff\xfe", b"&" * 100, twice):
        assert await sent(body) == 400
    assert await sent(b"logout_token=" + b"a" * 60_000) == 400
    answer = await ada.send("POST", "/auth/oauth/nobody/logout", data={"logout_token": "x"})
    assert (answer.status, answer.code) == (404, "auth.oidc_provider_unknown")


async def test_a_provider_signs_nobody_of_another_out(
    database_url: str, tmp_path: Any, corp: Front, other: Front
) -> None:
    async with serving(database_url, tmp_path, corp, other) as site, site.visitor() as ada:
        await ada.sign_in("ada", "corp")
        evil = Forger()
        evil.join(other)
        assert (await told(site, evil.sign(claims(corp)), "corp")).status == 400
        assert (await told(site, evil.sign(claims(corp)), "other")).status == 400
        assert (await told(site, evil.sign(claims(other)), "other")).json["data"] == {"ended": 0}
        assert await ada.me() is not None
        assert KID not in (await ada.get(f"{corp.issuer}/jwks")).text
