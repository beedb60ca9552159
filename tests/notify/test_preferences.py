"""People choose by kind and way, unsubscribe by one click, and see only what is theirs."""

from __future__ import annotations

from typing import Any

import pytest
from tests.infra.relaying import until
from tests.notify.town import Town, link, subjects

from echain.notify.types import NoticeKind

ONE_CLICK = b"List-Unsubscribe=One-Click"
FORM = {"content-type": "application/x-www-form-urlencoded"}


async def bought(town: Town, language: str = "en") -> tuple[Any, Any]:
    organizer, ada = await town.resident(), await town.resident("ada@x.example", language)
    event, _ = await town.shop.published(organizer)
    await town.buys(ada, event, block=1)
    await town.final(1)
    await town.quiet()
    return ada, event


def unsubscribe_link(letter: Any) -> str:
    header = letter.parsed["List-Unsubscribe"]
    assert letter.parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    # RFC 8058 wants one https URL in brackets; an encoded word would be none.
    assert header.startswith("<https://tickets.example/unsubscribe?token=")
    assert header.endswith(">")
    assert b"=?utf-8?" not in letter.data.split(b"List-Unsubscribe-Post")[0].split(b"List-Unsubscribe:")[1]
    return header[len("<https://tickets.example") : -1]


async def test_the_defaults_are_told_whole_and_what_is_chosen_is_kept(town: Town) -> None:
    ada = await town.resident()
    now = await town.ask(ada, "GET", "/me/notification-preferences")
    assert (now["language"], now["timeZone"], now["digest"]) == ("en", None, "weekly")
    assert set(now["kinds"]) == {
        *("purchase", "ticketReceived", "ticketSent", "eventChanged", "eventCancelled", "refund"),
        *("attendance", "reminder", "security", "alarm"),
    }
    assert now["kinds"]["purchase"] == {"inApp": True, "email": True, "push": False}
    assert not now["ways"]["push"]["available"]
    chosen = await town.choose(
        ada,
        language="de",
        timeZone="Asia/Kolkata",
        digest="off",
        kinds={"purchase": {"email": False, "push": True}, "reminder": {"inApp": False}},
    )
    again = await town.ask(ada, "GET", "/me/notification-preferences")
    assert again == chosen
    assert (again["language"], again["timeZone"], again["nextDigestAt"]) == ("de", "Asia/Kolkata", None)
    assert again["kinds"]["purchase"] == {"inApp": True, "email": False, "push": True}
    assert again["kinds"]["reminder"]["inApp"] is False


async def test_warnings_cannot_be_switched_off(town: Town) -> None:
    ada = await town.resident()
    silence = {"inApp": False, "email": False, "push": False}
    kept = await town.choose(ada, kinds={"security": silence})
    assert kept["kinds"]["security"] == {"inApp": True, "email": True, "push": False}


@pytest.mark.parametrize(
    "change",
    [
        {"language": "fr"},
        {"timeZone": "Mars/Olympus"},
        {"timeZone": "../../etc/passwd"},
        {"digest": "hourly"},
        {"unknown": 1},
    ],
)
async def test_what_there_is_none_of_is_refused(silent_town: Town, change: dict[str, Any]) -> None:
    ada = await silent_town.shop.person()
    now = await silent_town.ask(ada, "GET", "/me/notification-preferences")
    wanted = {name: now[name] for name in ("language", "timeZone", "digest", "kinds")} | change
    assert (await silent_town.answer(ada, "PUT", "/me/notification-preferences", wanted)).status == 422


