"""The envelope around every JSON answer, put together as bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from echain.kernel.errors import EchainError
from echain.kernel.paging import PageInfo

encode = msgspec.json.Encoder(decimal_format="string").encode
_encode_anything = msgspec.json.Encoder(decimal_format="string", enc_hook=str).encode


class Stamp:
    """Writes moments as RFC 3339 with milliseconds; the part up to the second is made once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second: datetime | None = None
        self._text = b""

    def __call__(self, moment: datetime) -> bytes:
        second = moment.replace(microsecond=0)
        if second != self._second:
            self._second = second
            self._text = second.strftime("%Y-%m-%dT%H:%M:%S.").encode("ascii")
        return b"%b%03dZ" % (self._text, moment.microsecond // 1000)


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
