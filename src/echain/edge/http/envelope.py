"""The envelope around every JSON answer, put together as bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from echain.kernel.errors import EchainError
from echain.kernel.paging import PageInfo

encode = msgspec.json.Encoder(decimal_format="string").encode
_encode_anything = msgspec.json.Encoder(decimal_format="string", enc_hook=str).encode


def timestamp(moment: datetime) -> bytes:
    """Return an aware UTC moment as `kernel.time.rfc3339` writes it, ten times as fast."""
    text = encode(moment)  # "2026-12-01T19:00:00.123456Z", without a fraction where it is zero
    return text[1:24] + b"Z" if moment.microsecond else text[1:20] + b".000Z"


def success(data: bytes, timestamp: bytes, request_id: bytes, page: PageInfo | None = None) -> bytes:
    """Return the envelope of encoded ``data``; the request id holds nothing that JSON escapes."""
    if page is None:
        return b'{"success":true,"data":%b,"meta":{"timestamp":"%b","requestId":"%b"}}' % (
            data,
            timestamp,
            request_id,
        )
    return b'{"success":true,"data":%b,"meta":{"timestamp":"%b","requestId":"%b","page":%b}}' % (
        data,
        timestamp,
        request_id,
        encode(page),
    )


def failure(error: EchainError, timestamp: bytes, request_id: bytes) -> bytes:
    """Return the envelope of an error: its code, message and details."""
    reason: dict[str, Any] = {"code": error.code, "message": error.message, "details": error.details}
    return b'{"success":false,"error":%b,"meta":{"timestamp":"%b","requestId":"%b"}}' % (
        _encode_anything(reason),
        timestamp,
        request_id,
    )
