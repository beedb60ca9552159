"""The languages of pages: words from catalogs of gettext, dates and numbers as the CLDR spells them."""

from __future__ import annotations

import gettext
from datetime import datetime, timedelta
from decimal import Context, Decimal
from functools import cache
from io import BytesIO
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import babel
from babel.dates import format_interval, format_skeleton, format_time, get_timezone_name
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent

from echain.edge.html.files import web

LANGUAGES: Final[dict[str, str]] = {
    "en": "English",
    "de": "Deutsch",
    "es": "Español",
    "fr": "Français",
    "ja": "日本語",
    "ar": "العربية",
}
"""Each by the name that its speakers know; the first is that of the templates."""

DEFAULT: Final = "en"
_DAY: Final = "yMMMEd"
_EXACT: Final = Context(prec=100)
_COIN_DECIMALS: Final = 18
_NIGHT: Final = timedelta(hours=6)


class Locale:
    """One language: its words, and how it writes dates and numbers."""

    def __init__(self, code: str) -> None:
        self.code = code
        self._cldr = babel.Locale.parse(code)
        self.direction = "rtl" if self._cldr.character_order == "right-to-left" else "ltr"
        self.translations = _catalog(code)

    @property
    def name(self) -> str:
        return LANGUAGES[self.code]

    @property
    def prefix(self) -> str:
        """What paths of this language begin with."""
        return "" if self.code == DEFAULT else f"/{self.code}"

    def number(self, value: Decimal | int) -> str:
        """Return an exact number, with as many decimals as it has."""
        return format_decimal(value, locale=self._cldr, decimal_quantization=False)

    def coins(self, wei: int, symbol: str) -> str:
        """Return an exact amount of a chain's coin, as ``0.05 ETH``."""
        amount = _EXACT.normalize(_EXACT.scaleb(Decimal(wei), -_COIN_DECIMALS))
        return f"{self.number(amount)}\N{NO-BREAK SPACE}{symbol}"

    def percent(self, bps: int) -> str:
        """Return hundredths of a percent as a share, as ``110%``."""
        return format_percent(Decimal(bps) / 10_000, locale=self._cldr, decimal_quantization=False)

    def day(self, moment: datetime, zone: str) -> str:
        """Return a day at a place, as ``Sat, Dec 12, 2026``."""
        return format_skeleton(_DAY, moment, tzinfo=zone_of(zone), locale=self._cldr)

    def time(self, moment: datetime, zone: str) -> str:
        """Return a time of day at a place, as ``7:00 PM``."""
        return format_time(moment, "short", tzinfo=zone_of(zone), locale=self._cldr)

    def zone(self, moment: datetime, zone: str) -> str:
        """Return what the time at a place is called then, as ``CET`` or ``+0100``."""
        return get_timezone_name(moment.astimezone(zone_of(zone)), "short", locale=self._cldr)

    def days(self, start: datetime, end: datetime, zone: str) -> str:
        """Return the day or days that something lasts, at its place."""
        if _same_day(start, end, zone):
            return self.day(start, zone)
        return format_interval(start, end, _DAY, tzinfo=zone_of(zone), locale=self._cldr)

    def hours(self, start: datetime, end: datetime, zone: str) -> str:
        """Return from when to when something lasts that ends the day it began, else when it begins."""
        if not _same_day(start, end, zone):
            return self.time(start, zone)
        clock = "hm" if "h" in str(self._cldr.time_formats["short"]) else "Hm"
        return format_interval(start, end, clock, tzinfo=zone_of(zone), locale=self._cldr)


def _same_day(start: datetime, end: datetime, zone: str) -> bool:
    """Return whether both are one day at a place; a night's party that ends by six in the morning is."""
    place = zone_of(zone)
    return start.astimezone(place).date() == (end.astimezone(place) - _NIGHT).date()


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone; UTC for a name that nobody knows, which an organizer may have made up."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


@cache
def locale_of(code: str) -> Locale:
    """Return a language of `LANGUAGES`; read once."""
    return Locale(code)


def chosen_language(accept: str) -> str:
    """Return the language that an ``Accept-Language`` header likes best of ours (RFC 9110, 12.5.4)."""
    wanted = [part.partition(";q=") for part in accept[:1000].replace(" ", "").split(",")]
    ranked = sorted(wanted, key=lambda part: -_quality(part[2]))
    for name, _, quality in ranked:
        code = name.partition("-")[0].lower()
        if code in LANGUAGES and _quality(quality) > 0:
            return code
    return DEFAULT


def _quality(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0


def _catalog(code: str) -> gettext.NullTranslations:
    if code == DEFAULT:
        return gettext.NullTranslations()
    with (web() / "locales" / f"{code}.po").open("rb") as file:
        catalog = read_po(file, locale=code)
    compiled = BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)  # type: ignore[arg-type]
