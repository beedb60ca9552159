"""Coinbase's two signatures over the raw body, stricter than its own libraries are.

Commerce: ``X-CC-Webhook-Signature`` is the HMAC of the body; it signs no time, so only the event's id stops a
replay. CDP: ``X-Hook0-Signature`` is ``t=…,h=<names>,v1=<hex>`` over time, the named headers and the body.
Its older ``v0`` signs no headers: accepting it would let whoever holds one captured request give it new ids.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

import msgspec

from echain.edge.http import check_depth
from echain.edge.http.errors import Malformed
from echain.infra.secret import Secret
from echain.kernel.time import to_unix
from echain.webhooks.types import (
    BodyNotJson,
    BodyWrongShape,
    NotConfigured,
    SignatureAmbiguous,
    SignatureFromFuture,
    SignatureMalformed,
    SignatureMissing,
    SignatureTooOld,
    SignatureWrong,
)

COMMERCE_HEADER: Final = "x-cc-webhook-signature"
CDP_HEADER: Final = "x-hook0-signature"
ID_HEADER: Final = "x-event-id"
TYPE_HEADER: Final = "x-event-type"
TOLERANCE_SECONDS: Final = 300
"""How far a signed time may lie from ours, either way."""
MAX_ID_CHARACTERS: Final = 200

_HEX_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_UNIX: Final = re.compile(r"[0-9]{1,12}")
_NAMES: Final = re.compile(r"[a-z0-9-]{1,64}(?: [a-z0-9-]{1,64}){0,15}")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")

Source: TypeAlias = Literal["coinbase_commerce", "coinbase_cdp"]


class Secrets(msgspec.Struct, frozen=True):
    """The secrets that are accepted, several of each while one is replaced."""

    commerce: Sequence[Secret] = ()
    cdp: Sequence[Secret] = ()


class Signed(msgspec.Struct, frozen=True):
    """A webhook whose signature holds.

    ``source_id`` names the event among its source's for ever; ``content`` is what the type's fields are
    read from.
    """

    source: Source
    source_id: str
    type: str
    content: Mapping[str, Any]


def opened(headers: Mapping[str, str], body: bytes, secrets: Secrets, now: datetime) -> Signed:
    """Return what a webhook says, if Coinbase says it and says it now.

    Raises:
        SignatureMissing, SignatureAmbiguous, SignatureMalformed, SignatureWrong: nobody we know signed it.
        SignatureTooOld, SignatureFromFuture: signed more than 300 s away from ``now``.
        NotConfigured: no secret is set for the kind of signature that it has.
        BodyNotJson, BodyWrongShape: signed, and not what we know how to read.
    """
    commerce, cdp = headers.get(COMMERCE_HEADER), headers.get(CDP_HEADER)
    if commerce is not None and cdp is not None:
        raise SignatureAmbiguous
    if commerce is not None:
        _check_commerce(commerce, body, secrets.commerce)
        return _commerce_event(body)
    if cdp is None:
        raise SignatureMissing
    _check_cdp(cdp, headers, body, secrets.cdp, now)
    source_id, kind = headers[ID_HEADER], headers[TYPE_HEADER]
    if not _is_id(source_id) or not _is_id(kind):
        raise BodyWrongShape("an event's id and type have 1 to 200 visible characters")
    return Signed("coinbase_cdp", source_id, kind, _object(body))


def _check_commerce(signature: str, body: bytes, secrets: Sequence[Secret]) -> None:
    if not secrets:
        raise NotConfigured
    if not _HEX_DIGEST.fullmatch(signature):
        raise SignatureMalformed
    _check(signature, body, secrets)


def _check_cdp(
    signature: str, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: datetime
) -> None:
    if not secrets:
        raise NotConfigured
    parts = _parts(signature)
    signed_at, names, digest = parts.get("t", ""), parts.get("h", ""), parts.get("v1", "")
    if not _UNIX.fullmatch(signed_at) or not _NAMES.fullmatch(names) or not _HEX_DIGEST.fullmatch(digest):
        raise SignatureMalformed
    named = names.split(" ")
    if len(set(named)) != len(named) or not {ID_HEADER, TYPE_HEADER} <= set(named):
        raise SignatureMalformed("the signature must cover X-Event-Id and X-Event-Type, each header once")
    values = [headers.get(name) for name in named]
    if any(value is None for value in values):
        raise SignatureMalformed("the signature covers a header that did not come along")
    signed = [signed_at, names, ".".join(str(value) for value in values)]
    _check(digest, ".".join(signed).encode("latin-1") + b"." + body, secrets)
    # Only now: before, the time was anybody's word.
    age = to_unix(now) - int(signed_at)
    if age > TOLERANCE_SECONDS:
        raise SignatureTooOld
    if age < -TOLERANCE_SECONDS:
        raise SignatureFromFuture


def _parts(signature: str) -> dict[str, str]:
    """Return the parts of a CDP signature; those that we do not know may stand beside."""
    parts: dict[str, str] = {}
    for part in signature.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in parts:
            raise SignatureMalformed
        parts[name] = value
    return parts


def _check(digest: str, message: bytes, secrets: Sequence[Secret]) -> None:
    """Compare with every secret in constant time; which of them fits does not show either."""
    fits = False
    for secret in secrets:
        expected = hmac.new(secret.reveal().encode(), message, sha256).hexdigest()
        fits |= hmac.compare_digest(expected, digest)
    if not fits:
        raise SignatureWrong


def content_of(source: str, body: bytes) -> Mapping[str, Any]:
    """Return what the fields of a webhook's type are read from.

    Raises:
        BodyNotJson, BodyWrongShape: not what its source sends.
    """
    return _object(body) if source == "coinbase_cdp" else _commerce_event(body).content


def _commerce_event(body: bytes) -> Signed:
    event = _object(body).get("event")
    if not isinstance(event, dict):
        raise BodyWrongShape("event: an object is needed")
    source_id, kind, data = event.get("id"), event.get("type"), event.get("data")
    if not _is_id(source_id) or not _is_id(kind) or not isinstance(data, dict):
        raise BodyWrongShape("event: id, type and data are needed")
    return Signed("coinbase_commerce", str(source_id), str(kind), data)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_ID_CHARACTERS and bool(_VISIBLE.fullmatch(value))


def _object(body: bytes) -> dict[str, Any]:
    try:
        check_depth(body)
        content = msgspec.json.decode(body)
    except (Malformed, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BodyNotJson from None
    if not isinstance(content, dict):
        raise BodyWrongShape("the body: an object is needed")
    return content
