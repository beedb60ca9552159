"""Credentials that do not hold cost little and shut nobody else out, of all who stand behind one address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.accounts.people import PUBLIC_URL, TOKENS, Browser, Clock, Process, Wallet

from echain.accounts import keys, keystore, oidcrest, service, store
from echain.accounts.tokens import ACCESS_PREFIX, KEY_PREFIX, new_token
from echain.accounts.types import AccessTokenInvalid, ApiKeyInvalid, IssuedKey, KeyLimits
from echain.edge.http import Caller
from echain.edge.http.limits import Allowance, Limits
from echain.edge.http.refused import CAPACITY, RefusedCredentials
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.metrics import Metrics
from echain.infra.quota import Quotas
from echain.infra.secret import Secret

OVER = (401, "auth.api_key_invalid")


def limits(**allowance: int) -> Limits:
    return Limits(Quotas(None), Allowance(**allowance), metrics=Metrics())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the database was asked for; it grows."""
    names: list[str] = []

    def counted(name: str, ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def asking(*given: Any, **more: Any) -> Any:
            names.append(name)
            return await ask(*given, **more)

        return asking

    for module, name in ((keystore, "key_bearer"), (store, "bearer"), (store, "session_bearer")):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    return names


async def key_of(database: Database, user: UUID, clock: Clock) -> IssuedKey:
    most = KeyLimits(100, 100)
    async with database.transaction() as tx:
        return await keys.create(
            tx,
            Caller("user", user),
            name="scanner",
            scopes=["things:read"],
            known_scopes=["things:read"],
            limits=KeyLimits(None, None),
            most=most,
            expires_at=clock() + timedelta(hours=1),
            now=clock(),
        )


@pytest.mark.parametrize("end", ["time", "revoked"])
async def test_a_program_with_a_dead_key_guesses_nothing_and_asks_once_in_half_a_minute(
    start: Callable[..., Process], database: Database, clock: Clock, end: str, asked: list[str]
) -> None:
    browser = Browser(start(limits=limits(refusals=4)))
    user = UUID((await Wallet(clock).sign_in(browser))["userId"])
    issued = await key_of(database, user, clock)
    if end == "time":
        clock.pass_by(hours=1)
    else:
        async with database.transaction() as tx:
            await keys.revoke(tx, user, issued.id, now=clock())
    program = Browser(browser.process, token=issued.key)
    answers = [await program.get("/me") for _ in range(20)]
    assert {(answer.status, answer.code) for answer in answers} == {OVER}
    assert asked == ["key_bearer"]
    clock.pass_by(seconds=31)
    await program.get("/me")
    assert asked == ["key_bearer"] * 2
    neighbour = Browser(browser.process)
    await Wallet(clock).sign_in(neighbour)
    assert (await neighbour.get("/me")).status == 200


async def test_an_unknown_key_counts_each_time_and_is_looked_up_once(
    start: Callable[..., Process], wallet: Wallet, asked: list[str]
) -> None:
    known = Browser(start(limits=limits(refusals=4)))
    await wallet.sign_in(known)
    stranger = Browser(known.process, token=new_token(KEY_PREFIX))
    answers = [await stranger.get("/me") for _ in range(6)]
    assert [answer.status for answer in answers] == [401] * 4 + [429] * 2
    assert asked == ["key_bearer"]
    assert (await known.get("/me")).status == 200, "the visitor's neighbour is shut out"


@pytest.mark.parametrize("kind", ["ended", "old"])
async def test_a_token_that_ended_is_looked_up_once_and_no_way_to_ask_without_end(
    start: Callable[..., Process], wallet: Wallet, asked: list[str], kind: str
) -> None:
    browser = Browser(start(limits=limits(reads=10)))
    await wallet.sign_in(browser)
    await browser.post("/logout")
    if kind == "old":
        browser.token = new_token(ACCESS_PREFIX)
    asked.clear()
    statuses = [(await browser.get("/me")).status for _ in range(14)]
    assert statuses == [401] * 10 + [429] * 4
    assert len(asked) == 1


async def test_a_key_made_after_others_were_refused_holds_at_once(
    database: Database, wallet: Wallet, browser: Browser, clock: Clock
) -> None:
    user = UUID((await wallet.sign_in(browser))["userId"])
    authenticate = service.authenticator(database, clock, TOKENS)
    for _ in range(3):
        with pytest.raises(ApiKeyInvalid):
            await authenticate({"authorization": f"Bearer {new_token(KEY_PREFIX)}"}, {})
    issued = await key_of(database, user, clock)
    caller = await authenticate({"authorization": f"Bearer {issued.key}"}, {})
    assert caller is not None
    assert caller.key == issued.id


def test_what_is_remembered_of_refusals_is_bounded_and_ends(clock: Clock) -> None:
    refused = RefusedCredentials()
    for number in range(CAPACITY + 1):
        refused.remember(b"%d" % number, AccessTokenInvalid.over(), clock())
    refused.require_unheard(b"0", clock())
    with pytest.raises(AccessTokenInvalid) as raised:
        refused.require_unheard(b"1", clock())
    assert raised.value.guess is False
    clock.pass_by(seconds=30)
    refused.require_unheard(b"1", clock())


async def test_a_hundred_people_behind_one_address_stay_signed_in(
    start: Callable[..., Process], wallet: Wallet
) -> None:
    process = start(limits=limits(anonymous_writes=3, sign_ins=5, refusals=2))
    browser = Browser(process)
    grant = await wallet.sign_in(browser)
    browser.token = None
    for _ in range(3):
        await browser.post("/verify", {"message": "none", "signature": "0x"})
    assert (await browser.post("/verify", {"message": "none", "signature": "0x"})).status == 429
    for _ in range(10):
        answer = await browser.post("/refresh", {"refreshToken": grant["refreshToken"]})
        assert answer.status == 200, answer.body
        assert answer.headers["ratelimit-policy"].startswith('"reads"')
        grant = answer.data


@pytest.mark.parametrize("path", ["/nonce", "/nonce/0x" + "ab" * 20])
async def test_nonces_are_counted_by_head_too_and_apart_from_writes(
    start: Callable[..., Process], path: str
) -> None:
    browser = Browser(start(limits=limits(anonymous_writes=3, sign_ins=5)))
    answers = [await browser.get(path) for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert answers[0].headers["ratelimit-policy"] == '"sign-ins";q=5;w=900'
    assert answers[5].body["error"]["details"]["quota"] == "sign-ins"


def test_to_go_to_a_provider_is_counted_as_a_nonce(database: Database, clock: Clock) -> None:
    users = service.authenticator(database, clock, TOKENS)
    routes = oidcrest.endpoints(
        database, users, DataKeys([Secret("a1" * 32)]), [], wallets=None, public_url=PUBLIC_URL
    )
    assert [one.path for one in routes if one.charge == "sign-in"] == ["/api/v1/auth/oauth/{provider}/start"]
