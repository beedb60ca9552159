"""Staying signed in: tokens rotate, a stolen one ends its session, a session can be seen and ended."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
import pytest
from tests.accounts.people import SAFARI, Browser, Clock, Process, Wallet
from tests.kernel.conformity import conforms

from echain.accounts import store
from echain.infra.database import Database
from echain.infra.embedded.postgres import Postgres
from echain.kernel.messages import Message

Rows = Callable[[], Awaitable[dict[str, int]]]


@pytest.fixture
async def refresh_token(browser: Browser, wallet: Wallet) -> str:
    """The refresh token of a session that ``browser`` has just opened."""
    return (await wallet.sign_in(browser))["refreshToken"]


@pytest.fixture
def thief(process: Process) -> Browser:
    """Another client, which got hold of a token."""
    return Browser(process, user_agent=SAFARI, client="203.0.113.66")


async def test_a_refresh_token_gives_new_tokens_of_the_same_session(
    browser: Browser, refresh_token: str, clock: Clock
) -> None:
    session = (await browser.get("/me")).data["sessionId"]
    clock.pass_by(minutes=9)
    fresh = (await browser.refresh(refresh_token)).data
    assert fresh["sessionId"] == session
    assert fresh["refreshToken"] != refresh_token
    assert fresh["accessToken"] != browser.token
    browser.token = fresh["accessToken"]
    clock.pass_by(minutes=9)
    assert (await browser.get("/me")).data["sessionId"] == session


async def test_an_access_token_lives_for_ten_minutes(
    browser: Browser, refresh_token: str, clock: Clock
) -> None:
    clock.pass_by(minutes=9, seconds=59)
    assert (await browser.get("/me")).status == 200
    clock.pass_by(seconds=1)
    late = await browser.get("/me")
    assert (late.status, late.code) == (401, "auth.token_invalid")
    assert late.headers["www-authenticate"] == "Bearer"
    assert (await browser.refresh(refresh_token)).status == 200


async def test_a_session_that_nobody_uses_lives_for_thirty_days(
    browser: Browser, refresh_token: str, clock: Clock
) -> None:
    clock.pass_by(days=29, hours=23)
    kept = (await browser.refresh(refresh_token)).data["refreshToken"]
    clock.pass_by(days=30)
    late = await browser.refresh(kept)
    assert (late.status, late.code) == (401, "auth.refresh_unknown")


async def test_a_session_lives_for_ninety_days_at_most(
    browser: Browser, refresh_token: str, clock: Clock
) -> None:
    opened = clock.now
    for _ in range(3):
        clock.pass_by(days=29)
        grant = (await browser.refresh(refresh_token)).data
        refresh_token = grant["refreshToken"]
    assert grant["refreshExpiresAt"] == "2026-04-02T03:04:05Z"
    assert (clock.now - opened).days == 87
    clock.pass_by(days=2, hours=23, minutes=55)
    grant = (await browser.refresh(refresh_token)).data
    assert grant["accessExpiresAt"] == "2026-04-02T03:04:05Z"
    browser.token = grant["accessToken"]
    assert (await browser.get("/me")).status == 200
    clock.pass_by(minutes=5)
    assert (await browser.get("/me")).code == "auth.token_invalid"
    assert (await browser.refresh(grant["refreshToken"])).code == "auth.refresh_unknown"


async def test_a_refresh_token_that_was_used_ends_the_whole_session(
    browser: Browser, thief: Browser, refresh_token: str, database: Database, wallet: Wallet
) -> None:
    stolen = refresh_token
    fresh = (await browser.refresh(refresh_token)).data
    refused = await thief.refresh(stolen)
    assert (refused.status, refused.code) == (401, "auth.refresh_reused")
    for token in (browser.token, fresh["accessToken"]):
        browser.token = token
        assert (await browser.get("/me")).code == "auth.token_invalid"
    assert (await browser.refresh(fresh["refreshToken"])).code == "auth.refresh_unknown"
    assert (await thief.refresh(stolen)).code == "auth.refresh_unknown"
    told = await database.fetch("SELECT channels, type, data FROM outbox")
    (message,) = [
        Message(tuple(row["channels"].split()), row["type"], msgspec.json.decode(row["data"])) for row in told
    ]
    conforms(message)
    user = message.data["user"]
    assert (message.channels, message.type) == ((f"user:{user}", f"user:{wallet.address}"), "notification")
    assert message.data["kind"] == "security"


async def test_the_owner_who_comes_second_is_refused_and_the_thief_loses_what_he_got(
    browser: Browser, thief: Browser, refresh_token: str
) -> None:
    loot = (await thief.refresh(refresh_token)).data
    thief.token = loot["accessToken"]
    assert (await thief.get("/me")).status == 200
    assert (await browser.refresh(refresh_token)).code == "auth.refresh_reused"
    assert (await thief.get("/me")).code == "auth.token_invalid"
    assert (await thief.refresh(loot["refreshToken"])).code == "auth.refresh_unknown"


async def test_theft_ends_no_other_session(
    browser: Browser, other_browser: Browser, thief: Browser, refresh_token: str, wallet: Wallet
) -> None:
    await wallet.sign_in(other_browser)
    await browser.refresh(refresh_token)
    await thief.refresh(refresh_token)
    assert (await other_browser.get("/me")).status == 200


async def test_the_same_client_that_repeats_itself_at_once_is_given_the_same_tokens(
    browser: Browser, refresh_token: str, clock: Clock, rows: Rows
) -> None:
    first = (await browser.refresh(refresh_token)).data
    before = await rows()
    clock.pass_by(seconds=10)
    assert (await browser.refresh(refresh_token)).data == first
    assert await rows() == before
    browser.token = first["accessToken"]
    assert (await browser.get("/me")).status == 200
    assert (await browser.refresh(first["refreshToken"])).status == 200


async def test_the_same_client_that_repeats_itself_later_is_taken_for_a_thief(
    browser: Browser, refresh_token: str, clock: Clock
) -> None:
    await browser.refresh(refresh_token)
    clock.pass_by(seconds=10, milliseconds=1)
    assert (await browser.refresh(refresh_token)).code == "auth.refresh_reused"


async def test_the_same_client_cannot_go_back_two_tokens(browser: Browser, refresh_token: str) -> None:
    second = (await browser.refresh(refresh_token)).data["refreshToken"]
    await browser.refresh(second)
    assert (await browser.refresh(refresh_token)).code == "auth.refresh_reused"


async def test_a_client_that_repeats_itself_from_another_network_keeps_its_session(
    browser: Browser, refresh_token: str
) -> None:
    first = (await browser.refresh(refresh_token)).data
    browser.client = "2001:db8::2"
    assert (await browser.refresh(refresh_token)).data == first
    assert (await browser.refresh(first["refreshToken"])).status == 200


async def test_a_client_is_told_by_its_user_agent(browser: Browser, refresh_token: str) -> None:
    await browser.refresh(refresh_token)
    browser.user_agent = "another"
    assert (await browser.refresh(refresh_token)).code == "auth.refresh_reused"


async def test_a_thief_who_looks_alike_gets_the_same_successor_and_the_next_use_ends_the_session(
    browser: Browser, refresh_token: str, process: Process, clock: Clock
) -> None:
    thief = Browser(process, user_agent=browser.user_agent, client="203.0.113.66")
    mine = (await browser.refresh(refresh_token)).data["refreshToken"]
    assert (await thief.refresh(refresh_token)).data["refreshToken"] == mine
    assert (await thief.refresh(mine)).status == 200
    clock.pass_by(minutes=10)
    assert (await browser.refresh(mine)).code == "auth.refresh_reused"


async def test_tabs_that_refresh_at_once_share_one_line_of_tokens(
    process: Process, start: Callable[..., Process], wallet: Wallet, rows: Rows
) -> None:
    processes = [process, start()]
    for _ in range(20):
        browser = Browser(process)
        token = (await wallet.sign_in(browser))["refreshToken"]
        before = await rows()
        tabs = [Browser(processes[n % 2]) for n in range(6)]
        answers = await asyncio.gather(*(tab.refresh(token) for tab in tabs))
        assert len({answer.data["refreshToken"] for answer in answers}) == 1
        assert (await rows())["refresh_tokens"] == before["refresh_tokens"] + 1
        assert (await browser.refresh(answers[0].data["refreshToken"])).status == 200


async def test_of_different_clients_that_use_one_token_at_once_none_keeps_the_session(
    process: Process, start: Callable[..., Process], wallet: Wallet
) -> None:
    processes = [process, start()]
    for _ in range(30):
        owner = Browser(process)
        token = (await wallet.sign_in(owner))["refreshToken"]
        clients = [Browser(processes[n % 2], user_agent=f"client {n}") for n in range(5)]
        answers = await asyncio.gather(*(client.refresh(token) for client in clients))
        won = [answer.data for answer in answers if answer.status == 200]
        assert len(won) == 1
        assert sorted(answer.code for answer in answers if answer.status != 200) == [
            "auth.refresh_reused",
            *["auth.refresh_unknown"] * 3,
        ]
        assert (await owner.refresh(won[0]["refreshToken"])).code == "auth.refresh_unknown"
        for loot in (won[0]["accessToken"], owner.token):
            fresh_process = Browser(start(), token=loot)
            assert (await fresh_process.get("/me")).code == "auth.token_invalid"


async def test_signing_out_while_tokens_rotate_leaves_no_session_behind(
    process: Process, wallet: Wallet
) -> None:
    for _ in range(30):
        browser = Browser(process)
        token = (await wallet.sign_in(browser))["refreshToken"]
        rotated, _ = await asyncio.gather(browser.refresh(token), browser.post("/logout"))
        if rotated.status == 200:
            browser.token = rotated.data["accessToken"]
            assert (await browser.get("/me")).code == "auth.token_invalid"
            token = rotated.data["refreshToken"]
        assert (await browser.refresh(token)).code == "auth.refresh_unknown"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "ecr_",
        "ecr_" + "A" * 43,
        "eca_" + "A" * 43,
        "ecr_" + "A" * 42 + "=",
        "ecr_" + "A" * 44,
        "ecr_" + "é" * 43,
        "A" * 60_000,
    ],
)
async def test_what_is_no_refresh_token_is_refused(browser: Browser, token: str, rows: Rows) -> None:
    answer = await browser.refresh(token)
    assert (answer.status, answer.code) == (401, "auth.refresh_unknown")
    assert sum((await rows()).values()) == 0


async def test_one_kind_of_token_does_not_pass_as_the_other(browser: Browser, refresh_token: str) -> None:
    access = browser.token
    assert access is not None
    for wrong in (access, "ecr_" + access[4:]):
        assert (await browser.refresh(wrong)).code == "auth.refresh_unknown"
    browser.token = refresh_token
    assert (await browser.get("/me")).code == "auth.required"
    browser.token = "eca_" + refresh_token[4:]
    assert (await browser.get("/me")).code == "auth.token_invalid"


async def test_guessed_tokens_open_nothing(browser: Browser, refresh_token: str) -> None:
    good = browser.token
    assert good is not None
    guesses = ["eca_" + secrets.token_urlsafe(32) for _ in range(20)]
    guesses += [
        good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :] for at in range(4, len(good) - 1, 6)
    ]
    for guess in guesses:
        browser.token = guess
        assert (await browser.get("/me")).code == "auth.token_invalid"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer  {}", "Bearer {} ", "Bearer {},{}"]
)
async def test_only_a_well_formed_bearer_header_counts(
    browser: Browser, refresh_token: str, authorization: str
) -> None:
    token = browser.token
    answer = await browser.send("GET", "/me", authorization=authorization.replace("{}", str(token)))
    assert (answer.status, answer.code) == (401, "auth.required")


async def test_the_scheme_is_known_in_any_case(browser: Browser, refresh_token: str) -> None:
    assert (await browser.send("GET", "/me", authorization=f"bearer {browser.token}")).status == 200


async def test_nobody_is_known_without_a_token(browser: Browser) -> None:
    for method, path in (
        ("GET", "/me"),
        ("GET", "/sessions"),
        ("POST", "/logout"),
        ("DELETE", "/sessions"),
        ("DELETE", "/sessions/0198a000-0000-7000-8000-000000000000"),
    ):
        assert (await browser.send(method, path)).code == "auth.required"


async def test_signing_out_ends_the_session_and_no_other(
    browser: Browser, other_browser: Browser, wallet: Wallet, refresh_token: str
) -> None:
    await wallet.sign_in(other_browser)
    assert (await browser.post("/logout")).data == {"ended": 1}
    assert (await browser.get("/me")).code == "auth.token_invalid"
    assert (await browser.refresh(refresh_token)).code == "auth.refresh_unknown"
    assert (await other_browser.get("/me")).status == 200


async def test_signing_out_everywhere_ends_all_sessions_of_the_user_and_nobody_elses(
    browser: Browser, other_browser: Browser, wallet: Wallet, clock: Clock, process: Process
) -> None:
    tokens = [(await wallet.sign_in(one))["refreshToken"] for one in (browser, other_browser)]
    stranger = Browser(process)
    await Wallet(clock).sign_in(stranger)
    assert (await browser.delete("/sessions")).data == {"ended": 2}
    for one in (browser, other_browser):
        assert (await one.get("/me")).code == "auth.token_invalid"
    for token in tokens:
        assert (await browser.refresh(token)).code == "auth.refresh_unknown"
    assert (await stranger.get("/me")).status == 200


async def test_a_user_sees_the_devices_that_are_signed_in(
    browser: Browser, other_browser: Browser, wallet: Wallet, clock: Clock, process: Process
) -> None:
    first = await wallet.sign_in(browser)
    clock.pass_by(minutes=5)
    second = await wallet.sign_in(other_browser)
    await Wallet(clock).sign_in(Browser(process))
    listed = (await browser.get("/sessions")).data
    assert listed == [
        {
            "id": second["sessionId"],
            "device": "Safari on iPhone",
            "name": None,
            "method": "wallet",
            "address": wallet.address,
            "createdAt": "2026-01-02T03:09:05Z",
            "refreshedAt": "2026-01-02T03:09:05Z",
            "expiresAt": "2026-04-02T03:09:05Z",
            "current": False,
        },
        {
            "id": first["sessionId"],
            "device": "Firefox on Linux",
            "name": None,
            "method": "wallet",
            "address": wallet.address,
            "createdAt": "2026-01-02T03:04:05Z",
            "refreshedAt": "2026-01-02T03:04:05Z",
            "expiresAt": "2026-04-02T03:04:05Z",
            "current": True,
        },
    ]


async def test_a_user_ends_a_session_from_another_device(
    browser: Browser, other_browser: Browser, wallet: Wallet
) -> None:
    await wallet.sign_in(browser)
    lost = await wallet.sign_in(other_browser)
    assert (await other_browser.get("/me")).status == 200
    assert (await browser.delete(f"/sessions/{lost['sessionId']}")).data == {"ended": 1}
    assert (await other_browser.get("/me")).code == "auth.token_invalid"
    assert len((await browser.get("/sessions")).data) == 1
    assert (await browser.delete(f"/sessions/{lost['sessionId']}")).status == 404


async def test_a_user_names_a_device_and_takes_the_name_away_again(
    browser: Browser, other_browser: Browser, wallet: Wallet
) -> None:
    mine, till = await wallet.sign_in(browser), await wallet.sign_in(other_browser)
    for name in ("Till at the door", "Kasse 2, Süd", "受付", "x" * 80, None):
        answer = await browser.send("PUT", f"/sessions/{till['sessionId']}", {"name": name})
        assert (answer.status, answer.data["name"], answer.data["current"]) == (200, name, False)
        names = {one["id"]: one["name"] for one in (await browser.get("/sessions")).data}
        assert names == {mine["sessionId"]: None, till["sessionId"]: name}


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " till",
        "till ",
        "a  b",
        "a\tb",
        "a\nb",
        "\u202eevil",
        "a\u200bb",
        "\u2066x",
        "a\u00a0b",
        "\ud800",
        "\x00",
        "x" * 81,
        1,
        ["x"],
    ],
    ids=ascii,
)
async def test_a_name_is_one_that_reads_as_what_it_is(browser: Browser, wallet: Wallet, name: object) -> None:
    session = (await wallet.sign_in(browser))["sessionId"]
    answer = await browser.send("PUT", f"/sessions/{session}", {"name": name})
    assert answer.status in (400, 422)
    assert (await browser.get("/sessions")).data[0]["name"] is None


async def test_nobody_names_a_strangers_session_or_one_that_ended(
    browser: Browser, other_browser: Browser, clock: Clock, wallet: Wallet, process: Process
) -> None:
    await wallet.sign_in(browser)
    stranger = Browser(process)
    theirs = await Wallet(clock).sign_in(stranger)
    ended = await wallet.sign_in(other_browser)
    await other_browser.post("/logout")
    for session in (theirs["sessionId"], ended["sessionId"], "0198a000-0000-7000-8000-000000000000"):
        answer = await browser.send("PUT", f"/sessions/{session}", {"name": "Mine"})
        assert (answer.status, answer.code) == (404, "auth.session_not_found")
    assert (await stranger.get("/sessions")).data[0]["name"] is None


async def test_nobody_ends_a_strangers_session(browser: Browser, clock: Clock, process: Process) -> None:
    await Wallet(clock).sign_in(browser)
    stranger = Browser(process)
    theirs = await Wallet(clock).sign_in(stranger)
    refused = await browser.delete(f"/sessions/{theirs['sessionId']}")
    assert (refused.status, refused.code) == (404, "auth.session_not_found")
    assert (await stranger.get("/me")).status == 200


async def test_sessions_long_dead_are_dropped_at_the_next_sign_in(
    browser: Browser, wallet: Wallet, clock: Clock, rows: Rows
) -> None:
    await wallet.sign_in(browser)
    await browser.post("/logout")
    await wallet.sign_in(browser)
    clock.pass_by(days=121)
    await wallet.sign_in(browser)
    counts = await rows()
    assert (counts["sessions"], counts["refresh_tokens"]) == (1, 1)


async def test_a_session_refreshed_for_long_keeps_few_tokens(
    browser: Browser, refresh_token: str, clock: Clock, rows: Rows
) -> None:
    for _ in range(80):
        clock.pass_by(days=1)
        refresh_token = (await browser.refresh(refresh_token)).data["refreshToken"]
    assert (await rows())["refresh_tokens"] <= 31


async def test_a_process_remembers_a_token_for_thirty_seconds_at_most(
    browser: Browser, start: Callable[..., Process], wallet: Wallet, clock: Clock
) -> None:
    await wallet.sign_in(browser)
    elsewhere = Browser(start(), token=browser.token)
    assert (await elsewhere.get("/me")).status == 200
    await browser.post("/logout")
    clock.pass_by(seconds=29)
    assert (await elsewhere.get("/me")).status == 200, "this process was not told"
    clock.pass_by(seconds=1)
    assert (await elsewhere.get("/me")).code == "auth.token_invalid"


DISCONNECT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'echain sessions' AND datname = current_database()
"""
LISTENING = """
    SELECT count(*) > 0 FROM pg_stat_activity
    WHERE application_name = 'echain sessions' AND datname = current_database() AND query ILIKE 'listen%'
      AND state = 'idle'
"""


