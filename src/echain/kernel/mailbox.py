"""Addresses of e-mail as they are sent to; pure."""

from __future__ import annotations

import re
from typing import Final

from echain.kernel.errors import invalid_field

_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAX_LOCAL: Final = 64
_MAX_ADDRESS: Final = 254


def parse_email(text: str, *, path: str = "email") -> str:
    """Return an address as it is sent to: the part before the @ as given, the domain in lower-case ASCII.

    Only what RFC 5321 allows without quotes: nothing that could end a header or a command. A domain with
    other letters is put into its ASCII form (IDNA).

    Raises:
        Invalid: no such address.
    """
    local, at, domain = text.strip(" ").rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        domain = ""
    labels = domain.split(".")
    good = (
        at
        and len(local) <= _MAX_LOCAL
        and _LOCAL.fullmatch(local)
        and len(labels) > 1
        and all(_LABEL.fullmatch(label) for label in labels)
        and not labels[-1].isdigit()
        and len(local) + 1 + len(domain) <= _MAX_ADDRESS
    )
    if not good:
        raise invalid_field(path, "is not an e-mail address like name@example.org")
    return f"{local}@{domain}"
