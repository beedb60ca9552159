"""Only an address that agreed gets mail; nobody guesses, repeats, floods or smuggles."""

from __future__ import annotations

import asyncio
import logging
import random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.events.shop import Person
from tests.notify.town import KEYS, Town, link, subjects

from echain.infra.crypto import DataKeys, Unopenable
from echain.infra.reseal import reseal
from echain.infra.secret import Secret
from echain.kernel.errors import Invalid
from echain.kernel.mailbox import parse_email
from echain.notify.addressstore import ADDRESS, ASKED
from echain.notify.kinds import SWEEP
from echain.notify.pushstore import SUBSCRIPTION


def token_of(town: Town) -> str:
    return link(town.office.letters.pop()).rpartition("=")[2]


async def verify(town: Town, token: str) -> int:
    return (await town.anyone("POST", "/api/v1/email/verify", json_body={"token": token})).status


async def test_mail_goes_only_to_an_address_that_agreed(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident()
    event, _ = await town.shop.published(organizer)
    shown = await town.ask(ada, "PUT", "/me/email", {"email": "Ada@X.Example"})
    assert (shown["email"], shown["pending"]) == (None, "Ada@x.example")
    await town.quiet()
    token = token_of(town)
    await town.buys(ada, event, block=1)
    await town.final(1)
    await town.quiet()
    assert town.office.letters == []
    assert await verify(town, token) == 200
    shown = await town.ask(ada, "GET", "/me/email")
    assert (shown["email"], shown["pending"], shown["suspended"]) == ("Ada@x.example", None, False)
    await town.buys(ada, event, block=2)
    await town.final(2)
    await town.quiet()
    assert subjects(town.office.letters) == ["Your tickets for Harbour Lights"]


async def test_a_link_is_good_once_and_for_a_day_and_guesses_are_not(town: Town) -> None:
    ada = await town.resident()
    await town.ask(ada, "PUT", "/me/email", {"email": "ada@x.example"})
    await town.quiet()
    token = token_of(town)
    for guess in ("", "x", "ecv_" + "A" * 43, token[:-1], token + "A", token.swapcase(), token.upper()):
        assert await verify(town, guess) == 404, guess
    answers = await asyncio.gather(*(verify(town, token) for _ in range(8)))
    assert sorted(answers) == [200] + [404] * 7
    await town.later(hours=1)
    await town.ask(ada, "PUT", "/me/email", {"email": "new@x.example"})
    await town.quiet()
    late = token_of(town)
    await town.later(hours=25)
    assert await verify(town, late) == 404
    assert (await town.ask(ada, "GET", "/me/email"))["email"] == "ada@x.example"


async def test_asking_again_ends_the_earlier_link(town: Town) -> None:
    ada = await town.resident()
    await town.ask(ada, "PUT", "/me/email", {"email": "ada@x.example"})
    await town.quiet()
    first = token_of(town)
    await town.later(seconds=61)
    await town.ask(ada, "POST", "/me/email/resend")
    await town.quiet()
    assert await verify(town, first) == 404
    assert await verify(town, token_of(town)) == 200


async def test_a_user_waits_longer_each_time_and_an_address_is_not_flooded_by_many(town: Town) -> None:
    ada = await town.resident()
    pauses = (0, 60, 300, 1_800, 7_200)
    for pause in pauses:
        if pause:
            await town.later(seconds=pause - 1)
            early = await town.answer(ada, "POST", "/me/email/resend")
            assert (early.status, early.error["code"]) == (429, "notify.too_many_verifications")
            assert early.header("retry-after") in ("1", "2")
            await town.later(seconds=1)
        done = await town.answer(ada, "PUT", "/me/email", {"email": "victim@x.example"})
        assert done.status == 200, done.body
    await town.later(hours=12)
    # Not with another spelling, not by another user, not for another address of the same user.
    bo = await town.resident()
    for person, email in ((ada, "other@x.example"), (bo, "VICTIM@x.example")):
        assert (await town.answer(person, "PUT", "/me/email", {"email": email})).status == 429
    assert (await town.answer(bo, "PUT", "/me/email", {"email": "bo@x.example"})).status == 200
    await town.quiet()
    asked = [letter.recipient for letter in town.office.letters]
    assert asked.count("victim@x.example") <= 5
    await town.later(hours=25)
    assert (await town.answer(ada, "PUT", "/me/email", {"email": "victim@x.example"})).status == 200


async def test_addresses_that_were_asked_are_forgotten_after_two_days(town: Town) -> None:
    ada = await town.resident("ada@x.example")
    await town.later(hours=24)
    await town.ask(ada, "PUT", "/me/email", {"email": "new@x.example"})
    await town.later(hours=25)
    await town.tick(SWEEP)
    assert await town.database.fetchval("SELECT count(*) FROM email_verifications") == 1
    await town.later(hours=24)
    await town.tick(SWEEP)
    assert await town.database.fetchval("SELECT count(*) FROM email_verifications") == 0
    assert (await town.ask(ada, "GET", "/me/email"))["email"] == "ada@x.example"


async def test_old_notifications_are_forgotten(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    event, _ = await town.shop.published(organizer)
    await town.buys(ada, event, block=1)
    await town.final(1)
    await town.quiet()
    await town.later(days=364)
    await town.tick(SWEEP)
    ada = await town.shop.person(ada.wallet)
    assert [one["kind"] for one in await town.inbox(ada)] == ["purchase", "security"]
    await town.later(days=2)
    await town.tick(SWEEP)
    assert await town.inbox(ada) == []
    assert await town.deliveries() == []


async def test_many_who_ask_at_once_for_one_address_send_one_mail(town: Town) -> None:
    people = await asyncio.gather(*(town.resident() for _ in range(6)))
    answers = await asyncio.gather(
        *(town.answer(person, "PUT", "/me/email", {"email": "victim@x.example"}) for person in people)
    )
    assert sorted(answer.status for answer in answers) == [200] + [429] * 5
    ada = people[0]
    answers = await asyncio.gather(
        *(town.answer(ada, "PUT", "/me/email", {"email": f"x{number}@x.example"}) for number in range(6))
    )
    assert sum(answer.status == 200 for answer in answers) <= 1


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_people_do_at_once_each_gets_an_answer(town: Town, seed: int) -> None:
    """Asked, asked again, confirmed and removed in any order: nobody waits for each other for ever."""
    rng = random.Random(seed)
    people = [await town.resident() for _ in range(4)]

    async def act(person: Person) -> None:
        address = f"x{rng.randrange(3)}@x.example"
        mail = [letter for letter in town.office.letters if "Confirm" in letter.parsed["Subject"]]
        token = link(rng.choice(mail)).rpartition("=")[2] if mail else ""
        answer = await rng.choice(
            [
                lambda: town.answer(person, "PUT", "/me/email", {"email": address}),
                lambda: town.answer(person, "DELETE", "/me/email"),
                lambda: town.answer(person, "POST", "/me/email/resend"),
                lambda: town.answer(person, "GET", "/me/email"),
                lambda: town.anyone("POST", "/api/v1/email/verify", json_body={"token": token}),
                lambda: town.anyone("POST", "/api/v1/email/verify", json_body={"token": token}),
            ]
        )()
        assert answer.status in (200, 404, 429), answer.body
        town.clock.pass_by(seconds=rng.choice([0, 30, 70]))

    async def live(person: Person) -> None:
        for _ in range(15):
            await act(person)

    await asyncio.gather(*(live(person) for person in people))
    await town.quiet()
    addresses = await town.database.fetch("SELECT user_id, sealed FROM email_addresses")
    for row in addresses:
        assert ADDRESS.open(KEYS, row["user_id"], row["sealed"]).endswith(b"@x.example")


async def test_another_address_takes_over_when_it_agrees_and_the_one_before_is_told(town: Town) -> None:
    ada = await town.resident("old@x.example")
    await town.later(minutes=10)
    await town.ask(ada, "PUT", "/me/email", {"email": "new@x.example"})
    await town.quiet()
    shown = await town.ask(ada, "GET", "/me/email")
    assert (shown["email"], shown["pending"]) == ("old@x.example", "new@x.example")
    assert await verify(town, token_of(town)) == 200
    await town.quiet()
    (farewell,) = town.office.letters
    assert (farewell.recipient, farewell.parsed["Subject"]) == (
        "old@x.example",
        "No more mail to this address",
    )
    assert ada.text in farewell.part("text/plain")


async def test_a_removed_address_is_gone_from_the_database(town: Town) -> None:
    ada = await town.resident("ada@x.example")
    await town.ask(ada, "DELETE", "/me/email")
    await town.quiet()
    assert [letter.recipient for letter in town.office.letters] == ["ada@x.example"]
    assert await town.database.fetchval("SELECT count(*) FROM email_addresses") == 0
    gone = await town.answer(ada, "DELETE", "/me/email")
    assert (gone.status, gone.error["code"]) == (404, "notify.email_not_found")
    assert (await town.ask(ada, "GET", "/me/email"))["email"] is None


@pytest.mark.parametrize(
    "email",
    [
        "ada@x.example\r\nBcc: eve@x.example",
        "ada@x.example\nSubject: x",
        "ada@x.example, eve@x.example",
        "Ada <ada@x.example>",
        '"ada bcc:"@x.example',
        "ada@[127.0.0.1]",
        "ada@127.0.0.1",
        "ada@localhost",
        "ada@x..example",
        "ada@-x.example",
        "ada@x.example\u2028",
        "ad\u202ea@x.example",
        ".ada@x.example",
        "a" * 65 + "@x.example",
        "ada@" + "x" * 64 + ".example",
        "@x.example",
        "ada@",
    ],
)
async def test_nothing_but_an_address_is_taken_for_one(silent_town: Town, email: str) -> None:
    ada = await silent_town.shop.person()
    answer = await silent_town.answer(ada, "PUT", "/me/email", {"email": email})
    assert answer.status == 422, answer.body
    assert await silent_town.database.fetchval("SELECT count(*) FROM email_verifications") == 0


@given(st.text(max_size=60))
def test_what_is_taken_for_an_address_can_end_no_header_and_no_command(text: str) -> None:
    for candidate in (text, f"{text}@x.example", f"ada@{text}.example"):
        try:
            address = parse_email(candidate)
        except Invalid:
            continue
        assert address.isascii()
        assert not set(address) & set('\r\n\t <>,;:"()[]\\\x00')
        assert address.count("@") == 1


def test_a_domain_of_other_letters_is_sent_to_in_ascii() -> None:
    assert parse_email("ada@bücher.example") == "ada@xn--bcher-kva.example"


async def test_addresses_are_sealed_and_stay_where_they_are(
    town: Town, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("ada", "bo"):
        await town.resident(f"{name}@secret.example")
    rows = await town.database.fetch("SELECT user_id, sealed FROM email_addresses ORDER BY user_id")
    assert not any(b"secret" in row["sealed"] for row in rows)
    dump = await town.database.fetch(
        "SELECT payload::text AS text FROM jobs.queue UNION ALL SELECT data FROM messages "
        "UNION ALL SELECT data::text FROM notifications UNION ALL SELECT traceback::text FROM jobs.log"
    )
    assert not any("secret.example" in (row["text"] or "") for row in dump)
    logged = [record.getMessage() for record in caplog.records if record.name != "mail.log"]  # the server's
    assert "secret.example" not in "\n".join([*logged, *capsys.readouterr()])
    await town.database.execute(
        "UPDATE email_addresses SET sealed = $2 WHERE user_id = $1", rows[0]["user_id"], rows[1]["sealed"]
    )
    with pytest.raises(Unopenable):
        ADDRESS.open(KEYS, rows[0]["user_id"], rows[1]["sealed"])


async def test_a_rotation_reseals_addresses_and_limits_still_find_them(town: Town) -> None:
    await town.resident("ada@x.example")
    rotated = DataKeys([Secret("33" * 32), Secret("11" * 32)])
    await reseal(town.database, rotated, [ADDRESS, ASKED, SUBSCRIPTION])
    row = await town.database.fetchrow("SELECT user_id, sealed, found_by FROM email_addresses")
    assert row is not None
    new = DataKeys([Secret("33" * 32)])
    assert ADDRESS.open(new, UUID(str(row["user_id"])), row["sealed"]) == b"ada@x.example"
    assert row["found_by"] == ADDRESS.indexes(new, b"ADA@x.example")[0]


async def test_without_a_mail_server_nothing_is_promised(silent_town: Town) -> None:
    from echain.edge.http import StoredIdempotency, application
    from echain.infra.outbound import Rules
    from echain.notify import rest

    town = silent_town
    surface = rest.Surface(town.database, town.tools.composer, False, "key", Rules())
    town.app = application(
        rest.endpoints(surface),
        authenticate=town.shop.authenticator,
        clock=town.clock,
        idempotency=StoredIdempotency(town.database),
        title="echain",
        version="1",
    )
    ada = await town.shop.person()
    refused = await town.answer(ada, "PUT", "/me/email", {"email": "ada@x.example"})
    assert (refused.status, refused.error["code"]) == (409, "notify.email_unavailable")
    ways = (await town.ask(ada, "GET", "/me/notification-preferences"))["ways"]
    assert ways["email"] == {"available": False, "reason": "this platform has no mail server"}


async def test_the_audit_log_knows_what_was_done_and_no_address(town: Town) -> None:
    ada = await town.resident()
    await town.ask(ada, "PUT", "/me/email", {"email": "ada@x.example"})
    await town.later(hours=1)
    await town.ask(ada, "POST", "/me/email/resend")
    await town.quiet()
    assert await verify(town, token_of(town)) == 200
    await town.ask(ada, "DELETE", "/me/email")
    rows = await town.database.fetch(
        "SELECT * FROM audit_entries WHERE action LIKE 'email.%' ORDER BY position"
    )
    assert [row["action"] for row in rows] == [
        *("email.asked", "email.asked_again", "email.verified", "email.removed")
    ]
    assert len({row["resource"] for row in rows}) == 1
    assert "x.example" not in str(rows)
    assert "ecv_" not in str(rows)
