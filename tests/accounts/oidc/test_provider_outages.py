"""Providers that are away, slow, wrong or hostile in what they say of themselves: refused in plain words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from tests.accounts.oidc.world import Answer, Answered, Front, Site, Visitor, serving

from echain.accounts import oidcprovider
from echain.accounts.oidcprovider import Metadata, Provider, Unusable, rules_of
from echain.accounts.oidctypes import ProviderUnavailable, Secrets
from echain.infra import outbound
from echain.infra.oidcsettings import OidcSettings
from echain.infra.outbound import Outbound, Rules

DISCOVERY = "/.well-known/openid-configuration"
ISSUER = "https://idp.example"
METADATA = Metadata(
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/auth",
    token_endpoint="https://tokens.example/token",
    jwks_uri=f"{ISSUER}/jwks",
    userinfo_endpoint=f"{ISSUER}/me",
)


async def unavailable(site: Site, answer: Answer) -> None:
    """Check that the answer is a clear 503 and that nothing is written."""
    assert (answer.status, answer.code) == (503, "auth.oidc_unavailable"), answer.text
    assert "try again later" in answer.json["error"]["message"]
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.set_cookies == []
    assert set((await site.rows()).values()) == {0}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a provider that failed again at once."""
    monkeypatch.setattr(oidcprovider, "FAILED_SECONDS", 0.0)


def saying(**changes: Any) -> Callable[[Answered], None]:
    """Return what changes a JSON answer."""

    def alter(answer: Answered) -> None:
        answer.json = {name: value for name, value in (answer.json | changes).items() if value is not None}

    return alter


def body(
    content: bytes, content_type: str = "application/json", status: int = 200
) -> Callable[[Answered], None]:
    """Return what replaces an answer."""

    def alter(answer: Answered) -> None:
        answer.status, answer.body, answer.headers = status, content, {"content-type": content_type}

    return alter


WRONG: Mapping[str, Callable[[Answered], None]] = {
    "another issuer": saying(issuer="https://evil.example"),
    "the issuer with a slash": lambda answer: saying(issuer=answer.json["issuer"] + "/")(answer),
    "no issuer": saying(issuer=None),
    "no token endpoint": saying(token_endpoint=None),
    "tokens elsewhere in the private network": saying(token_endpoint="http://127.0.0.2:9/token"),
    "keys on the metadata service": saying(jwks_uri="http://169.254.169.254/latest/meta-data/"),
    "keys in a file": saying(jwks_uri="file:///etc/passwd"),
    "a page that is a script": saying(authorization_endpoint="javascript:alert(1)"),
    "credentials in an address": saying(token_endpoint="http://a:b@127.0.0.1/token"),
    "UserInfo elsewhere": saying(userinfo_endpoint="http://localhost:1/me"),
    "PKCE only in the plain": saying(code_challenge_methods_supported=["plain"]),
    "unsigned tokens only": saying(id_token_signing_alg_values_supported=["none", "HS256"]),
    "an endpoint of another type": saying(token_endpoint=7),
    "a page instead of JSON": body(b"<html>", "text/html"),
    "no JSON": body(b"{"),
    "JSON of another shape": body(b"[]"),
    "JSON without end": body(b"[" * 100_000),
    "ten megabytes": body(b'{"issuer":"' + b"a" * 10_000_000 + b'"}'),
    "not found": body(b"{}", status=404),
    "an error": body(b"{}", status=500),
}


async def test_metadata_that_cannot_be_believed_starts_nothing(site: Site, corp: Front, ada: Visitor) -> None:
    for what, alter in WRONG.items():
        corp.alter[DISCOVERY] = alter
        answer = await ada.get("/auth/oauth/corp/start")
        assert answer.status == 503, what
        await unavailable(site, answer)
    del corp.alter[DISCOVERY]
    assert (await ada.sign_in()).status == 303, "what was wrong is not remembered"


async def test_discovery_is_not_led_elsewhere(site: Site, corp: Front, other: Front, ada: Visitor) -> None:
    def redirect(answer: Answered) -> None:
        answer.status, answer.headers = 302, {"location": f"{other.issuer}{DISCOVERY}"}

    corp.alter[DISCOVERY] = redirect
    await unavailable(site, await ada.get("/auth/oauth/corp/start"))
    assert other.asked == []


async def test_a_provider_that_is_away_is_said_to_be(site: Site, corp: Front, ada: Visitor) -> None:
    corp.refuse.add(DISCOVERY)
    await unavailable(site, await ada.get("/auth/oauth/corp/start"))


@pytest.mark.parametrize("lost", ["/token", "/jwks", "/me"])
async def test_a_provider_that_goes_away_midway_leaves_nothing_behind(
    site: Site, corp: Front, ada: Visitor, lost: str
) -> None:
    corp.refuse.add(lost)
    await unavailable(site, await ada.sign_in())
    corp.refuse.clear()
    assert (await ada.sign_in()).status == 303


