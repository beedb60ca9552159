"""What a ``Retry-After`` header asks for: text of a stranger, read in one place."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_LONGEST_DATE: Final = 64


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Return the seconds to wait, at least 0: named as such or by a date; None for neither.

    Never raises, whatever the text. Some servers name fractions of a second, which RFC 9110 (10.2.3) does
    not know. The caller bounds the wait: a date may lie centuries ahead.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    if len(text) > _LONGEST_DATE:
        return None
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        # No date, one without a zone, or one that no datetime can hold.
        return None
