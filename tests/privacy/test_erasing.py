"""Erasing an account: asked for by the wallet itself, whole or not at all, whatever runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.accounts.people import Browser, Process, Wallet
from tests.infra.relaying import running
from tests.privacy.home import ACCOUNT, Home, Person

from echain.accounts import erasing, service
from echain.accounts.types import AccessTokenInvalid
from echain.infra.database import AccountGone, Database, DatabaseUnavailable, Tx
from echain.infra.personal import Holding, Subject
from echain.kernel.evm import Address
from echain.kernel.ids import derived_id, uuid7
from echain.kernel.time import utc_now

CHAIN = 84532


async def whole(database: Database) -> dict[str, list[str]]:
    """Return every row of every table as text."""
    tables = await database.fetch(
        """
        SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
         WHERE table_schema IN ('public', 'jobs') AND table_type = 'BASE TABLE' ORDER BY 1
        """
    )
    return {
        table["name"]: sorted(
            row["line"]
            for row in await database.fetch(f"SELECT held::text AS line FROM {table['name']} AS held")
        )
        for table in tables
    }


async def event_of(home: Home, organizer: Person, *, ends_in: timedelta, cancelled: bool = False) -> UUID:
    """Write the projection of an event, as its organizer's wallet made it."""
    contract = Address(derived_id(str(uuid7()).encode()).bytes + bytes(4))
    event_id, now = derived_id(CHAIN, contract), utc_now()
    await home.database.execute(
        """
        INSERT INTO events (chain_id, ticket_contract, id, blockchain_id, organizer, name, metadata_uri,
                            metadata_hash, ticket_price_wei, max_tickets, starts_at, ends_at, fee_bps,
                            gift_policy, max_gifts, gifts_to_contracts, resale_cap_bps, royalty_bps,
                            created_block, created_at, transaction_hash, cancelled)
        VALUES ($1, $2, $3, 7, $4, 'Harbour Lights', '', $5, 1, 10, $6, $7, 0, 'free', 0, TRUE, 0, 0, 1, $6,
                $5, $8)
        """,
        *(CHAIN, contract, event_id, organizer.address, bytes(32), now, now + ends_in, cancelled),
    )
    return event_id


async def knows(process: service.Authenticator, header: Mapping[str, str]) -> bool:
    """Return whether another process still takes a token."""
    try:
        return await process(header, {}) is not None
    except AccessTokenInvalid:
        return False


async def test_the_wallet_confirms_in_words_and_the_account_is_gone_everywhere(
    home: Home, database_url: str
) -> None:
    ada = await home.person()
    other = service.authenticator(home.database, utc_now, home.users.tokens)
    header = ada.client.defaults
    async with running(other.follow(database_url)):
        async with asyncio.timeout(10):
            while not other._generation:  # it has begun to listen, and forgotten what it may have missed
                await asyncio.sleep(0.02)
        assert (await other(header, {})).id == ada.user_id  # type: ignore[union-attr]
        bare = await ada.client("DELETE", ACCOUNT)
        assert (bare.status, bare.error["code"]) == (403, "auth.confirmation_needed")
        assert bare.error["details"]["action"] == "account.erase"
        assert (await ada.client("GET", "/api/v1/auth/me")).status == 200
        done = await ada.erase()
        assert (done.status, done.data) == (200, {"erased": True})
        refused = await ada.client("GET", "/api/v1/auth/me")
        assert (refused.status, refused.error["code"]) == (401, "auth.token_invalid")
        async with asyncio.timeout(10):
            while await knows(other, header):
                await asyncio.sleep(0.02)
    assert ada.wallet is not None
    again = await home.person(ada.wallet)
    assert again.user_id != ada.user_id
    assert (await again.export())["sections"]["sessions"]["rows"][0]["address"] == ada.wallet.address