ANSWERS: Mapping[str, tuple[str, Callable[[Answered], None]]] = {
    # Keys first: once known they are not asked for again.
    "keys as a page": ("/jwks", body(b"<html>", "text/html")),
    "keys that are a text": ("/jwks", body(b'{"keys":"none"}')),
    "too many keys": ("/jwks", body(b'{"keys":[' + b"{}," * 100 + b"{}]}")),
    "keys that are gone": ("/jwks", body(b"", status=404)),
    "no ID token": ("/token", saying(id_token=None)),
    "no access token": ("/token", saying(access_token=None)),
    "tokens of another type": ("/token", saying(token_type="DPoP")),
    "an error of its own": ("/token", body(b'{"error":"server_error"}', status=500)),
    "our secret is wrong": ("/token", body(b'{"error":"invalid_client"}', status=401)),
    "too often": ("/token", body(b"slow down", "text/plain", status=429)),
    "an endless token": ("/token", body(b'{"id_token":"' + b"a" * 300_000 + b'"}')),
    "UserInfo as a page": ("/me", body(b"<html>", "text/html")),
    "UserInfo that is signed": ("/me", body(b"a.b.c", "application/jwt")),
    "UserInfo that refuses": ("/me", body(b"{}", status=403)),
}


async def test_answers_that_are_none_are_the_providers_fault_and_leave_nothing(
    site: Site, corp: Front, ada: Visitor
) -> None:
    for what, (path, alter) in ANSWERS.items():
        corp.alter = {path: alter}
        answer = await ada.sign_in()
        assert answer.status == 503, (what, answer.text)
        await unavailable(site, answer)


async def test_a_slow_provider_is_given_up(
    site: Site, corp: Front, ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.3)
    released = asyncio.Event()

    async def wait(_: Answered) -> None:
        await released.wait()

    corp.alter[DISCOVERY] = wait
    await unavailable(site, await ada.get("/auth/oauth/corp/start"))
    released.set()


async def test_what_a_provider_says_of_itself_is_asked_for_once_by_many(
    site: Site, corp: Front, ada: Visitor
) -> None:
    answers = await asyncio.gather(*(ada.get("/auth/oauth/corp/start") for _ in range(20)))
    assert {one.status for one in answers} == {303}
    assert corp.count(DISCOVERY) == 1


async def test_a_provider_that_failed_is_left_alone_for_some_seconds(
    site: Site, corp: Front, ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidcprovider, "FAILED_SECONDS", 600.0)
    corp.refuse.add(DISCOVERY)
    answers = await asyncio.gather(*(ada.get("/auth/oauth/corp/start") for _ in range(20)))
    assert {one.status for one in answers} == {503}
    # aiohttp itself asks a second time when a connection breaks before the answer.
    assert corp.count(DISCOVERY) <= 2


async def test_a_wrong_secret_is_said_to_the_operator_and_not_shown(
    database_url: str, tmp_path: Path, corp: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"ECHAIN_OIDC_CORP_CLIENT_SECRET": "planted-but-wrong"}
    async with serving(database_url, tmp_path, corp, **wrong) as site, site.visitor() as ada:
        await unavailable(site, await ada.sign_in())
    logged = capsys.readouterr()
    assert "invalid_client" in logged.out + logged.err
    assert "planted-but-wrong" not in logged.out + logged.err


# --- Where a public provider may stand ---


class Names(AbstractResolver):
    """A name server that says what the test wants."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 -- the interface
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in self.addresses
        ]

    async def close(self) -> None:
        pass


def provider(*addresses: str, private: bool = False, issuer: str = ISSUER) -> Provider:
    settings = OidcSettings(name="idp", issuer=issuer, client_id="echain", private=private)

    def opening() -> Outbound:
        return Outbound(rules_of(settings), user_agent="test", resolver=Names(*addresses))

    return Provider(settings, opening, redirect_uri="https://us.example/callback")


@pytest.mark.parametrize(
    "addresses", [("127.0.0.1",), ("10.0.0.7",), ("169.254.169.254",), ("1.1.1.1", "192.168.0.1")]
)
async def test_a_public_provider_whose_name_leads_inwards_is_not_asked(addresses: tuple[str, ...]) -> None:
    with pytest.raises(ProviderUnavailable):
        await provider(*addresses).away("state", Secrets("nonce", "verifier"))


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("jwks_uri", "https://169.254.169.254/latest/meta-data/"),
        ("jwks_uri", "https://127.0.0.1/jwks"),
        ("token_endpoint", "https://[::1]/token"),
        ("token_endpoint", "https://tokens.example:6379/"),
        ("token_endpoint", "http://tokens.example/token"),
        ("userinfo_endpoint", "https://2130706433/me"),
        ("authorization_endpoint", "data:text/html,x"),
        ("authorization_endpoint", "https://idp.example/auth#x"),
    ],
)
def test_metadata_does_not_lead_a_public_provider_inwards(endpoint: str, url: str) -> None:
    one = provider("1.1.1.1")
    one._check(METADATA)
    with pytest.raises(Unusable, match="may not be asked"):
        one._check(Metadata(**(_fields(METADATA) | {endpoint: url})))


def test_a_private_provider_stays_on_its_host() -> None:
    one = provider("10.0.0.7", private=True)
    at_home = _fields(METADATA) | {"token_endpoint": f"{ISSUER}:8443/token"}
    one._check(Metadata(**at_home))
    with pytest.raises(Unusable, match="issuer's host"):
        one._check(METADATA)


def test_plain_http_is_for_issuers_that_say_so() -> None:
    assert rules_of(provider().settings) == Rules()
    assert rules_of(provider(private=True, issuer="http://127.0.0.1:9").settings) == Rules(
        http=True, private=True
    )


def _fields(metadata: Metadata) -> dict[str, Any]:
    return {name: getattr(metadata, name) for name in metadata.__struct_fields__}
