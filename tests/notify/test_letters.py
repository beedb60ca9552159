"""What mail looks like: languages, amounts and times, strangers' texts harmless, calendar files sound."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from email import message_from_bytes, policy
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import icalendar
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.notify.town import BRAND, TEMPLATES

from echain.entry.notifications import coin_of
from echain.notify import rules
from echain.notify.calendar import calendar_file
from echain.notify.facts import EventFacts, Facts, Sold, Told
from echain.notify.letters import Attachment, Brand, letter
from echain.notify.rendering import words
from echain.notify.telling import Row, digest_sections, listed, values
from echain.notify.types import NoticeKind, Settings
from echain.notify.wording import Coin, amount, clean, language_of, moment, preferred_language

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)
ADA = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
EVENT = EventFacts(
    UUID(int=1),
    UUID(int=2),
    84532,
    "Harbour Lights",
    datetime(2026, 7, 3, 18, tzinfo=UTC),
    datetime(2026, 7, 3, 23, tzinfo=UTC),
    "Europe/Berlin",
    "Old Harbour",
    1,
)
NASTY = "<script>alert(1)</script>\"'&{{7*7}}\r\nBcc: eve@x.example\x00\u202e\u200b"
FACTS: dict[str, Facts] = {
    "purchase": Facts(event=EVENT, tickets=["84532-0xab-7"], amount="25000000000000000"),
    "ticket_received": Facts(event=EVENT, tickets=["84532-0xab-7"], sender=ADA),
    "ticket_sent": Facts(event=EVENT, tickets=["84532-0xab-7"], receiver=ADA),
    "event_changed": Facts(event=EVENT, previous=msgspec.structs.replace(EVENT, place="Before"), count=2),
    "event_cancelled": Facts(event=EVENT, count=2),
    "refund": Facts(event=EVENT, tickets=["84532-0xab-7"], amount="1"),
    "attendance": Facts(event=EVENT, tickets=["84532-0xab-7"]),
    "reminder": Facts(event=EVENT, hours=24),
    "alarm": Facts(told=Told("Balance drift", "chain 1 contract 0xab: balance 1", "balance_drift")),
    "security": Facts(told=Told("A session was ended", "Sign in again.", "session_reuse", "Firefox")),
}


def context(kind: str, facts: Facts, settings: Settings) -> dict[str, Any]:
    return {
        **values(facts),
        "brand": BRAND.name,
        "facts": listed(kind, facts, settings, {84532: Coin("ETH")}),
        "sections": [],
        "action": None,
        "footer": ["You get this mail because …"],
        "unsubscribe": {"label": "No more", "url": "https://tickets.example/unsubscribe?token=a&b"},
        "wallet": ADA,
        "items": [],
        "sales": [],
        "sold": 0,
        "since": "Monday",
    }


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("kind", [*FACTS, "verify", "farewell", "digest"])
def test_every_kind_has_all_its_forms_in_every_language(kind: str, language: str) -> None:
    page = TEMPLATES.page(
        kind, language, context(kind, FACTS.get(kind, Facts()), Settings(language=language))
    )
    for text in (page.subject, page.text, page.html):
        assert text.strip()
        assert "{{" not in text
        assert "None" not in text
    assert f'<html lang="{language}">' in page.html
    assert not re.search(r'(?:src|href)="(?!https://tickets\.example)', page.html), "an outside asset"
    assert "url(" not in page.html
    assert "prefers-color-scheme: dark" in page.html
    assert max(map(len, page.html.splitlines())) < 998


def test_every_template_and_word_exists_in_every_language() -> None:
    folder = Path(__file__).parents[2] / "src/echain/notify/templates"
    names = {path.name for path in (folder / "en").iterdir()}
    assert names == {path.name for path in (folder / "de").iterdir()}
    assert {f"{kind}.j2" for kind in NoticeKind} <= names
    assert set(words("en")) == set(words("de"))
    for word, text in words("en").items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", words("de")[word])), word


@pytest.mark.parametrize("language", ["fr", "pt-BR", "", "zz"])
def test_a_language_without_templates_is_written_in_english(language: str) -> None:
    page = TEMPLATES.page(
        "purchase", language, context("purchase", FACTS["purchase"], Settings(language=language))
    )
    assert page.subject == "Your tickets for Harbour Lights"
    assert language_of("de-AT") == "de"
    assert preferred_language("fr-FR,fr;q=0.9,de;q=0.8,en;q=0.7") == "de"
    assert preferred_language("fr, *;q=0.1") == preferred_language(";;;q=,") == "en"
    assert preferred_language("en;q=0.2, de;q=0.9") == "de"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.seen += [name for name, _ in attrs if name.startswith("on")]


@pytest.mark.parametrize("kind", FACTS)
def test_a_stranger_s_text_is_text(kind: str) -> None:
    """An event's name comes from the chain, where anybody may write anything."""
    nasty = msgspec.structs.replace(EVENT, title=NASTY, place=NASTY)
    facts = msgspec.structs.replace(FACTS[kind], event=nasty, previous=None)
    if kind == "security":
        facts = Facts(told=Told(NASTY, NASTY))
    page = TEMPLATES.page(kind, "en", context(kind, facts, Settings()))
    plain = msgspec.structs.replace(FACTS[kind], previous=None)
    harmless = TEMPLATES.page(kind, "en", context(kind, plain, Settings()))
    tags, expected = Tags(), Tags()
    tags.feed(page.html)
    expected.feed(harmless.html)
    assert set(tags.seen) == set(expected.seen)
    assert "script" not in tags.seen
    assert "\n" not in page.subject
    for text in (page.subject, page.text, page.html):
        assert not set(text) & {"\x00", "\u202e", "\u200b", "\r"}
    data = letter(page, BRAND, recipient="ada@x.example", message_id=UUID(int=3), now=NOW)
    parsed = message_from_bytes(data, policy=policy.SMTP)
    assert parsed["Bcc"] is None
    assert parsed["To"] == "ada@x.example"


