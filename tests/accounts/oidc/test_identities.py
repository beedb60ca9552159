"""Identities belong to accounts: linked, listed, unlinked, never taken over, gone with the account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import msgspec
import pytest
from tests.accounts.oidc.world import Answer, Front, Site, Visitor, serving
from tests.accounts.people import Wallet

from echain.accounts import erasing, oidc
from echain.accounts.oidcstore import STARTS
from echain.accounts.store import ENDED_CHANNEL
from echain.entry.datakeys import attend
from echain.entry.privacy import holdings
from echain.infra.crypto import DataKeys
from echain.infra.secret import Secret
from echain.kernel.time import utc_now


@pytest.fixture
def wallet() -> Wallet:
    return Wallet(utc_now)


@pytest.fixture
async def site_of_two(database_url: str, tmp_path: Path, corp: Front, other: Front) -> AsyncIterator[Site]:
    async with serving(database_url, tmp_path, corp, other) as site:
        yield site


async def identities(visitor: Visitor) -> list[Any]:
    return (await visitor.get("/auth/identities")).json["data"]


async def linked(visitor: Visitor, wallet: Wallet, login: str = "ada") -> None:
    """Sign in with a wallet and link an identity to its account."""
    await visitor.sign_in_by_wallet(wallet)
    answer = await visitor.get(await visitor.agree(await visitor.link(returnTo="/settings"), login))
    assert answer.location == f"{visitor.site.url}/settings"


async def test_a_linked_identity_opens_the_wallets_account_but_never_speaks_for_the_wallet(
    site: Site, ada: Visitor, mallory: Visitor, wallet: Wallet
) -> None:
    await linked(ada, wallet)
    mine = await ada.me()
    assert [one["email"] for one in await identities(ada)] == ["ada@corp.example"]
    assert (await site.rows())["sessions"] == 1, "linking opens no session"
    await mallory.sign_in("ada")
    theirs = await mallory.me()
    assert theirs["userId"] == mine["userId"]
    assert theirs["address"] is None
    assert (await site.rows())["users"] == 1


async def test_the_wallet_is_told_of_what_was_linked_and_unlinked(
    site: Site, ada: Visitor, wallet: Wallet
) -> None:
    await linked(ada, wallet)
    (identity,) = await identities(ada)
    await ada.send("DELETE", f"/auth/identities/{identity['id']}")
    rows = await site.database.fetch("SELECT * FROM outbox ORDER BY 1")
    text = repr([tuple(row.values()) for row in rows])
    assert "identity_linked" in text
    assert "identity_unlinked" in text
    assert wallet.address in text
    assert "corp.example" not in text


async def test_linking_twice_is_linking_once(site: Site, ada: Visitor, wallet: Wallet) -> None:
    await linked(ada, wallet)
    await linked(ada, wallet)
    assert len(await identities(ada)) == 1


async def test_linking_takes_the_wallets_own_word(site: Site, ada: Visitor, wallet: Wallet) -> None:
    """A stolen session must not give itself another way in."""
    await ada.sign_in_by_wallet(wallet)
    answer = await ada.ask_link(confirmed=False)
    assert (answer.status, answer.code) == (403, "auth.confirmation_needed")
    other = {"echain-confirmation": "01900000-0000-7000-8000-000000000000:0x" + "11" * 65}
    answer = await ada.send("POST", "/auth/oauth/corp/link", json={}, headers=other)
    assert (answer.status, answer.code) == (403, "auth.confirmation_invalid")
    assert (await site.rows())["oidc_starts"] == 0


async def test_a_provider_that_is_away_uses_no_confirmation_up(
    site: Site, corp: Front, ada: Visitor, wallet: Wallet
) -> None:
    await ada.sign_in_by_wallet(wallet)
    corp.refuse.add("/.well-known/openid-configuration")
    answer = await ada.ask_link()
    assert (answer.status, answer.code) == (503, "auth.oidc_unavailable")
    assert await site.database.fetchval("SELECT count(*) FROM confirmations") == 1
    assert (await site.rows())["oidc_starts"] == 0


async def test_a_page_of_somebody_else_cannot_begin_linking(ada: Visitor) -> None:
    """The evil page's own identity would open Ada's account for ever."""
    await ada.sign_in("ada")
    for headers in ({}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = await ada.send("POST", "/auth/oauth/corp/link", json={}, headers=headers)
        assert (answer.status, answer.code) == (403, "auth.csrf")
    assert (await ada.get("/auth/oauth/corp/link")).status == 405
    assert (await ada.get("/auth/oauth/corp/start?link=true")).status == 422


async def test_nobody_links_without_being_signed_in(ada: Visitor) -> None:
    answer = await ada.send("POST", "/auth/oauth/corp/link", json={})
    assert (answer.status, answer.code) == (401, "auth.required")


async def test_a_link_dies_with_the_session_that_asked_for_it(
    site: Site, ada: Visitor, wallet: Wallet
) -> None:
    await ada.sign_in_by_wallet(wallet)
    back = await ada.agree(await ada.link(), "ada")
    await ada.send("POST", "/auth/logout")
    answer = await ada.get(back)
    assert (answer.status, answer.code) == (401, "auth.oidc_state_unknown")
    assert (await site.rows())["identities"] == 0


async def test_an_identity_is_never_taken_from_another_account(
    site: Site, ada: Visitor, mallory: Visitor, wallet: Wallet
) -> None:
    await ada.sign_in("ada")
    mine = await ada.me()
    await mallory.sign_in_by_wallet(wallet)
    answer = await mallory.get(await mallory.agree(await mallory.link(), "ada"))
    assert (answer.status, answer.code) == (409, "auth.identity_taken")
    assert await identities(mallory) == []
    await ada.sign_in("ada")
    assert (await ada.me())["userId"] == mine["userId"]


async def test_of_two_accounts_that_link_one_identity_at_once_one_gets_it(site: Site) -> None:
    visitors = [site.visitor() for _ in range(4)]
    try:
        for one in visitors:
            await one.sign_in_by_wallet(Wallet(utc_now))
        backs = [await one.agree(await one.link(), "ada") for one in visitors]
        answers = await asyncio.gather(*(one.get(back) for one, back in zip(visitors, backs, strict=True)))
    finally:
        for one in visitors:
            await one.session.close()
    assert sorted(one.status for one in answers) == [303, 409, 409, 409]
    assert (await site.rows())["identities"] == 1


async def test_e_mail_addresses_match_nobody(site_of_two: Site) -> None:
    """Another provider with the same confirmed address is another person."""
    async with site_of_two.visitor() as ada, site_of_two.visitor() as twin:
        await ada.sign_in("ada", "corp")
        await twin.sign_in("ada", "other")
        assert [one["email"] for one in await identities(ada)] == ["ada@corp.example"]
        assert [one["email"] for one in await identities(twin)] == ["ada@corp.example"]
        assert (await ada.me())["userId"] != (await twin.me())["userId"]


# --- Without a wallet ---


def by_bearer(visitor: Visitor) -> None:
    visitor.take_session()
    visitor.session.cookie_jar.clear(lambda one: one.key.startswith(("echain_token", "echain_csrf")))


async def test_who_has_no_wallet_links_another_provider_right_after_signing_in(
    site_of_two: Site,
) -> None:
    async with site_of_two.visitor() as ada:
        await ada.sign_in("ada", "corp")
        by_bearer(ada)
        answer = await ada.get(await ada.agree(await ada.link("other"), "ada"))
        assert answer.status == 303
        assert {one["provider"] for one in await identities(ada)} == {"corp", "other"}
        await site_of_two.database.execute(
            "UPDATE sessions SET created_at = created_at - interval '5 minutes 1 second'"
        )
        answer = await ada.ask_link("other")
        assert (answer.status, answer.code) == (403, "auth.sign_in_not_fresh")


async def test_the_last_way_in_stays_also_in_a_race(site_of_two: Site) -> None:
    async with site_of_two.visitor() as ada:
        await ada.sign_in("ada", "corp")
        by_bearer(ada)
        (only,) = await identities(ada)
        answer = await ada.send("DELETE", f"/auth/identities/{only['id']}")
        assert (answer.status, answer.code) == (409, "auth.last_way_in")
        await ada.get(await ada.agree(await ada.link("other"), "ada"))
        for _ in range(5):
            both = await identities(ada)
            assert len(both) == 2
            answers = await asyncio.gather(
                *(ada.send("DELETE", f"/auth/identities/{one['id']}") for one in both)
            )
            assert sorted(one.status for one in answers) in ([200, 409], [200, 401]), answers
            assert await site_of_two.database.fetchval("SELECT count(*) FROM identities") == 1
            left = await site_of_two.database.fetchval("SELECT provider FROM identities")
            ada.token = None
            await ada.sign_in("ada", left)
            by_bearer(ada)
            await ada.get(await ada.agree(await ada.link("other" if left == "corp" else "corp"), "ada"))


async def test_unlinking_ends_the_sessions_that_the_identity_opened_and_no_others(
    site: Site, ada: Visitor, mallory: Visitor, wallet: Wallet
) -> None:
    await linked(ada, wallet)
    await mallory.sign_in("ada")
    assert await mallory.me() is not None
    (identity,) = await identities(ada)
    answer = await ada.send("DELETE", f"/auth/identities/{identity['id']}")
    assert answer.json["data"] == {"ended": 1}
    assert await mallory.me() is None
    assert await ada.me() is not None
    await mallory.sign_in("ada")
    assert (await mallory.me())["userId"] != (await ada.me())["userId"], "a new user comes"


async def test_every_process_hears_at_once_that_unlinking_ended_sessions(
    site: Site, ada: Visitor, mallory: Visitor, wallet: Wallet
) -> None:
    await linked(ada, wallet)
    await mallory.sign_in("ada")
    session = (await mallory.me())["sessionId"]
    (identity,) = await identities(ada)
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(site.config.database_url)
    try:
        await listener.add_listener(ENDED_CHANNEL, lambda *told: heard.put_nowait(told[3]))
        await ada.send("DELETE", f"/auth/identities/{identity['id']}")
        async with asyncio.timeout(20):
            assert await heard.get() == session
    finally:
        await listener.close()


async def test_nobody_sees_or_unlinks_what_is_anothers(site: Site, ada: Visitor, mallory: Visitor) -> None:
    await ada.sign_in("ada")
    await mallory.sign_in("eve")
    (mine,) = await identities(ada)
    by_bearer(mallory)
    assert [one["email"] for one in await identities(mallory)] == ["eve@evil.example"]
    for foreign in (mine["id"], "01900000-0000-7000-8000-000000000000"):
        answer = await mallory.send("DELETE", f"/auth/identities/{foreign}")
        assert (answer.status, answer.code) == (404, "auth.identity_not_found")
    assert len(await identities(ada)) == 1


async def taking_in(visitor: Visitor, wallet: Wallet, **changes: str) -> Answer:
    """Ask to take a wallet into the account."""
    nonce = (await visitor.get("/auth/nonce")).json["data"]["nonce"]
    own = {"domain": urlsplit(visitor.site.url).netloc, "uri": visitor.site.url}
    message = wallet.message(nonce, **own | changes)
    return await visitor.send(
        "POST", "/auth/wallets", json={"message": message, "signature": wallet.sign(message)}
    )


async def test_who_began_at_a_provider_takes_a_wallet_in_and_is_the_same_user_with_it(
    site: Site, ada: Visitor, mallory: Visitor, wallet: Wallet
) -> None:
    await ada.sign_in("ada")
    by_bearer(ada)
    mine = await ada.me()
    answer = await taking_in(ada, wallet)
    assert (answer.status, answer.json["data"]) == (200, {"address": wallet.address})
    assert (await ada.me())["address"] is None, "this session is still the provider's"
    await mallory.sign_in_by_wallet(wallet)
    assert (await mallory.me())["userId"] == mine["userId"]
    assert (await site.rows())["users"] == 1
    (identity,) = await identities(mallory)
    unlinked = await mallory.send("DELETE", f"/auth/identities/{identity['id']}")
    assert unlinked.status == 200, "the wallet is a way in"
    written = "SELECT count(*) FROM audit_entries WHERE action = 'wallet.added' AND actor_id = $1"
    assert await site.database.fetchval(written, mine["userId"]) == 1


async def test_a_wallet_is_taken_in_by_its_own_word_by_who_has_just_signed_in_and_has_none(
    site: Site, ada: Visitor, mallory: Visitor, wallet: Wallet
) -> None:
    answer = await taking_in(ada, wallet)
    assert (answer.status, answer.code) == (401, "auth.required")
    await mallory.sign_in_by_wallet(wallet)
    theirs = (await mallory.me())["userId"]
    answer = await taking_in(mallory, Wallet(utc_now))
    assert (answer.status, answer.code) == (409, "auth.wallet_present")
    await ada.sign_in("ada")
    answer = await taking_in(ada, Wallet(utc_now))
    assert (answer.status, answer.code) == (403, "auth.csrf")
    by_bearer(ada)
    answer = await taking_in(ada, wallet)
    assert (answer.status, answer.code) == (409, "auth.wallet_taken")
    answer = await taking_in(ada, Wallet(utc_now), domain="evil.example")
    assert (answer.status, answer.code) == (401, "auth.domain_mismatch")
    await site.database.execute("UPDATE sessions SET created_at = created_at - interval '6 minutes'")
    answer = await taking_in(ada, Wallet(utc_now))
    assert (answer.status, answer.code) == (403, "auth.sign_in_not_fresh")
    assert await site.database.fetch("SELECT user_id::text FROM wallets") == [(theirs,)]


# --- The audit log ---


async def test_what_happens_to_identities_is_in_the_audit_log_without_names(
    site: Site, ada: Visitor, mallory: Visitor, wallet: Wallet
) -> None:
    await linked(ada, wallet)
    await mallory.sign_in("ada")
    user, session = (await mallory.me())["userId"], (await mallory.me())["sessionId"]
    (identity,) = await identities(ada)
    await ada.send("DELETE", f"/auth/identities/{identity['id']}")
    rows = await site.database.fetch(
        """
        SELECT action, resource, actor_kind, actor_id, credential, diff::text AS diff FROM audit_entries
        WHERE actor_id = $1 AND (action LIKE 'identity.%' OR diff::text LIKE '%issuer%') ORDER BY id
        """,
        user,
    )
    mine = f"identity:{identity['id']}"
    assert [(row["action"], row["resource"]) for row in rows] == [
        ("identity.link_asked", f"user:{user}"),
        ("identity.linked", mine),
        ("session.opened", f"session:{session}"),
        ("identity.unlinked", mine),
    ]
    assert {(row["actor_kind"], row["actor_id"]) for row in rows} == {("user", user)}
    assert rows[2]["credential"] == f"session:{session}"
    assert rows[1]["credential"] == f"session:{(await ada.me())['sessionId']}"
    assert '"issuer"' in rows[1]["diff"]
    text = repr([tuple(row.values()) for row in rows])
    assert "Ada" not in text
    assert "corp.example" not in text


async def test_who_is_suspended_is_not_let_in_by_a_provider(site: Site, ada: Visitor) -> None:
    await ada.sign_in("ada")
    before = await site.rows()
    await site.database.execute("UPDATE users SET suspended_at = now()")
    answer = await ada.sign_in("ada")
    assert (answer.status, answer.code) == (403, "auth.user_suspended")
    assert answer.set_cookies == []
    assert await site.rows() == before


# --- Personal data ---


async def test_identities_are_shown_and_erased_with_the_account(site: Site, ada: Visitor) -> None:
    await ada.sign_in("ada")
    user_id = UUID((await ada.me())["userId"])
    held = holdings(DataKeys(site.config.data_keys))
    async with site.database.transaction() as tx:
        shown = await erasing.export(tx, user_id, erasing.sections_of(held), now=utc_now())
    (row,) = shown.sections["identities"].rows
    assert (row["subject"], row["name"], row["email"]) == ("ada", "Ada Lovelace", "ada@corp.example")
    assert "sealed" not in row
    msgspec.json.encode(shown)
    await ada.start()
    async with site.database.transaction() as tx:
        await erasing.erase(tx, user_id, held, now=utc_now())
    left = await site.rows()
    assert left == {**dict.fromkeys(left, 0), "oidc_starts": 1}
    await ada.sign_in("ada")
    assert (await ada.me())["userId"] != str(user_id)


async def test_signing_in_while_the_account_is_erased_ends_well(site: Site, ada: Visitor) -> None:
    """Each round: a session of the old user that is erased, or one of a new user; never half of either."""
    held = holdings(DataKeys(site.config.data_keys))
    await ada.sign_in("ada")

    async def erase() -> None:
        user_id = await site.database.fetchval("SELECT user_id FROM identities")
        async with site.database.transaction() as tx:
            await erasing.erase(tx, user_id, held, now=utc_now())

    for _ in range(8):
        back = await ada.agree(await ada.start(), "ada")
        answer, _ = await asyncio.gather(ada.get(back), erase())
        assert answer.status == 303
        rows = await site.rows()
        assert rows["users"] == rows["identities"] == rows["sessions"] in (0, 1)
        if not rows["users"]:
            await ada.sign_in("ada")


async def test_rotated_keys_open_what_older_ones_sealed_and_can_replace_them(
    site: Site, ada: Visitor
) -> None:
    await ada.sign_in("ada")
    await ada.start()
    newer = Secret("77" * 32)
    both = msgspec.structs.replace(site.config, data_keys=(newer, *site.config.data_keys))
    await attend(both, rotate=True)
    only = DataKeys([newer])
    (shown,) = await oidc.identities(
        site.database, only, await site.database.fetchval("SELECT user_id FROM identities")
    )
    assert shown.email == "ada@corp.example"
    start = await site.database.fetchrow("SELECT id, sealed FROM oidc_starts")
    assert start is not None
    assert STARTS.open(only, start["id"], start["sealed"])