async def refused_soon(browser: Browser) -> bool:
    """Whether the browser's token stops working within ten seconds, while the test's clock stands still."""
    async with asyncio.timeout(10):
        while (await browser.get("/me")).status == 200:
            await asyncio.sleep(0.005)
    return True


@pytest.fixture
async def following(
    start: Callable[..., Process], database: Database, module_database_url: str
) -> AsyncIterator[Process]:
    """Another process, which hears of sessions that end."""
    process = start()
    task = asyncio.create_task(process.authenticator.follow(module_database_url))
    while not await database.fetchval(LISTENING):
        await asyncio.sleep(0.01)
    yield process
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_processes_that_follow_hear_at_once_that_sessions_end(
    browser: Browser, other_browser: Browser, wallet: Wallet, following: Process
) -> None:
    first, second = await wallet.sign_in(browser), await wallet.sign_in(other_browser)
    elsewhere = [Browser(following, token=grant["accessToken"]) for grant in (first, second)]
    for one in elsewhere:
        assert (await one.get("/me")).status == 200
    await browser.delete(f"/sessions/{second['sessionId']}")
    assert await refused_soon(elsewhere[1])
    assert (await elsewhere[0].get("/me")).status == 200
    await browser.delete("/sessions")
    assert await refused_soon(elsewhere[0])