@given(st.text(max_size=400), st.integers(10, 130))
def test_a_cleaned_text_is_one_short_visible_line(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert cleaned == " ".join(cleaned.split())
    assert cleaned.isprintable()
    assert clean(cleaned, limit) == cleaned


def test_a_text_is_cut_where_it_is_long_and_kept_where_it_is_not() -> None:
    assert clean("Träume  im\n Hafen 🎉") == "Träume im Hafen 🎉"
    assert clean("x" * 200) == "x" * 119 + "…"


@pytest.mark.parametrize(
    ("units", "coin", "english", "german"),
    [
        (25 * 10**15, Coin("ETH"), "0.025 ETH", "0,025 ETH"),
        (1, Coin("ETH"), "0.000000000000000001 ETH", "0,000000000000000001 ETH"),
        (0, Coin("ETH"), "0 ETH", "0 ETH"),
        (1_234_567 * 10**18, Coin("ETH"), "1,234,567 ETH", "1.234.567 ETH"),
        (150_000_000, coin_of("HBAR", 10**10), "1.5 HBAR", "1,5 HBAR"),
        (2**256 - 1, coin_of("X", 1), None, None),
    ],
)
def test_amounts_are_exact(units: int, coin: Coin, english: str | None, german: str | None) -> None:
    shown = amount(units, coin, "en")
    if english is not None:
        assert (shown, amount(units, coin, "de")) == (english, german)
    digits = shown.partition(" ")[0].replace(",", "")
    whole, _, fraction = digits.partition(".")
    assert int(whole + fraction.ljust(coin.decimals, "0")) == units


def test_times_are_the_event_s_own_with_the_reader_s_beside_where_they_differ() -> None:
    assert moment(EVENT.starts_at, "Europe/Berlin", "en") == "Friday, 3 July 2026, 20:00 (Europe/Berlin)"
    assert (
        moment(EVENT.starts_at, "Europe/Berlin", "de") == "Freitag, 3. Juli 2026, 20:00 Uhr (Europe/Berlin)"
    )
    assert moment(EVENT.starts_at, "No/Where", "en").endswith("18:00 (UTC)")
    assert moment(EVENT.starts_at, "../../etc/passwd", "en").endswith("(UTC)")
    rows = listed("reminder", FACTS["reminder"], Settings(time_zone="America/New_York"), {})
    assert Row("Your time", "Friday, 3 July 2026, 14:00 (America/New_York)") in rows
    for zone in (None, "Europe/Paris"):
        rows = listed("reminder", FACTS["reminder"], Settings(time_zone=zone), {})
        assert "Your time" not in [row.label for row in rows]


def test_a_long_digest_says_how_much_more_there_is() -> None:
    sales = [Sold(f"Event {number}", 84532, number, str(number)) for number in range(25)]
    (section,) = digest_sections([], sales, Settings(), {84532: Coin("ETH")})
    assert len(section.lines) == 21
    assert section.lines[-1].title == "and 5 more"


# --- mail ---


def test_a_letter_has_what_mail_clients_act_on() -> None:
    page = TEMPLATES.page("purchase", "de", context("purchase", FACTS["purchase"], Settings(language="de")))
    url = "https://tickets.example/unsubscribe?token=" + "x" * 180
    calendar = Attachment(_calendar(), "PUBLISH")
    data = letter(
        page,
        BRAND,
        recipient="ada@x.example",
        message_id=UUID(int=3),
        now=NOW,
        unsubscribe_url=url,
        calendar=calendar,
    )
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert f"List-Unsubscribe: <{url}>".encode() in data
    parsed = message_from_bytes(data, policy=policy.SMTP)
    assert parsed["Message-ID"] == f"<{UUID(int=3)}@tickets.example>"
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["Subject"] == "Deine Tickets für Harbour Lights"
    types = [part.get_content_type() for part in parsed.walk()]
    assert types == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/calendar",
    ]
    part = list(parsed.walk())[-1]
    assert (part.get_param("method"), part.get_param("charset")) == ("PUBLISH", "utf-8")
    assert part.get_payload(decode=True).replace(b"\r\n", b"\n") == calendar.data.replace(b"\r\n", b"\n")
    again = letter(page, BRAND, recipient="ada@x.example", message_id=UUID(int=3), now=NOW)
    assert message_from_bytes(again, policy=policy.SMTP)["Message-ID"] == parsed["Message-ID"]