async def test_a_confirmation_of_somebody_elses_or_for_something_else_erases_nobody(home: Home) -> None:
    ada, eve = await home.person(), await home.person()
    theirs = await eve.confirmed()
    answer = await ada.client("DELETE", ACCOUNT, headers=theirs)
    assert answer.error["code"] == "auth.confirmation_invalid"
    asked = await ada.client(
        "POST",
        "/api/v1/auth/confirmations",
        json_body={"action": "organization.delete", "target": str(ada.user_id)},
    )
    assert ada.wallet is not None
    signed = f"{asked.data['id']}:{ada.wallet.sign(asked.data['message'])}"
    answer = await ada.client("DELETE", ACCOUNT, headers={"echain-confirmation": signed})
    assert answer.error["code"] == "auth.confirmation_invalid"
    assert (await ada.client("GET", "/api/v1/auth/me")).status == 200


async def test_who_has_no_wallet_signs_in_anew_within_five_minutes(home: Home) -> None:
    """By the session's beginning: that it was refreshed since is no sign-in."""
    ada = await home.without_wallet()
    await home.database.execute(
        "UPDATE sessions SET created_at = created_at - interval '301 seconds', refreshed_at = now()"
    )
    late = await ada.client("DELETE", ACCOUNT)
    assert (late.status, late.error["code"]) == (403, "auth.sign_in_not_fresh")
    await home.database.execute("UPDATE sessions SET created_at = created_at + interval '30 seconds'")
    assert (await ada.client("DELETE", ACCOUNT)).status == 200
    assert await home.database.fetchval("SELECT count(*) FROM users") == 0


async def test_who_has_a_wallet_confirms_with_it_however_they_signed_in(home: Home) -> None:
    ada = await home.without_wallet()
    await home.database.execute(
        "INSERT INTO wallets VALUES ($1, $2, $3, $3)", *(b"\xad" * 20, ada.user_id, utc_now())
    )
    answer = await ada.client("DELETE", ACCOUNT)
    assert (answer.status, answer.error["code"]) == (403, "auth.wallet_needed")


async def test_the_only_owner_of_others_hands_over_first(home: Home) -> None:
    ada, bo = await home.person(), await home.person()
    house = await ada.ask("POST", "/organizations", {"name": "The House"})
    house_id = UUID(house["id"])
    now = utc_now()
    await home.database.execute(
        "INSERT INTO members VALUES ($1, $2, 'manager', $3)", *(house_id, bo.user_id, now)
    )
    refused = await ada.erase()
    assert (refused.status, refused.error["code"]) == (409, "organizations.hand_over_first")
    assert refused.error["details"]["organizations"] == [{"id": house["id"], "name": "The House"}]
    await home.database.execute("UPDATE members SET role = 'owner' WHERE user_id = $1", bo.user_id)
    assert (await ada.erase()).status == 200
    members = await home.database.fetch("SELECT user_id, role FROM members")
    assert [tuple(row) for row in members] == [(bo.user_id, "owner")]
    assert (await bo.ask("GET", f"/organizations/{house['id']}"))["name"] == "The House"


async def test_an_organization_of_one_ends_with_them(home: Home) -> None:
    ada = await home.person()
    house = await ada.ask("POST", "/organizations", {"name": "Ada Alone"})
    await ada.ask(
        "POST", f"/organizations/{house['id']}/invitations", {"role": "gate", "email": "bo@x.example"}
    )
    assert (await ada.erase()).status == 200
    row = await home.database.fetchrow("SELECT name, deleted_at FROM organizations")
    assert row is not None
    assert row["name"] != "Ada Alone"
    assert row["deleted_at"] is not None
    for table in ("members", "organization_wallets"):
        assert await home.database.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    invitation = await home.database.fetchrow("SELECT ended_how, sealed, invited_by FROM invitations")
    assert invitation is not None
    assert tuple(invitation) == ("revoked", None, None)


