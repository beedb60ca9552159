"""Amounts, times and texts of strangers as a reader of one language sees them; pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

LANGUAGES: Final = ("en", "de")
FALLBACK: Final = "en"

_DAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "de": ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
}
_MONTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
    "de": (
        *("Januar", "Februar", "März", "April", "Mai", "Juni"),
        *("Juli", "August", "September", "Oktober", "November", "Dezember"),
    ),
}
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of what shows nothing, or turns the direction of what does."""


class Coin(msgspec.Struct, frozen=True):
    """A chain's coin as its contracts count it: so many decimals make one."""

    symbol: str
    decimals: int = 18


def language_of(text: str) -> str:
    """Return the language to write in: the wanted one, or English where there are no templates for it."""
    short = text.partition("-")[0].lower()
    return short if short in LANGUAGES else FALLBACK


def preferred_language(accept: str) -> str:
    """Return the first of a browser's languages that we write (RFC 9110 12.5.4), else English."""
    wanted: list[tuple[float, str]] = []
    for place, part in enumerate(accept[:200].split(",")):
        tag, _, weight = part.strip().partition(";q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            quality = 0.0
        wanted.append((-quality + place / 1_000, tag.partition("-")[0].lower()))
    return next((tag for _, tag in sorted(wanted) if tag in LANGUAGES), FALLBACK)


def amount(units: int, coin: Coin, language: str) -> str:
    """Return an amount exactly, like ``0.025 ETH``: no rounding, no zeros at its end, thousands set apart."""
    whole, rest = divmod(units, 10**coin.decimals)
    fraction = str(rest).rjust(coin.decimals, "0").rstrip("0") if rest else ""
    group, point = (".", ",") if language == "de" else (",", ".")
    number = f"{whole:,}".replace(",", group) + (point + fraction if fraction else "")
    return f"{number} {coin.symbol}"


def moment(at: datetime, zone: str | None, language: str) -> str:
    """Return a time on the clocks of a zone, with the zone's name so that nobody has to guess."""
    local = at.astimezone(zone_of(zone))
    day, month = _DAYS[language][local.weekday()], _MONTHS[language][local.month - 1]
    name = getattr(local.tzinfo, "key", "UTC")
    if language == "de":
        return f"{day}, {local.day}. {month} {local.year}, {local:%H:%M} Uhr ({name})"
    return f"{day}, {local.day} {month} {local.year}, {local:%H:%M} ({name})"


def zone_of(name: str | None) -> ZoneInfo:
    """Return a time zone; UTC when there is none of this name, which an organizer may have made up."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def clean(text: str, limit: int = 120) -> str:
    """Return a stranger's text for one line: nothing unseen, nothing that turns the direction, not too long.

    An event's name comes from the chain, where anybody may write anything.
    """
    seen = "".join(
        " " if letter.isspace() else letter
        for letter in text[: 4 * limit]
        if letter.isspace() or unicodedata.category(letter) not in _UNSEEN
    )
    line = " ".join(seen.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def short_address(address: str) -> str:
    """Return an address as people compare it: its first and last digits."""
    return f"{address[:6]}…{address[-4:]}"