@pytest.mark.parametrize(
    ("mail_from", "name", "sender"),
    [
        ("Tickets & Co <t@x.example>", "Tickets & Co", "t@x.example"),
        ("t@x.example", "echain", "t@x.example"),
        ('"Ö, Ltd." <t@x.example>', "Ö, Ltd.", "t@x.example"),
    ],
)
def test_a_sender_s_name_is_written_as_it_is(mail_from: str, name: str, sender: str) -> None:
    brand = Brand.of(mail_from, "https://tickets.example/")
    page = TEMPLATES.page("purchase", "en", context("purchase", FACTS["purchase"], Settings()))
    data = letter(page, brand, recipient="ada@x.example", message_id=UUID(int=3), now=NOW)
    address = message_from_bytes(data, policy=policy.SMTP)["From"].addresses[0]
    assert (address.display_name, address.addr_spec) == (name, sender)


def _calendar(event: EventFacts = EVENT, method: Any = "PUBLISH") -> bytes:
    return calendar_file(
        event, method, host="tickets.example", brand="Ö, Ltd.", sender="t@x.example", note="N", now=NOW
    )


def test_a_calendar_file_keeps_the_rules_of_its_format() -> None:
    """RFC 5545 3.1 and 3.6.1, RFC 5546 3.2.1 and 3.2.5."""
    nasty = msgspec.structs.replace(
        EVENT, title="A;B,C\\D\nE:" + "ü" * 100, place="X\r\nATTENDEE:mailto:e@x.example"
    )
    for method in ("PUBLISH", "CANCEL"):
        data = _calendar(nasty, method)
        lines = data.split(b"\r\n")
        assert data.endswith(b"END:VCALENDAR\r\n")
        assert b"\n" not in data.replace(b"\r\n", b"")
        assert max(map(len, lines)) <= 75
        assert not any(line.startswith(b"ATTENDEE") for line in lines)
        (entry,) = icalendar.Calendar.from_ical(data).walk("VEVENT")
        assert {"UID", "DTSTAMP", "DTSTART", "ORGANIZER", "SEQUENCE", "STATUS", "SUMMARY"} <= set(entry)
        assert str(entry["SUMMARY"]).startswith("A;B,C\\D E:üü")
        assert entry["ORGANIZER"] == "mailto:t@x.example"
        assert entry.decoded("DTEND") - entry.decoded("DTSTART") == timedelta(hours=5)


