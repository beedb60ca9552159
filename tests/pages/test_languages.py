"""Six languages: whole catalogs, and dates and numbers as their readers write them."""

# ruff: noqa: RUF001 - languages have their own dashes

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from echain.edge.html.files import web
from echain.edge.html.locales import LANGUAGES, chosen_language, locale_of

TRANSLATED = [code for code in LANGUAGES if code != "en"]
START = datetime(2026, 12, 12, 18, 0, tzinfo=UTC)
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}")


def said() -> set[Any]:
    """Return every text of the templates."""
    found = extract_from_dir(
        web() / "templates",
        method_map=[("**.j2", "jinja2")],
        options_map={"**.j2": {"newstyle_gettext": "true"}},
        keywords={"_": None, "gettext": None, "ngettext": (1, 2)},
    )
    return {message for _, _, message, _, _ in found}


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_text_is_translated_with_all_its_places_and_nothing_is_left_over(code: str) -> None:
    with (web() / "locales" / f"{code}.po").open("rb") as file:
        catalog = read_po(file, locale=code)
    known: dict[Any, Any] = {message.id: message.string for message in catalog if message.id}
    assert set(known) == said()
    for source, target in known.items():
        plural = not isinstance(source, str)
        targets = [str(one) for one in target] if plural else [str(target)]
        assert len(targets) == (catalog.num_plurals if plural else 1)
        wanted = set(PLACEHOLDER.findall(source[-1] if plural else str(source)))
        for one in targets:
            assert one.strip(), source
            # A plural form for one or two may say the number in words.
            assert set(PLACEHOLDER.findall(one)) <= wanted, (source, one)
        assert set(PLACEHOLDER.findall(targets[-1])) == wanted, (source, targets[-1])


def test_the_texts_were_found() -> None:
    assert len(said()) > 40


@pytest.mark.parametrize(
    ("code", "day", "hours"),
    [
        ("en", "Sat, Dec 12, 2026", "7:00 – 11:00 PM"),
        ("de", "Sa., 12. Dez. 2026", "19:00–23:00 Uhr"),
        ("ja", "2026年12月12日(土)", "19時00分～23時00分"),
    ],
)
def test_an_evening_is_written_as_its_readers_do(code: str, day: str, hours: str) -> None:
    locale, end = locale_of(code), START + timedelta(hours=4)
    assert locale.days(START, end, "Europe/Berlin") == day
    written = locale.hours(START, end, "Europe/Berlin")
    assert re.sub(r"\s", " ", written) == hours


def test_a_party_that_ends_in_the_morning_is_one_day_and_a_weekend_is_two() -> None:
    locale = locale_of("en")
    assert locale.days(START, START + timedelta(hours=9), "Europe/Berlin") == "Sat, Dec 12, 2026"
    assert "Sun, Dec 13" in locale.days(START, START + timedelta(days=1), "Europe/Berlin")


def test_the_day_is_that_of_the_place() -> None:
    late = datetime(2026, 12, 12, 23, 30, tzinfo=UTC)
    assert locale_of("en").day(late, "Asia/Tokyo") == "Sun, Dec 13, 2026"
    assert locale_of("en").day(late, "Nowhere/Atall") == "Sat, Dec 12, 2026"


def test_amounts_are_exact() -> None:
    assert locale_of("de").number(Decimal("1234.000000000000000001")) == "1.234,000000000000000001"
    assert locale_of("en").percent(11_000) == "110%"
    assert locale_of("de").percent(250) == "2,5\xa0%"


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        ("", "en"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("nl, fr;q=0.5, es;q=0.7", "es"),
        ("de;q=0, ar;q=0.1", "ar"),
        ("*", "en"),
        ("JA-jp", "ja"),
        (";q=;q=x,,,", "en"),
    ],
)
def test_the_reader_gets_the_language_they_like_best_of_ours(accept: str, code: str) -> None:
    assert chosen_language(accept) == code


@given(st.text(max_size=3000))
def test_whatever_a_browser_says_some_language_is_chosen(accept: str) -> None:
    assert chosen_language(accept) in LANGUAGES
