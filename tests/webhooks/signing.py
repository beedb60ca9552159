"""Coinbase as a signer: both kinds of signature, as its documentation and the recorded vectors have them."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256
from typing import Any
from uuid import uuid4

CDP_SECRET = "0b5a8c3e-secret"
COMMERCE_SECRET = "commerce-shared-secret"
HEADERS = "content-type x-event-id x-event-type"


def commerce(body: bytes, secret: str = COMMERCE_SECRET) -> dict[str, str]:
    """Return the headers of a Commerce webhook."""
    return {"x-cc-webhook-signature": hmac.new(secret.encode(), body, sha256).hexdigest()}


def cdp(
    body: bytes,
    at: int,
    *,
    secret: str = CDP_SECRET,
    event_id: str | None = None,
    event_type: str = "onchain.activity.detected",
    names: str = HEADERS,
    **more: str,
) -> dict[str, str]:
    """Return the headers of a CDP webhook that was signed at a Unix second."""
    headers = {
        "content-type": "application/json",
        "x-event-id": event_id or str(uuid4()),
        "x-event-type": event_type,
        **more,
    }
    values = ".".join(headers[name] for name in names.split(" "))
    v0 = hmac.new(secret.encode(), f"{at}.".encode() + body, sha256).hexdigest()
    v1 = hmac.new(secret.encode(), f"{at}.{names}.{values}.".encode() + body, sha256).hexdigest()
    return {**headers, "x-hook0-signature": f"t={at},v0={v0},h={names},v1={v1}"}


def charge_event(
    kind: str, charge_id: str = "charge-1", *, event_id: str | None = None, **data: Any
) -> bytes:
    """Return the body of a Commerce webhook."""
    event = {
        "id": event_id or str(uuid4()),
        "type": kind,
        "api_version": "2018-03-22",
        "created_at": "2026-11-26T08:00:00Z",
        "data": {
            "id": charge_id,
            "code": "66BEOV2A",
            "pricing": {"local": {"amount": "25.00", "currency": "EUR"}},
            "metadata": {"order": "7"},
            "timeline": [{"status": "NEW", "time": "2026-11-26T08:00:00Z"}],
            **data,
        },
    }
    return json.dumps({"id": str(uuid4()), "attempt_number": 1, "event": event}).encode()


KAT_BODY = (
    b'{"block_number":46218191,"contract_address":"0x940181a94A35A4569E4529A3CDfB74e38FD98631",'
    b'"event_name":"Transfer","parameters":{"from":"0x0000000000000000000000000000000000000000",'
    b'"to":"0x61040E143A77F165Ba44543AF4A079F2C809D14b","tokenId":"7"},"log_index":29,'
    b'"network":"base-mainnet"} \xe2\x9c\x93'
)
"""A recorded body; what follows the object is part of what is signed, and makes it no JSON."""

KAT_AT = 1_764_000_000
KAT_HEADERS = {
    "content-type": "application/json",
    "x-event-id": "123e4567-e89b-12d3-a456-426614174000",
    "x-event-type": "onchain.activity.detected",
}
KAT_V0 = "f985e2ec5c253a3c7917bbe2c96216cf433543a051add48e33d86f8638c8c659"
KAT_V1 = "1a3bd61613c387d1c5aa2122068473ed6e8122395490104f5b8f4f95429a04db"
KAT_COMMERCE = "66d447e88c8e1d0cd23c4520e94ca9890e4be430bede397ac8ef3abd7554ea07"
