"""What a thief, a suspended owner and an erased one can still do, and that their user hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.accounts.people import PUBLIC_URL, Browser, Process, Wallet
from tests.edge.http_client import Answered, Client
from tests.privacy.home import Home, Person, opened

from echain.accounts import service as accounts
from echain.entry.security import administrators
from echain.entry.settings import read
from echain.infra.messagestore import Relayed
from echain.kernel.time import utc_now
from echain.notify.relaying import Listener
from echain.notify.rendering import Templates
from echain.notify.service import Reach
from echain.security.hearing import Hearing

ACCEPT = "/api/v1/organizations/invitations/accept"


@pytest.fixture
async def home(database_url: str, tmp_path: Path) -> AsyncIterator[Home]:
    async with opened(database_url, tmp_path / "home") as home:
        yield home


async def signature(person: Person, action: str, target: str) -> dict[str, str]:
    assert person.wallet is not None
    asked = await person.ask("POST", "/auth/confirmations", {"action": action, "target": target})
    return {"echain-confirmation": f"{asked['id']}:{person.wallet.sign(asked['message'])}"}


async def organization(person: Person) -> str:
    return (await person.ask("POST", "/organizations", {"name": "Harbour"}))["id"]


async def invitation(person: Person, made: str) -> str:
    headers = await signature(person, "organization.invite_owner", made)
    path = f"/organizations/{made}/invitations"
    return (await person.ask("POST", path, {"role": "owner"}, **headers))["token"]


async def accept(person: Person, token: str) -> Answered:
    return await person.client("POST", ACCEPT, json_body={"token": token})


async def suspend(home: Home, person: Person, folder: Path) -> None:
    config = read({"ECHAIN_HOME": str(folder), "ECHAIN_DEVNET": "true", "ECHAIN_PUBLIC_URL": PUBLIC_URL})
    async with home.database.transaction() as tx:
        ended = await administrators(config).suspend(tx, person.user_id, now=utc_now())
    home.users.forget(set(ended))


async def hear(home: Home) -> None:
    """Hand what was told to the two who hear it, as the relay does."""
    rows = await home.database.fetch("SELECT channels, type, data FROM outbox ORDER BY position")
    told = [(channel, row["type"], row["data"]) for row in rows for channel in row["channels"].split()]
    messages = [
        Relayed(number, channel, kind, data.encode(), None, None, 0)
        for number, (channel, kind, data) in enumerate(told, 1)
    ]
    listener = Listener(Templates(), Reach(email=False, push=False), utc_now)
    async with home.database.transaction() as tx:
        await Hearing({}, utc_now)(tx, messages)
        await listener.seen(tx, messages)
        await listener.settled(tx, messages)


@pytest.mark.parametrize("fate", ["erased", "suspended"])
async def test_invitations_of_an_owner_who_is_gone_open_nothing(
    home: Home, tmp_path: Path, fate: str
) -> None:
    gone, stays = await home.person(), await home.person()
    made = await organization(gone)
    assert (await accept(stays, await invitation(gone, made))).status == 200
    spare, others = await invitation(gone, made), await invitation(stays, made)
    if fate == "erased":
        assert (await gone.erase()).status == 200
    else:
        await suspend(home, gone, tmp_path)
    answer = await accept(await home.person(), spare)
    assert (answer.status, answer.error["code"]) == (409, "organizations.invitation_over")
    assert (await accept(await home.person(), others)).status == 200, "others' go on"


async def test_an_invitation_under_way_does_not_outlive_a_suspension(home: Home, tmp_path: Path) -> None:
    person = await home.person()
    made = await organization(person)
    headers = await signature(person, "organization.invite_owner", made)
    async with home.database.transaction() as tx:
        await tx.execute("UPDATE users SET suspended_at = now() WHERE id = $1", person.user_id)
        inviting = asyncio.create_task(
            person.client(
                "POST",
                f"/api/v1/organizations/{made}/invitations",
                json_body={"role": "owner"},
                headers=headers,
            )
        )
        async with asyncio.timeout(20):
            while not await home.database.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database())"
            ):
                await asyncio.sleep(0.01)
    answer = await inviting
    assert (answer.status, answer.error["code"]) == (403, "auth.user_suspended")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_no_api_key_unmakes_an_owner(home: Home, method: str) -> None:
    founder, other = await home.person(), await home.person()
    made = await organization(founder)
    assert (await accept(other, await invitation(founder, made))).status == 200
    key = await other.ask("POST", "/api-keys", {"name": "k", "scopes": ["organizations:write"]})
    path = f"/organizations/{made}/members/{founder.user_id}"
    body = {"role": "gate"} if method == "PUT" else None
    answer = await home.client(key["key"])(method, f"/api/v1{path}", json_body=body)
    assert (answer.status, answer.error["code"]) == (403, "auth.confirmation_needed")
    target = f"{made}:{founder.user_id}"
    headers = await signature(other, "organization.unmake_owner", target)
    answer = await home.client(key["key"])(method, f"/api/v1{path}", json_body=body, headers=headers)
    assert answer.error["code"] == "auth.confirmation_invalid", "a session's signature is not its key's"
    await other.ask(method, path, body, **headers)


@pytest.mark.parametrize("wallets", [0, 1, 2])
async def test_a_stolen_session_is_told_and_counted_once_however_many_wallets(
    home: Home, wallets: int
) -> None:
    person, now = await home.without_wallet(), utc_now()
    async with home.database.transaction() as tx:
        for number in range(wallets):
            await tx.execute(
                "INSERT INTO wallets (address, user_id, created_at, last_sign_in_at) VALUES ($1, $2, $3, $3)",
                *(bytes([number + 1]) * 20, person.user_id, now),
            )
        grant = await accounts.open_session(
            tx, home.users.tokens, person.user_id, address=None, device="laptop", now=now
        )
    owner, thief = (Client(home.app, {"user-agent": agent}) for agent in ("mine", "theirs"))
    body = {"refreshToken": grant.refresh_token}
    assert (await owner("POST", "/api/v1/auth/refresh", json_body=body)).status == 200
    reused = await thief("POST", "/api/v1/auth/refresh", json_body=body)
    assert reused.error["code"] == "auth.refresh_reused"
    await hear(home)
    await hear(home)
    causes = await home.database.fetch("SELECT payload FROM jobs.queue")
    raised = [row["payload"].decode() for row in causes if b"refresh_reuse" in row["payload"]]
    # Hearing it again asks again, under the same name, by which it counts once.
    assert len(raised) == 2
    for payload in raised:
        assert f'"user:{person.user_id}"' in payload
        assert f'"session {grant.session_id}"' in payload
    [told] = await person.ask("GET", "/notifications")
    assert (told["kind"], told["title"]) == ("security", "A session was ended")


async def test_who_has_no_wallet_reads_that_a_key_was_made(home: Home) -> None:
    person = await home.without_wallet()
    await person.ask("POST", "/api-keys", {"name": "k", "scopes": ["events:read"]})
    await hear(home)
    [told] = await person.ask("GET", "/notifications")
    assert (told["kind"], told["title"]) == ("security", "An API key was made")
    assert "sign out everywhere and revoke your API keys" in told["text"]


async def test_wallets_that_race_for_an_account_without_one_end_as_one(home: Home) -> None:
    for _ in range(5):
        person = await home.without_wallet()
        token = person.client.defaults["authorization"].split()[1]
        asked: list[tuple[Browser, dict[str, str]]] = []
        for _ in range(3):
            wallet = Wallet(utc_now)  # type: ignore[arg-type]
            browser = Browser(Process(home.app, home.users), token=token)
            message = wallet.message((await browser.get("/nonce")).data["nonce"])
            asked.append((browser, {"message": message, "signature": wallet.sign(message)}))
        answers = await asyncio.gather(*(browser.post("/wallets", body) for browser, body in asked))
        assert sorted(answer.status for answer in answers) == [200, 409, 409]
        assert {one.code for one in answers if one.status == 409} == {"auth.wallet_present"}
        count = "SELECT count(*) FROM wallets WHERE user_id = $1"
        assert await home.database.fetchval(count, person.user_id) == 1
