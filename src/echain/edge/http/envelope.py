"""The envelope around every JSON answer, put together as bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from echain.kernel.errors import EchainError, Kind
from echain.kernel.paging import PageInfo

encode = msgspec.json.Encoder(decimal_format="string").encode
_encode_anything = msgspec.json.Encoder(decimal_format="string", enc_hook=str).encode


def timestamp(moment: datetime) -> bytes:
    """Return an aware UTC moment as `kernel.time.rfc3339` writes it, ten times as fast."""
    text = encode(moment)  # "2026-12-01T19:00:00.123456Z", without a fraction where it is zero
    return text[1:24] + b"Z" if moment.microsecond else text[1:20] + b".000Z"


def success(data: bytes, now: datetime, request_id: str, page: PageInfo | None = None) -> bytes:
    """Return the envelope of encoded ``data``; the request id holds nothing that JSON escapes."""
    end = b'"}}' if page is None else b'","page":%b}}' % encode(page)
    return b"".join(
        (
            b'{"success":true,"data":',
            data,
            b',"meta":{"timestamp":"',
            timestamp(now),
            b'","requestId":"',
            request_id.encode("ascii"),
            end,
        )
    )


def failure(error: EchainError, now: datetime, request_id: str) -> bytes:
    """Return the envelope of an error: its code, message and details.

    Of a part that is away, and of faults of ours, only what the class says is told: which host refused what,
    and how, stands in the logs.
    """
    message, details = error.message, error.details
    if error.kind in (Kind.UNAVAILABLE, Kind.INTERNAL):
        message = " ".join((type(error).__doc__ or type(error).__name__).split())
        details = {name: value for name, value in details.items() if name == "retryAfterSeconds"}
    reason: dict[str, Any] = {"code": error.code, "message": message, "details": details}
    return b'{"success":false,"error":%b,"meta":{"timestamp":"%b","requestId":"%b"}}' % (
        _encode_anything(reason),
        timestamp(now),
        request_id.encode("ascii"),
    )
