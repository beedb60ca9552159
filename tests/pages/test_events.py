"""What is on, and an event's page: as people get them, without any script."""

from __future__ import annotations

import re
from datetime import timedelta
from io import BytesIO
from uuid import UUID

import icalendar
from PIL import Image
from tests.edge.http_client import Client
from tests.events.shop import PUBLIC_URL, Shop, moment
from tests.pages.reading import SITE, parsed, text

from echain.edge.html import LANGUAGES, locale_of
from echain.kernel.time import rfc3339

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


async def test_events_are_listed_and_each_leads_to_its_page_in_every_language(
    shop: Shop, page: Client
) -> None:
    ada = await shop.person()
    _, draft = await shop.published(ada, title="Harbour Lights")
    for code in LANGUAGES:
        prefix = locale_of(code).prefix
        listed = await text(page, f"{prefix}/events")
        assert f'<html lang="{code}" dir="{"rtl" if code == "ar" else "ltr"}">' in listed
        assert f'href="{prefix}/events/{draft["id"]}"' in listed
        told = await text(page, f"{prefix}/events/{draft['id']}")
        assert "Harbour Lights" in told
        assert f'<link rel="canonical" href="{PUBLIC_URL}{prefix}/events/{draft["id"]}">' in told
        assert told.count('rel="alternate"') == len(LANGUAGES)


async def test_the_front_page_speaks_the_readers_language(page: Client) -> None:
    assert "Was läuft" in await text(page, "/", **{"accept-language": "de-CH"})
    assert "What is on" in await text(page, "/")


async def test_what_people_write_is_shown_and_never_run(shop: Shop, page: Client) -> None:
    ada = await shop.person()
    _, draft = await shop.published(
        ada,
        title=EVIL[:100],
        description=EVIL,
        place={"name": EVIL},
        tiers=[{"name": EVIL[:70], "priceWei": "1", "supply": 9}],
    )
    for target in (f"/events?q={'%3Cscript%3E'}&category=%22%3E", "/events", f"/events/{draft['id']}"):
        shown = await text(page, target)
        tags = parsed(shown)
        assert {
            name for _, attributes in tags for name in attributes if name.startswith("on") or name == "style"
        } == set()
        scripts = [one for tag, one in tags if tag == "script" and one.get("type") != "application/json"]
        assert all(one.get("src", "").startswith("/static/") for one in scripts)
        assert "x" not in {attributes.get("src") for tag, attributes in tags if tag == "img"}
        assert "&lt;script&gt;alert(1)" in shown or "q=" in target


async def test_a_page_may_load_and_frame_nothing_foreign(shop: Shop, page: Client) -> None:
    _, draft = await shop.published(await shop.person(), image="https://elsewhere.example/pixel.png")
    for target in ("/events", f"/events/{draft['id']}"):
        answer = await page("GET", target)
        policy = answer.header("content-security-policy") or ""
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "connect-src 'self' wss://live.example" in policy
        body = answer.body.decode()
        assert "elsewhere.example" not in body, "a picture that is not ours would tell strangers who reads"
        loaded = re.findall(r'(?:src|srcset)="([^"]+)"', body)
        assert loaded
        assert all(one.startswith("/") for one in loaded)


async def test_an_uploaded_picture_is_shown_in_its_sizes(shop: Shop, page: Client) -> None:
    ada = await shop.person()
    out = BytesIO()
    Image.new("RGB", (700, 400), "teal").save(out, "PNG")
    sent = await Client(page.app, ada.client.defaults)("POST", "/api/v1/media", body=out.getvalue())
    assert sent.status == 201, sent.body
    _, draft = await shop.published(ada, image=sent.data["uri"])
    shown = await text(page, f"/events/{draft['id']}")
    for variant in sent.data["variants"]:
        assert f"/ipfs/{variant['cid']}" in shown
    assert "/covers/" not in shown
    assert f"/ipfs/{sent.data['variants'][0]['cid']} 320w" in await text(page, "/events")


async def test_words_category_and_days_narrow_the_list_and_nonsense_does_not_break_it(
    shop: Shop, page: Client
) -> None:
    ada = await shop.person()
    soon, late = shop.clock() + timedelta(days=3), shop.clock() + timedelta(days=40)
    await shop.published(
        ada,
        title="Early Song",
        category="music",
        startTime=rfc3339(soon),
        endTime=rfc3339(soon + timedelta(hours=2)),
    )
    await shop.published(
        ada,
        title="Late Talk",
        category="meetup",
        startTime=rfc3339(late),
        endTime=rfc3339(late + timedelta(hours=2)),
    )

    async def found(query: str) -> set[str]:
        shown = await text(page, f"/events?{query}")
        return {name for name in ("Early Song", "Late Talk") if name in shown}

    day = (soon + timedelta(days=5)).date().isoformat()
    assert await found("") == {"Early Song", "Late Talk"}
    assert await found("q=song") == {"Early Song"}
    assert await found("category=meetup") == {"Late Talk"}
    assert await found(f"from={day}") == {"Late Talk"}
    assert await found(f"to={day}") == {"Early Song"}
    assert await found(f"q=talk&to={day}") == set()
    assert "Nothing found" in await text(page, "/events?q=zzzz")
    assert await found("page=0&from=tomorrow&to=99999999999&category=%20x") == {"Early Song", "Late Talk"}
    assert await found("page=99999999999999") == {"Early Song", "Late Talk"}


