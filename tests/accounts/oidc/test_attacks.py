"""Each way in that is none: stolen and swapped answers, lying providers, forged tokens."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from joserfc import jwk, jws
from joserfc.errors import SecurityWarning
from tests.accounts.oidc.forger import KID, Forger, base64, claims_of, swap, text64
from tests.accounts.oidc.world import (
    SECRET,
    Answer,
    Answered,
    Front,
    Site,
    Visitor,
    changed,
    query_of,
    serving,
)

NOTHING = {"users": 0, "identities": 0, "sessions": 0, "identity_sessions": 0, "wallets": 0}


@pytest.fixture
def forger() -> Forger:
    return Forger()


@pytest.fixture
async def site_of_two(database_url: str, tmp_path: Path, corp: Front, other: Front) -> AsyncIterator[Site]:
    async with serving(database_url, tmp_path, corp, other) as site:
        yield site


async def refused(site: Site, answer: Answer, code: str = "auth.oidc_refused", status: int = 401) -> None:
    """Check that nobody is signed in and nothing is left of the attempt."""
    assert (answer.status, answer.code) == (status, code), answer.text
    assert answer.set_cookies == []
    assert (await site.rows()).items() >= NOTHING.items()


# --- The state, and whose browser it is ---


async def test_a_state_is_good_once(site: Site, corp: Front, ada: Visitor) -> None:
    back = await ada.agree(await ada.start(), "ada")
    assert (await ada.get(back)).status == 303
    again = await ada.get(back)
    assert (again.status, again.code) == (401, "auth.oidc_state_unknown")
    assert (await site.rows())["sessions"] == 1
    assert corp.count("/token") == 1


async def test_of_many_who_show_one_state_exactly_one_is_let_in(
    site: Site, corp: Front, ada: Visitor
) -> None:
    back = await ada.agree(await ada.start(), "ada")
    answers = await asyncio.gather(*(ada.get(back) for _ in range(12)))
    assert sorted(one.status for one in answers) == [303] + [401] * 11
    assert corp.count("/token") == 1
    assert (await site.rows())["sessions"] == 1


async def test_a_response_for_another_browser_is_refused_and_stays_good_for_its_own(
    site: Site, ada: Visitor, mallory: Visitor
) -> None:
    """Sign-in CSRF: Mallory's response in Ada's browser would make Ada work in Mallory's account."""
    back = await mallory.agree(await mallory.start(), "eve")
    await refused(site, await ada.get(back), "auth.oidc_state_unknown")
    await ada.start()
    await refused(site, await ada.get(back), "auth.oidc_state_unknown")
    assert (await mallory.get(back)).status == 303


async def test_a_state_dies_after_ten_minutes(site: Site, ada: Visitor) -> None:
    back = await ada.agree(await ada.start(), "ada")
    begun, ends = "SELECT created_at FROM oidc_starts", "SELECT expires_at FROM oidc_starts"
    lasts = await site.database.fetchval(ends) - await site.database.fetchval(begun)
    assert lasts.total_seconds() == 600
    await site.database.execute("UPDATE oidc_starts SET expires_at = now()")
    await refused(site, await ada.get(back), "auth.oidc_state_unknown")


async def test_responses_that_nobody_asked_for_are_refused(site: Site, corp: Front, ada: Visitor) -> None:
    await ada.start()
    for query in ("state=guess&code=x", "state=&code=x", "state=%F0%9F%94%91&code=x"):
        await refused(site, await ada.get(f"/auth/oauth/corp/callback?{query}"), "auth.oidc_state_unknown")
    for query in ("", "code=x", "state=a&state=b", "state=" + "a" * 5_000, "state=%00"):
        await refused(
            site, await ada.get(f"/auth/oauth/corp/callback?{query}"), "request.invalid", status=422
        )
    assert corp.count("/token") == 0


# --- Codes: stolen, injected, without their challenge ---


async def test_a_stolen_code_is_worth_nothing_in_another_sign_in(
    site: Site, ada: Visitor, mallory: Visitor
) -> None:
    """Code injection: the challenge that came with Ada's code is not the one of Mallory's sign-in."""
    stolen = query_of(await ada.agree(await ada.start(), "ada"))["code"]
    mine = await mallory.agree(await mallory.start(), "eve")
    await refused(site, await mallory.get(changed(mine, code=stolen)))


