"""Events as calendar files: one entry an event, which later files move or remove (RFC 5545, 5546, 6047)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from echain.notify.facts import EventFacts
from echain.notify.wording import clean

Method = Literal["PUBLISH", "CANCEL"]


def calendar_file(
    event: EventFacts, method: Method, *, host: str, brand: str, sender: str, note: str, now: datetime
) -> bytes:
    """Return an iCalendar object with one VEVENT.

    Its UID is the event's for good, so that buying twice or a change makes no second entry; its SEQUENCE
    grows with each change on chain, so that the newest wins in whatever order mails arrive. A cancellation
    counts as a change there, too. Times are in UTC, which every calendar shows on its own clock.
    """
    from icalendar import Calendar, Event, vCalAddress, vText  # which only workers need

    entry = Event()
    entry.add("uid", f"{event.id}@{host}")
    entry.add("dtstamp", now.astimezone(UTC).replace(microsecond=0))
    entry.add("sequence", event.revision)
    entry.add("dtstart", event.starts_at.astimezone(UTC))
    entry.add("dtend", event.ends_at.astimezone(UTC))
    entry.add("summary", clean(event.title))
    if event.place:
        entry.add("location", clean(event.place, 300))
    entry.add("description", note)
    entry.add("status", "CANCELLED" if method == "CANCEL" else "CONFIRMED")
    entry.add("transp", "TRANSPARENT" if method == "CANCEL" else "OPAQUE")
    organizer = vCalAddress(f"mailto:{sender}")
    organizer.params["CN"] = vText(brand)
    entry.add("organizer", organizer)
    calendar = Calendar()
    calendar.add("prodid", "-//echain//tickets//EN")
    calendar.add("version", "2.0")
    calendar.add("method", method)
    calendar.add_component(entry)
    return calendar.to_ical()
