"""E-mails as bytes: both forms of the text, the calendar file, and the headers that mail clients act on."""

from __future__ import annotations

from datetime import datetime
from email.headerregistry import Address as MailAddress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from echain.notify.calendar import Method
from echain.notify.rendering import Page

_LINE: Final = 998
"""Octets that a line of a message may have at most (RFC 5322 2.1.1)."""


class Brand(msgspec.Struct, frozen=True):
    """Who writes: ``name`` stands over each mail, ``sender`` is the address it comes from."""

    name: str
    sender: str
    public_url: str

    @classmethod
    def of(cls, mail_from: str, public_url: str) -> Brand:
        """Return the brand of ``Name <address>`` or of a bare address."""
        name, address = parseaddr(mail_from)
        return cls(name or "echain", address, public_url.rstrip("/"))

    @property
    def host(self) -> str:
        """The host that ids of messages and calendar entries belong to."""
        return urlsplit(self.public_url).hostname or "localhost"


class Attachment(msgspec.Struct, frozen=True):
    """A calendar file and what it asks the calendar to do."""

    data: bytes
    method: Method


def letter(
    page: Page,
    brand: Brand,
    *,
    recipient: str,
    message_id: UUID,
    now: datetime,
    unsubscribe_url: str | None = None,
    calendar: Attachment | None = None,
) -> bytes:
    """Return the message.

    ``message_id`` is the delivery's: a mail that is sent again after a crash has the same Message-ID, by
    which receivers know it. With ``unsubscribe_url`` it can be unsubscribed from by one click (RFC 8058).

    Raises:
        ValueError: a header's value holds a line break; nothing that people wrote reaches here uncleaned.
    """
    local, _, domain = brand.sender.rpartition("@")
    message = EmailMessage(policy=SMTP)
    message["From"] = MailAddress(brand.name, local, domain)
    message["To"] = recipient
    message["Subject"] = page.subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id}@{brand.host}>"
    # RFC 3834: no vacation notes in return. Many servers go by the second.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "OOF, AutoReply"
    if unsubscribe_url is not None:
        message["List-Unsubscribe"] = f"<{unsubscribe_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(page.text, cte="quoted-printable")
    message.add_alternative(page.html, subtype="html", cte="quoted-printable")
    if calendar is not None:
        message.add_attachment(
            calendar.data.decode(),
            subtype="calendar",
            filename="event.ics",
            cte="base64",
            params={"method": calendar.method},
        )
    # Folded at 78 columns a long URL in angle brackets would be encoded, and no mail client looks into that.
    return message.as_bytes(policy=SMTP.clone(max_line_length=_LINE))