async def test_a_code_got_without_a_challenge_is_refused(site: Site, corp: Front, ada: Visitor) -> None:
    """PKCE downgrade, at a provider that lets clients do without."""
    corp.configure(challenges=False)
    away = changed(await ada.start(), code_challenge=None, code_challenge_method=None)
    await refused(site, await ada.get(await ada.agree(away, "ada")))


async def test_an_injected_code_is_refused_also_where_the_provider_forgets_challenges(
    site: Site, corp: Front, ada: Visitor, mallory: Visitor
) -> None:
    """The nonce stands where PKCE does not: the ID token was made for another sign-in."""
    corp.configure(challenges=False)
    away = changed(await ada.start(), code_challenge=None, code_challenge_method=None)
    stolen = query_of(await ada.agree(away, "ada"))["code"]
    mine = await mallory.agree(
        changed(await mallory.start(), code_challenge=None, code_challenge_method=None), "eve"
    )
    await refused(site, await mallory.get(changed(mine, code=stolen)))


async def test_a_nonce_that_was_swapped_on_the_way_is_noticed(site: Site, ada: Visitor) -> None:
    await refused(site, await ada.get(await ada.agree(changed(await ada.start(), nonce="mine"), "ada")))
    await refused(site, await ada.get(await ada.agree(changed(await ada.start(), nonce=None), "ada")))


async def test_a_code_that_the_provider_never_gave_is_refused(site: Site, ada: Visitor) -> None:
    back = await ada.agree(await ada.start(), "ada")
    await refused(site, await ada.get(changed(back, code="guess")))
    back = await ada.agree(await ada.start(), "ada")
    await refused(site, await ada.get(changed(back, code=None)))


# --- Mix-up: two providers, one of them evil ---


async def test_a_response_is_taken_only_where_its_provider_sends_it(
    site_of_two: Site, corp: Front, other: Front
) -> None:
    async with site_of_two.visitor() as ada:
        back = await ada.agree(await ada.start("corp"), "ada")
        moved = back.replace("/oauth/corp/", "/oauth/other/")
        await refused(site_of_two, await ada.get(moved), "auth.oidc_state_unknown")
        await refused(site_of_two, await ada.get(back), "auth.oidc_state_unknown")
    assert other.count("/token") == 0
    assert corp.count("/token") == 0


async def test_a_response_of_another_issuer_never_carries_its_code_there(
    site_of_two: Site, corp: Front, other: Front
) -> None:
    """RFC 9207: Ada chose Other, which leads her to Corp; Corp's code must not go to Other."""
    async with site_of_two.visitor() as ada:
        mixed = await ada.start("other")
        honest = query_of(await ada.agree(await ada.start("corp"), "ada"))
        callback = f"{site_of_two.url}/api/v1/auth/oauth/other/callback?code=&state=&iss="
        for issuer in (honest["iss"], f"{other.issuer}/", other.issuer.upper()):
            led = changed(callback, code=honest["code"], state=query_of(mixed)["state"], iss=issuer)
            await refused(site_of_two, await ada.get(led))
            mixed = await ada.start("other")
        unsaid = changed(callback, code=honest["code"], state=query_of(mixed)["state"], iss=None)
        await refused(site_of_two, await ada.get(unsaid))
    assert other.count("/token") == 0


async def test_the_same_number_at_another_provider_is_somebody_else(site_of_two: Site) -> None:
    """An evil provider may call anybody by Ada's number and e-mail address: it is its own Ada."""
    async with site_of_two.visitor() as ada, site_of_two.visitor() as mallory:
        await ada.sign_in("ada", "corp")
        await mallory.sign_in("ada", "other")
        users = [(await one.get("/auth/me")).json["data"]["userId"] for one in (ada, mallory)]
    assert users[0] != users[1]


# --- ID tokens ---