async def test_a_process_that_lost_its_connection_listens_again(
    browser: Browser, wallet: Wallet, database: Database, following: Process
) -> None:
    await wallet.sign_in(browser)
    elsewhere = Browser(following, token=browser.token)
    assert (await elsewhere.get("/me")).status == 200
    await database.execute(DISCONNECT)
    while await database.fetchval(LISTENING):
        await asyncio.sleep(0.01)
    await browser.post("/logout")
    assert (await elsewhere.get("/me")).status == 200, "nobody told it"
    assert await refused_soon(elsewhere), "it asks again once it hears again"
    await wallet.sign_in(browser)
    elsewhere.token = browser.token
    assert (await elsewhere.get("/me")).status == 200
    await browser.post("/logout")
    assert await refused_soon(elsewhere)


async def test_a_session_that_ends_while_its_token_is_looked_up_is_not_remembered(
    browser: Browser, wallet: Wallet, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = await wallet.sign_in(browser)
    assert (await browser.get("/me")).status == 200, "from here on this token needs no look-up"
    late = Browser(process, token=(await browser.refresh(grant["refreshToken"])).data["accessToken"])
    read, ended = asyncio.Event(), asyncio.Event()
    look_up = store.session_bearer

    async def slow(*args: Any, **named: Any) -> object:
        bearer = await look_up(*args, **named)
        read.set()
        await ended.wait()
        return bearer

    monkeypatch.setattr(store, "session_bearer", slow)
    looking = asyncio.create_task(late.get("/me"))
    await read.wait()
    assert (await browser.post("/logout")).status == 200
    ended.set()
    assert (await looking).status == 200, "it was read while the session lived"
    assert (await late.get("/me")).code == "auth.token_invalid"


async def test_only_so_many_tokens_are_remembered(
    browser: Browser, wallet: Wallet, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echain.accounts.authentication.CAPACITY", 3)
    for _ in range(6):
        await wallet.sign_in(browser)
        await browser.get("/me")
    assert len(process.authenticator._known) == 3
    assert (await browser.get("/me")).status == 200


async def test_a_dead_database_is_no_login(
    start: Callable[..., Process], own_postgres: Postgres, clock: Clock
) -> None:
    database = await Database.connect(own_postgres.url(), size=2, name="test")
    browser = Browser(start(database=database))
    await Wallet(clock).sign_in(browser)
    own_postgres.stop()
    browser.token = "eca_" + "A" * 43
    answer = await browser.get("/me")
    assert (answer.status, answer.code) == (503, "database.unavailable")
    await database.close()


async def test_the_database_itself_allows_one_unused_refresh_token_a_session(
    browser: Browser, refresh_token: str, database: Database
) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute(
            "INSERT INTO refresh_tokens (hash, session_id, expires_at) SELECT $1, id, expires_at "
            "FROM sessions",
            secrets.token_bytes(32),
        )