async def test_prices_and_what_is_left_are_told(shop: Shop, page: Client) -> None:
    ada, bo = await shop.person(), await shop.person()
    event, draft = await shop.published(
        ada,
        tiers=[
            {"name": "Seat", "priceWei": "1500000000000000000", "supply": 5},
            {"name": "Lawn", "priceWei": "0", "supply": 3},
        ],
        maxTickets=None,
    )
    shown = await text(page, f"/de/events/{draft['id']}")
    assert "1,5\xa0ETH" in shown
    assert "Kostenlos" in shown
    assert "noch 5" in shown
    await shop.sold(event, bo, tier=1, quantity=3)
    shown = await text(page, f"/de/events/{draft['id']}")
    assert "Ausverkauft" in shown
    assert "ab 1,5\xa0ETH" in await text(page, "/de/events")


async def test_cancelled_and_past_events_say_so(shop: Shop, page: Client) -> None:
    ada = await shop.person()
    event, draft = await shop.published(ada)
    await shop.cancelled(event)
    assert "was cancelled" in await text(page, f"/events/{draft['id']}")
    _, second = await shop.published(ada)
    shop.clock.pass_by(days=4000)
    assert "is over" in await text(page, f"/events/{second['id']}")


async def test_a_draft_has_no_page_not_even_for_its_organizer(shop: Shop, page: Client) -> None:
    ada = await shop.person()
    draft = await shop.draft(ada)
    for client in (page, Client(page.app, ada.client.defaults)):
        answer = await client("GET", f"/events/{draft['id']}")
        assert (answer.status, answer.error["code"]) == (404, "events.not_found")
    assert draft["title"] not in await text(page, "/events")


async def test_a_page_that_did_not_change_is_not_sent_again(shop: Shop, page: Client) -> None:
    _, draft = await shop.published(await shop.person())
    first = await page("GET", f"/events/{draft['id']}")
    again = await page("GET", f"/events/{draft['id']}", headers={"if-none-match": first.header("etag") or ""})
    assert (again.status, again.body) == (304, b"")


async def test_files_are_kept_for_ever_under_their_version_and_not_at_all_under_another(page: Client) -> None:
    kept = await page("GET", SITE.asset("css/site.css"))
    assert kept.status == 200
    assert "immutable" in (kept.header("cache-control") or "")
    other = await page("GET", "/static/000000000000/css/site.css")
    assert (other.status, other.body) == (200, kept.body)
    assert other.header("cache-control") == "no-store"
    for name in ("css/none.css", "..%2Ftemplates/base.html.j2", "%2e%2e/base.html.j2", "css"):
        assert (await page("GET", f"/static/{SITE.version}/{name}")).status == 404


async def test_everything_that_a_page_names_is_there(shop: Shop, page: Client) -> None:
    _, draft = await shop.published(await shop.person())
    for target in ("/events", f"/ar/events/{draft['id']}"):
        shown = await text(page, target)
        for path in set(re.findall(r'(?:src|href)="(/(?:static|covers|ipfs)/[^"]+)"', shown)):
            assert (await page("GET", path)).status == 200, path


async def test_an_event_without_a_picture_keeps_its_own_cover(page: Client) -> None:
    one, two = UUID(int=1), UUID(int=2)
    first = await page("GET", f"/covers/{one}")
    assert first.header("content-type") == "image/svg+xml"
    assert first.body == (await page("GET", f"/covers/{one}")).body
    assert first.body != (await page("GET", f"/covers/{two}")).body
    assert first.header("content-security-policy")


async def test_an_event_goes_into_a_calendar_and_leaves_it_when_cancelled(shop: Shop, page: Client) -> None:
    event, draft = await shop.published(await shop.person(), title="Harbour Lights")
    link = f"/events/{draft['id']}/calendar.ics"
    assert link in await text(page, f"/de/events/{draft['id']}")
    saved = await page("GET", link)
    assert saved.header("content-type") == "text/calendar; charset=utf-8"
    assert (saved.header("content-disposition") or "").startswith("attachment;")
    (entry,) = icalendar.Calendar.from_ical(saved.body).walk("VEVENT")
    assert str(entry["summary"]) == "Harbour Lights"
    assert entry.decoded("dtstart") == moment(draft["startTime"])
    await shop.cancelled(event)
    (gone,) = icalendar.Calendar.from_ical((await page("GET", link)).body).walk("VEVENT")
    assert gone["uid"] == entry["uid"]
    assert str(gone["status"]) == "CANCELLED"
    assert (await page("GET", f"/events/{UUID(int=5)}/calendar.ics")).status == 404


BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "accept-language": "fr"}


async def test_an_address_that_is_none_shows_people_a_page_and_programs_json(page: Client) -> None:
    missing = f"/events/{UUID(int=5)}"
    for target, words in (
        (missing, "Rien ici"),
        (f"/de{missing}", "Hier ist nichts"),
        ("/nowhere", "Rien ici"),
    ):
        shown = await page("GET", target, headers=BROWSER)
        assert shown.status == 404
        assert shown.header("content-type") == "text/html; charset=utf-8"
        assert "default-src 'none'; script-src 'self'" in (shown.header("content-security-policy") or "")
        assert words in shown.body.decode()
        assert (await page("GET", target)).error["code"] in {"events.not_found", "route.not_found"}
    told = await page("GET", "/api/v1/nothing", headers=BROWSER)
    assert told.header("content-type") == "application/json"
    written = await page("POST", "/events", headers=BROWSER)
    assert written.header("content-type") == "application/json"


async def test_our_own_fault_shows_people_the_number_to_name_and_nothing_else(
    shop: Shop, page: Client
) -> None:
    await shop.database.execute("ALTER VIEW published_events RENAME TO hidden_events")
    try:
        shown = await page("GET", "/events", headers=BROWSER | {"x-request-id": "abc-123"})
    finally:
        await shop.database.execute("ALTER VIEW hidden_events RENAME TO published_events")
    assert shown.status == 500
    assert "abc-123" in shown.body.decode()
    assert "published_events" not in shown.body.decode()