# --- rules ---


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 -- made aware below
    st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Africa/Cairo"]
    ),
    st.sampled_from(["daily", "weekly"]),
)
def test_a_digest_is_due_at_eight_there_after_now_and_within_its_period(
    naive: datetime, zone: str, rhythm: Any
) -> None:
    now = naive.replace(tzinfo=UTC)
    due = rules.next_digest(rhythm, zone, after=now)
    assert due is not None
    local = due.astimezone(ZoneInfo(zone))
    assert local.time() == time(8)
    assert now < due <= now + timedelta(days=7 if rhythm == "weekly" else 1, hours=2)
    if rhythm == "weekly":
        assert local.date().weekday() == 0
    assert rules.next_digest("off", zone, after=now) is None


def test_a_zone_that_is_no_more_holds_up_nobody() -> None:
    assert rules.next_digest("daily", "Gone/Away", after=NOW) == rules.next_digest("daily", "UTC", after=NOW)


def test_a_digest_on_its_very_minute_is_for_the_next_period() -> None:
    monday = datetime(2026, 6, 1, 8, tzinfo=UTC)
    assert monday.date() == date(2026, 6, 1)
    assert rules.next_digest("weekly", "UTC", after=monday) == monday + timedelta(days=7)
    assert rules.next_digest("daily", None, after=monday) == monday + timedelta(days=1)


@given(st.lists(st.integers(0, 200_000), max_size=12))
def test_verification_mails_are_five_a_day_at_most_and_a_minute_apart(pauses: list[int]) -> None:
    """Whoever asks as soon as they may, or some seconds later, gets five in any 24 hours."""
    sent: list[datetime] = []
    clock = NOW
    for pause in pauses:
        clock = rules.may_verify_at(sent, now=clock + timedelta(seconds=pause))
        sent.append(clock)
    for last in sent:
        day = [one for one in sent if last - rules.VERIFICATION_WINDOW < one <= last]
        assert len(day) <= 5
    assert all(after - before >= rules.RESEND_PAUSES[0] for before, after in pairwise(sent))
    assert rules.may_verify_at([NOW, NOW], now=NOW) == NOW + rules.RESEND_PAUSES[1]


def test_choices_hold_only_what_differs_and_never_what_is_fixed() -> None:
    everything_off = {kind: dict.fromkeys(rules.WAYS, False) for kind in rules.CHOSEN}
    choices = rules.differing(everything_off)
    assert choices["security"] == {"push": False}
    assert "email" not in choices["attendance"]
    assert rules.chosen({"security": {"email": False}}, NoticeKind.SECURITY, "email")
    assert not rules.chosen(choices, NoticeKind.PURCHASE, "email")
    defaults = {kind: dict(zip(rules.WAYS, rules.DEFAULTS[kind], strict=True)) for kind in rules.CHOSEN}
    assert rules.differing(defaults) == {}


@pytest.mark.parametrize(
    ("before", "expected"),
    [(25 * 60, None), (24 * 60, 24), (121, 24), (120, 2), (1, 2), (0, None), (-5, None)],
)
def test_which_reminder_is_due(before: int, expected: int | None) -> None:
    lead = rules.lead_due(NOW + timedelta(minutes=before), now=NOW)
    assert (None if lead is None else lead.total_seconds() / 3600) == expected