@pytest.mark.parametrize(("days", "cancelled", "status"), [(1, False, 409), (1, True, 200), (-1, False, 200)])
async def test_nobody_leaves_people_with_an_event_that_only_they_can_run(
    home: Home, days: int, cancelled: bool, status: int
) -> None:
    ada = await home.person()
    event = await event_of(home, ada, ends_in=timedelta(days=days), cancelled=cancelled)
    answer = await ada.erase()
    assert answer.status == status, answer.body
    if status == 409:
        assert answer.error["code"] == "events.still_running"
        assert answer.error["details"]["events"] == [{"id": str(event), "name": "Harbour Lights"}]
        assert await home.database.fetchval("SELECT count(*) FROM users") == 1
    assert await home.database.fetchval("SELECT count(*) FROM events") == 1, "the chain's, and stays"


async def test_a_running_event_that_others_can_run_holds_nobody_up(home: Home) -> None:
    ada, bo = await home.person(), await home.person()
    house_id, now = uuid7(), utc_now()
    await event_of(home, ada, ends_in=timedelta(days=1))
    await home.database.execute("INSERT INTO organizations VALUES ($1, 'The House', $2)", house_id, now)
    await home.database.execute(
        "INSERT INTO organization_wallets VALUES ($1, $2, $3)", *(ada.address, house_id, now)
    )
    for person in (ada, bo):
        await home.database.execute(
            "INSERT INTO members VALUES ($1, $2, 'owner', $3)", *(house_id, person.user_id, now)
        )
    assert (await ada.erase()).status == 200
    kept = await home.database.fetchval("SELECT organization_id FROM organization_wallets")
    assert kept == house_id, "its events go on being the organization's"


async def test_administrators_give_the_role_up_first(home: Home) -> None:
    ada = await home.person()
    await home.database.execute(
        "INSERT INTO platform_admins VALUES ($1, $2, $3)", *(ada.address, bytes(20), utc_now())
    )
    assert (await ada.erase()).error["code"] == "auth.still_administrator"


async def test_what_others_hold_is_left_as_it_was(home: Home) -> None:
    """Every row of somebody who has the same things, before and after; audit and jobs grow by themselves."""
    ada, bo = await home.person(), await home.person()
    for person, name in ((ada, "ada"), (bo, "bo")):
        await person.ask("PUT", "/me/email", {"email": f"{name}@harbour.example"})
        await person.ask("POST", "/organizations", {"name": f"{name} alone"})
        await person.ask("POST", "/api-keys", {"name": name, "scopes": ["tickets:read"]})
    hers = {str(ada.user_id), ada.address.hex(), ada.wallet.address if ada.wallet else ""}
    before = await whole(home.database)
    assert (await ada.erase()).status == 200
    after = await whole(home.database)
    his = {str(bo.user_id), bo.address.hex()}
    for table, rows in before.items():
        theirs = [row for row in rows if any(mark in row for mark in his)]
        assert [row for row in after[table] if any(mark in row for mark in his)] == theirs, table
        assert not [row for row in theirs if any(mark in row for mark in hers)], table


async def test_killed_at_any_step_it_has_not_happened(home: Home, database_url: str) -> None:
    """The server ends the connection after each part's turn; then it is done, and all of it."""
    ada = await home.person()
    await ada.ask("PUT", "/me/email", {"email": "ada@harbour.example"})
    await ada.ask("POST", "/organizations", {"name": "Ada Alone"})
    await ada.ask("POST", "/api-keys", {"name": "till", "scopes": ["tickets:read"]})
    before = await whole(home.database)

    async def die(tx: Tx, _subject: Subject, _now: datetime) -> None:
        with suppress(asyncpg.PostgresConnectionError):
            await tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    for place in range(len(home.holdings) + 1):
        parts: Sequence[Holding] = [*home.holdings[:place], Holding(forget=die), *home.holdings[place:]]
        pool = await Database.connect(database_url, size=1, name="doomed")
        with pytest.raises(DatabaseUnavailable):
            async with pool.transaction() as tx:
                await erasing.erase(tx, ada.user_id, parts, now=utc_now())
        await pool.close()
        assert await whole(home.database) == before, place
    async with home.database.transaction() as tx:
        await erasing.erase(tx, ada.user_id, home.holdings, now=utc_now())
    assert await home.database.fetchval("SELECT count(*) FROM users") == 0


