"""Puts facts into the words of a language: the values of a template, and the lists under it; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from echain.notify.facts import EventFacts, Facts, Sold
from echain.notify.rendering import Short, words
from echain.notify.types import NoticeKind, Settings
from echain.notify.wording import Coin, amount, clean, language_of, moment, short_address, zone_of

Coins = Mapping[int, Coin]
"""The coin of each chain by its id."""

_MOST_LINES: Final = 20

_AHEAD: Final = frozenset(
    {
        NoticeKind.PURCHASE,
        NoticeKind.TICKET_RECEIVED,
        NoticeKind.EVENT_CHANGED,
        NoticeKind.EVENT_CANCELLED,
        NoticeKind.REMINDER,
    }
)
"""Kinds whose readers have an evening to plan."""


class Line(msgspec.Struct, frozen=True):
    """One line of a section: a title, and what is said under it."""

    title: str
    text: str = ""


class Row(msgspec.Struct, frozen=True):
    """A labelled value, and what it was before."""

    label: str
    value: str
    before: str = ""


class Section(msgspec.Struct, frozen=True):
    title: str
    lines: Sequence[Line]


def values(facts: Facts) -> dict[str, object]:
    """Return what the templates of every kind may name; strangers' texts are cleaned here, and only here."""
    event = facts.event
    told = facts.told
    return {
        "event": {"title": clean(event.title, 80) if event else ""},
        "count": facts.count,
        "sender": short_address(facts.sender or ""),
        "receiver": short_address(facts.receiver or ""),
        "hours": facts.hours,
        "told": {
            "title": clean(told.title) if told else "",
            "text": clean(told.text, 500) if told else "",
            "about": told.about if told else None,
            "device": clean(told.device, 100) if told else "",
        },
        "weekly": facts.weekly,
    }


def listed(kind: str, facts: Facts, settings: Settings, coins: Coins) -> list[Row]:
    """Return what stands under the lead of a mail."""
    language = language_of(settings.language)
    word = words(language)
    rows: list[Row] = []
    event = facts.event
    if event is not None:
        rows.append(Row(word["event"], clean(event.title)))
        rows += _schedule(event, facts.previous, settings, language, whole=kind in _AHEAD)
    if facts.tickets or kind in _AHEAD:
        rows.append(Row(word["tickets"], _tickets(facts)))
    if facts.amount is not None and event is not None:
        label = word["refunded"] if kind == NoticeKind.REFUND else word["paid"]
        rows.append(Row(label, _amount(facts.amount, event.chain_id, coins, language)))
    if facts.sender is not None:
        rows.append(Row(word["from"], facts.sender))
    if facts.receiver is not None:
        rows.append(Row(word["to"], facts.receiver))
    return rows


def _schedule(
    event: EventFacts, previous: EventFacts | None, settings: Settings, language: str, *, whole: bool
) -> list[Row]:
    """Return when, and to those who still may come where and until when; with what was before a change."""
    word = words(language)

    def at(label: str, now: datetime, before: datetime | None) -> Row:
        changed = before is not None and before != now
        was = f"{word['was']} {moment(before, event.time_zone, language)}" if before and changed else ""
        return Row(label, moment(now, event.time_zone, language), was)

    rows = [at(word["when"], event.starts_at, previous and previous.starts_at)]
    if not whole:
        return rows
    if _elsewhere(event, settings):
        rows.append(Row(word["your_time"], moment(event.starts_at, settings.time_zone, language)))
    rows.append(at(word["ends"], event.ends_at, previous and previous.ends_at))
    place, before = clean(event.place), clean(previous.place) if previous else ""
    was = f"{word['was']} {before}" if before and before != place else ""
    if place or was:
        rows.append(Row(word["where"], place or "?", was))
    return rows


def _elsewhere(event: EventFacts, settings: Settings) -> bool:
    """Whether the reader's clocks show another time than the event's."""
    if settings.time_zone is None:
        return False
    there = event.starts_at.astimezone(zone_of(event.time_zone)).utcoffset()
    return event.starts_at.astimezone(zone_of(settings.time_zone)).utcoffset() != there


def _tickets(facts: Facts) -> str:
    numbers = [ticket.rpartition("-")[2] for ticket in facts.tickets]
    if not numbers:
        return str(facts.count)
    shown = ", ".join(f"#{number}" for number in numbers[:_MOST_LINES])
    return f"{shown}, …" if len(numbers) > _MOST_LINES else shown


def _amount(text: str, chain_id: int, coins: Coins, language: str) -> str:
    units = int(text)
    return amount(units, coins.get(chain_id, Coin("ETH")), language) if units else words(language)["free"]


def digest_sections(
    items: Sequence[tuple[Short, datetime]], sales: Sequence[Sold], settings: Settings, coins: Coins
) -> list[Section]:
    """Return a digest's sections: sales by event, then what happened, at most twenty lines each."""
    language = language_of(settings.language)
    word = words(language)
    sections: list[Section] = []
    sold = [
        Line(
            clean(one.title),
            word["sold_line"].format(
                count=one.count, amount=_amount(one.amount, one.chain_id, coins, language)
            ),
        )
        for one in sales
    ]
    news = [
        Line(short.title, f"{short.text} {moment(at, settings.time_zone, language)}") for short, at in items
    ]
    for title, lines in ((word["sales"], sold), (word["news"], news)):
        if lines:
            rest = len(lines) - _MOST_LINES
            more = [Line(word["more"].format(count=rest))] if rest > 0 else []
            sections.append(Section(title, [*lines[:_MOST_LINES], *more]))
    return sections