async def test_what_was_switched_off_is_not_told(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident("ada@x.example")
    event, _ = await town.shop.published(organizer)
    await town.choose(ada, kinds={"purchase": {"email": False, "inApp": False}})
    await town.buys(ada, event, block=1)
    await town.final(1)
    await town.quiet()
    assert town.office.letters == []
    assert [one["kind"] for one in await town.inbox(ada)] == ["security"]
    live = "SELECT count(*) FROM messages WHERE type = 'notification' AND data LIKE '%purchase%'"
    assert await town.database.fetchval(live) == 0


async def test_one_click_ends_mail_of_that_kind_alone(town: Town) -> None:
    ada, event = await bought(town)
    target = unsubscribe_link(town.office.letters[0])
    assert target in town.office.letters[0].part("text/plain")
    for _ in range(2):  # again changes nothing
        done = await town.anyone("POST", target, headers=FORM, body=ONE_CLICK)
        assert done.status == 200
        assert b"No more mail of this kind" in done.body
    await town.buys(ada, event, block=2)
    await town.shop.cancelled(event)
    await town.updates(event, block=2, cancelled=True)
    await town.final(10**9)
    await town.quiet()
    assert subjects(town.office.letters) == ["Cancelled: Harbour Lights", "Your tickets for Harbour Lights"]
    kinds = (await town.ask(ada, "GET", "/me/notification-preferences"))["kinds"]
    assert (kinds["purchase"]["email"], kinds["eventCancelled"]["email"]) == (False, True)


async def test_a_mail_that_waits_when_its_reader_unsubscribes_is_not_sent(silent_town: Town) -> None:
    town = silent_town
    async with town.relaying():
        async with town.working():
            ada, event = await bought(town)
        target = unsubscribe_link(town.office.letters.pop())
        await town.buys(ada, event, block=2)
        await town.final(2)
        planned = "SELECT count(*) FROM notification_deliveries WHERE state = 'waiting'"
        await until(lambda: town.database.fetchval(planned))
        assert (await town.anyone("POST", target, headers=FORM, body=ONE_CLICK)).status == 200
        async with town.working():
            await town.quiet()
    assert town.office.letters == []
    assert ("purchase", "email", "dropped") in await town.deliveries()


async def test_opening_a_link_changes_nothing_and_its_page_runs_nothing(town: Town) -> None:
    """Scanners of mail and previews open every link."""
    ada, _ = await bought(town, "de")
    target = unsubscribe_link(town.office.letters[0])
    page = await town.anyone("GET", target)
    assert page.status == 200
    assert "Abbestellen" in page.body.decode()
    policy = page.header("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.header("referrer-policy") == "no-referrer"
    assert page.header("cache-control") == "no-store"
    kinds = (await town.ask(ada, "GET", "/me/notification-preferences"))["kinds"]
    assert kinds["purchase"]["email"] is True


async def test_a_verification_page_confirms_by_its_button_alone(town: Town) -> None:
    ada = await town.resident()
    await town.ask(ada, "PUT", "/me/email", {"email": "ada@x.example"})
    await town.quiet()
    target = link(town.office.letters[0])
    assert target.startswith("/email/verify?token=")
    assert (await town.anyone("GET", target)).status == 200
    assert (await town.ask(ada, "GET", "/me/email"))["email"] is None
    assert (await town.anyone("POST", target, headers=FORM)).status == 200
    assert (await town.ask(ada, "GET", "/me/email"))["email"] == "ada@x.example"
    assert (await town.anyone("POST", target, headers=FORM)).status == 404
    assert (await town.anyone("POST", "/email/verify", headers=FORM)).status == 404


@pytest.mark.parametrize("token", ["", "x", "AAAA", "%00", "é".encode().hex(), "A" * 999])
async def test_a_link_that_is_not_ours_unsubscribes_nobody(silent_town: Town, token: str) -> None:
    for method in ("GET", "POST"):
        answer = await silent_town.anyone(method, f"/unsubscribe?token={token}")
        assert answer.status in (404, 422), answer.body


async def test_a_link_cannot_be_turned_into_another_s_or_another_kind_s(silent_town: Town) -> None:
    composer = silent_town.tools.composer
    ada = await silent_town.shop.person()
    user_id = await silent_town.database.fetchval("SELECT id FROM users")
    token = composer.unsubscribe_url(user_id, NoticeKind.PURCHASE).rpartition("=")[2]
    assert composer.unsubscribed(token) == (user_id, NoticeKind.PURCHASE)
    for place in range(0, len(token), 5):
        letter = "A" if token[place] != "A" else "B"
        answer = await silent_town.anyone(
            "POST", f"/unsubscribe?token={token[:place]}{letter}{token[place + 1 :]}"
        )
        assert answer.status == 404
    assert (await silent_town.ask(ada, "GET", "/me/notification-preferences"))["kinds"]["purchase"]["email"]


async def test_what_is_another_s_is_not_found(town: Town) -> None:
    ada, _ = await bought(town)
    eve = await town.resident()
    told = (await town.inbox(ada))[0]
    answer = await town.answer(eve, "POST", f"/notifications/{told['id']}/read")
    assert (answer.status, answer.error["code"]) == (404, "notify.not_found")
    assert await town.inbox(eve) == []
    assert (await town.inbox(ada))[0]["readAt"] is None
    for method, path in (("GET", "/notifications"), ("GET", "/me/email"), ("GET", "/push/subscriptions")):
        assert (await town.anyone(method, f"/api/v1{path}")).status == 401


async def test_reading_counts_down_and_goes_by_pages(town: Town) -> None:
    organizer, ada = await town.resident(), await town.resident()
    event, _ = await town.shop.published(organizer)
    for block in range(1, 6):
        await town.buys(ada, event, block=block)
    await town.quiet()
    items: list[Any] = []
    cursor = ""
    while True:
        page = await town.answer(ada, "GET", f"/notifications?limit=2{cursor}")
        items += page.data
        following = page.json["meta"]["page"].get("nextCursor")
        if following is None:
            break
        cursor = f"&cursor={following}"
    assert len(items) == 5
    assert [one["id"] for one in items] == sorted((one["id"] for one in items), reverse=True)
    read = await town.ask(ada, "POST", f"/notifications/{items[0]['id']}/read")
    assert read["readAt"] is not None
    assert (await town.ask(ada, "GET", "/notifications/unread"))["unread"] == 4
    assert (await town.ask(ada, "POST", "/notifications/read", {"upTo": items[3]["id"]}))["unread"] == 2
    assert (await town.ask(ada, "POST", "/notifications/read", {}))["unread"] == 0
    assert await town.inbox(ada, "?unread=true") == []