CLAIMS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another issuer": lambda one: one.update(iss="https://evil.example"),
    "no issuer": lambda one: one.pop("iss"),
    "issuer of another type": lambda one: one.update(iss=[one["iss"]]),
    "another audience": lambda one: one.update(aud="somebody"),
    "another audience in a list": lambda one: one.update(aud=["somebody"]),
    "audience of another type": lambda one: one.update(aud={"echain": 1}),
    "another audience that authorizes us": lambda one: one.update(aud="somebody", azp="echain"),
    "no audience": lambda one: one.pop("aud"),
    "several audiences, nobody authorized": lambda one: one.update(aud=["echain", "somebody"]),
    "another authorized party": lambda one: one.update(aud=["echain", "somebody"], azp="somebody"),
    "another authorized party alone": lambda one: one.update(azp="somebody"),
    "expired": lambda one: one.update(exp=int(time.time()) - 61),
    "never expires": lambda one: one.pop("exp"),
    "expiry of another type": lambda one: one.update(exp="tomorrow"),
    "an expiry that is no number": lambda one: one.update(exp=True),
    "from the future": lambda one: one.update(iat=int(time.time()) + 300),
    "older than the sign-in": lambda one: one.update(iat=int(time.time()) - 300),
    "of no time": lambda one: one.pop("iat"),
    "not valid yet": lambda one: one.update(nbf=int(time.time()) + 300),
    "another nonce": lambda one: one.update(nonce="another"),
    "no nonce": lambda one: one.pop("nonce"),
    "another access token": lambda one: one.update(at_hash="A" * 22),
    "nobody": lambda one: one.pop("sub"),
    "an empty subject": lambda one: one.update(sub=""),
    "a subject of another type": lambda one: one.update(sub=7),
    "an endless subject": lambda one: one.update(sub="a" * 256),
    "a subject that cannot be stored": lambda one: one.update(sub="a\x00"),
}


async def test_an_id_token_of_a_lying_provider_is_refused(
    site: Site, corp: Front, ada: Visitor, forger: Forger
) -> None:
    forger.rewrite(corp, lambda _: None)
    assert (await ada.sign_in()).status == 303, "the forger's own signature must be believed"
    for table in ("sessions", "identities", "users"):
        await site.database.execute(f"DELETE FROM {table}")
    for what, change in CLAIMS.items():
        forger.rewrite(corp, change)
        answer = await ada.sign_in()
        assert (answer.status, answer.code) == (401, "auth.oidc_refused"), what
        await refused(site, answer)


async def test_a_signature_that_proves_nothing_is_refused(
    site: Site, corp: Front, ada: Visitor, forger: Forger
) -> None:
    stranger = Forger()

    def unsigned(token: str, algorithm: str) -> str:
        return f"{text64({'alg': algorithm})}.{token.split('.')[1]}."

    def by_public_key(token: str) -> str:
        """Sign with HMAC whose key is the public one that everybody knows."""
        known = forger.key.as_pem(private=False)
        signed = f"{text64({'alg': 'HS256', 'kid': KID})}.{token.split('.')[1]}"
        return f"{signed}.{base64(hmac.digest(known, signed.encode(), sha256))}"

    own = stranger.key.as_dict(private=False)
    tricks: dict[str, Callable[[str], str]] = {
        "none": lambda token: unsigned(token, "none"),
        "None": lambda token: unsigned(token, "None"),
        "public key as a secret": by_public_key,
        "a stranger's key under a known id": lambda token: stranger.sign(claims_of(token)),
        "a key that it brings along": lambda token: stranger.sign(claims_of(token), jwk=own),
        "a key that lies elsewhere": lambda token: stranger.sign(
            claims_of(token), kid="elsewhere", jku="https://evil.example/jwks"
        ),
        "an unknown key id": lambda token: forger.sign(claims_of(token), kid="unknown"),
        "a key id of another type": lambda token: forger.resign(token, kid=7),
        "no key id where there are several": forger.resign,
        "a critical extension": lambda token: forger.resign(token, kid=KID, crit=["exp"], exp=1),
        "an extension that joserfc knows": lambda token: forger.resign(
            token, kid=KID, crit=["b64"], b64=True
        ),
        "a cut signature": lambda token: token[:-2],
        "another payload": _altered,
        "nothing": lambda _: "",
        "two parts": lambda token: token.rpartition(".")[0],
        "no JSON": lambda token: f"{token.split('.')[0]}.YWJj.{token.split('.')[2]}",
        "no ASCII": lambda token: token + "ä",
        "a very long one": lambda token: token + "A" * 200_000,
    }
    forger.join(corp)
    for what, change in tricks.items():
        swap(corp, change)
        answer = await ada.sign_in()
        assert (answer.status, answer.code) == (401, "auth.oidc_refused"), what
        await refused(site, answer)