async def test_erased_beside_sign_ins_refreshes_keys_and_mail_it_is_done_whole(home: Home) -> None:
    """Twenty times, with everything that writes about the person at once: no error is ours, nothing is left.

    A sign-in comes before, and goes with the account, or after, and begins a new one.
    """
    for _ in range(20):
        await beside(home)


async def beside(home: Home) -> None:
    wallet = Wallet(utc_now)  # type: ignore[arg-type]
    browser = Browser(Process(home.app, home.users))
    grant = await wallet.sign_in(browser)
    ada = Person(UUID(grant["userId"]), home.client(grant["accessToken"]), wallet)
    confirmed = await ada.confirmed()
    spare = Browser(Process(home.app, home.users), client="192.0.2.9")
    nonce = (await spare.get("/nonce")).data["nonce"]
    message = wallet.message(nonce)

    async def told() -> None:
        async with home.database.transaction() as tx:
            await tx.execute(
                """
                INSERT INTO notifications
                    (id, user_id, address, kind, occasion, data, visible, created_at)
                SELECT $1, user_id, address, 'purchase', 'race', '{}', TRUE, $3
                  FROM wallets WHERE address = $2
                """,
                *(uuid7(), ada.address, utc_now()),
            )

    async def quietly(work: Any) -> None:
        with suppress(AccountGone):
            await work

    results = await asyncio.gather(
        ada.client("DELETE", ACCOUNT, headers=confirmed),
        ada.client("DELETE", ACCOUNT, headers=confirmed),
        spare.verify(message, wallet.sign(message)),
        Browser(Process(home.app, home.users)).refresh(grant["refreshToken"]),
        ada.client("POST", "/api/v1/api-keys", json_body={"name": "till", "scopes": ["tickets:read"]}),
        ada.client("PUT", "/api/v1/me/email", json_body={"email": "ada@harbour.example"}),
        quietly(told()),
    )
    erased = sorted(answer.status for answer in results[:2])
    assert erased[0] == 200, [answer.body for answer in results[:2]]
    assert erased[1] in (401, 403), "once confirmed, once done"
    statuses = [one.status for one in results[2:6] if one is not None]
    assert statuses[0] == 200, "whenever it came, a sign-in works"
    assert all(status < 500 for status in statuses), [getattr(one, "body", None) for one in results[2:6]]
    for table in ("sessions", "api_keys", "notifications", "email_verifications", "wallets", "members"):
        left = await home.database.fetchval(f"SELECT count(*) FROM {table} WHERE user_id = $1", ada.user_id)
        assert left == 0, table
    owner = await home.database.fetchval("SELECT user_id FROM wallets WHERE address = $1", ada.address)
    sessions = await home.database.fetchval("SELECT count(*) FROM sessions WHERE user_id = $1", owner)
    assert (owner is None and not sessions) or (owner != ada.user_id and sessions == 1)


async def test_two_owners_who_leave_at_once_leave_nobody_without_an_owner(home: Home) -> None:
    for _ in range(10):
        ada, bo, cy = [await home.person() for _ in range(3)]
        house_id, now = uuid7(), utc_now()
        await home.database.execute("INSERT INTO organizations VALUES ($1, 'The House', $2)", house_id, now)
        for person, role in ((ada, "owner"), (bo, "owner"), (cy, "gate")):
            await home.database.execute(
                "INSERT INTO members VALUES ($1, $2, $3, $4)", *(house_id, person.user_id, role, now)
            )
        signed = [await person.confirmed() for person in (ada, bo)]
        answers = await asyncio.gather(
            *(
                person.client("DELETE", ACCOUNT, headers=header)
                for person, header in zip((ada, bo), signed, strict=True)
            )
        )
        assert sorted(answer.status for answer in answers) == [200, 409]
        left = await home.database.fetchval(
            "SELECT count(*) FROM members WHERE organization_id = $1 AND role = 'owner'", house_id
        )
        assert left == 1