def _altered(token: str) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{text64(claims_of(token) | {'sub': 'eve'})}.{signature}"


@pytest.mark.parametrize(
    "weak",
    [
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "weak", "alg": "HS256"},
        "small",
        "enc",
    ],
)
async def test_keys_that_are_none_are_not_believed(site: Site, corp: Front, ada: Visitor, weak: Any) -> None:
    """A symmetric key in public, an RSA key that can be factored, a key that is for encrypting."""
    forger = Forger()
    if weak == "small":
        with pytest.warns(SecurityWarning):
            forger.key = jwk.RSAKey.generate_key(1024, {"kid": KID, "use": "sig"})
        forger.rewrite(corp, lambda _: None)
    elif weak == "enc":
        shown = forger.key.as_dict(private=False) | {"use": "enc"}
        forger.rewrite(corp, lambda _: None)
        corp.alter["/jwks"] = lambda answer: setattr(answer, "json", {"keys": [*answer.json["keys"], shown]})
    else:
        secret = jwk.OctKey.import_key(weak)
        corp.alter["/jwks"] = lambda answer: setattr(answer, "json", {"keys": [weak]})
        swap(
            corp,
            lambda token: jws.serialize_compact(
                {"alg": "HS256", "kid": "weak"},
                str(claims_of(token)),
                secret,
                algorithms=["HS256"],
            ),
        )
    await refused(site, await ada.sign_in())


async def test_userinfo_about_somebody_else_is_refused(site: Site, corp: Front, ada: Visitor) -> None:
    corp.alter["/me"] = lambda answer: setattr(answer, "json", answer.json | {"sub": "eve"})
    await refused(site, await ada.sign_in())
    corp.alter["/me"] = lambda answer: setattr(answer, "json", {"email": "ada@corp.example"})
    await refused(site, await ada.sign_in())


# --- Keys change ---


async def test_keys_that_changed_since_the_start_are_looked_up_once(
    site: Site, corp: Front, ada: Visitor
) -> None:
    await ada.sign_in()
    assert corp.count("/jwks") == 1
    away = await ada.start()
    corp.configure(generation=1)
    assert (await ada.get(await ada.agree(away, "ada"))).status == 303
    assert corp.count("/jwks") == 2


async def test_unknown_key_ids_do_not_make_us_ask_again_and_again(
    site: Site, corp: Front, ada: Visitor
) -> None:
    await ada.sign_in()
    stranger = Forger()
    swap(corp, lambda token: stranger.sign(claims_of(token), kid="unknown"))
    for _ in range(4):
        answer = await ada.sign_in()
        assert answer.code == "auth.oidc_refused"
    assert corp.count("/jwks") <= 2


# --- Nothing of it is told ---


async def test_no_secret_of_a_sign_in_is_logged_or_answered(
    site: Site, corp: Front, ada: Visitor, forger: Forger
) -> None:
    seen: list[str] = []
    planted = [SECRET, "ada@corp.example", "Ada Lovelace"]

    def remember(answer: Answered) -> None:
        planted.extend(answer.json[name] for name in ("id_token", "access_token"))

    with structlog.testing.capture_logs() as logged:
        away = await ada.start()
        planted += [query_of(away)[name] for name in ("state", "nonce")]
        corp.alter["/token"] = remember
        back = await ada.agree(away, "ada")
        planted.append(query_of(back)["code"])
        seen.append((await ada.get(back)).text)
        seen.append((await ada.get(back)).text)
        forger.rewrite(corp, lambda one: one.update(aud="somebody"))
        seen.append((await ada.sign_in()).text)
        corp.alter["/token"] = lambda answer: setattr(answer, "status", 500)
        seen.append((await ada.sign_in()).text)
        swap(corp, lambda token: token[:-3])
        seen.append((await ada.sign_in()).text)
    assert [one["event"] for one in logged].count("accounts.oidc_refused") == 2
    assert [one["event"] for one in logged].count("accounts.oidc_unavailable") == 1
    for text in (repr(logged), *seen):
        assert not [one for one in planted if one in text]


async def test_the_provider_learns_nothing_from_the_address_of_our_page(site: Site, ada: Visitor) -> None:
    answer = await ada.get("/auth/oauth/corp/start")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "returnTo" not in answer.location
    assert urlsplit(answer.location).query.count("planted") == 0
