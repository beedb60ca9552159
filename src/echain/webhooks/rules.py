"""How messages go out: who may hear what, how they are signed, when a failed try is repeated."""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from echain.kernel.errors import Invalid
from echain.kernel.evm import Address, checksum
from echain.kernel.messages import SCHEMA, TYPES
from echain.kernel.time import to_unix

PING: Final = "ping"
REVERTED: Final = "reverted"

FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 3_600.0
LONGEST_RETRY_AFTER_SECONDS: Final = 43_200.0
JITTER: Final = 0.2
"""A pause is up to so much shorter or longer: receivers that fell together do not rise to a stampede."""
FAILING_TERM: Final = timedelta(days=3)
"""How long a receiver may fail before its subscription is disabled."""
GONE: Final = 410
SLOW_SECONDS: Final = 1.0

_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 -- the mark of a secret, not one
_CHANNEL: Final = re.compile(r"(organizer|user|event):(\S+)")


class Key(msgspec.Struct, frozen=True):
    """A key that signs: its public name and the ASCII text that is its secret."""

    name: str
    secret: bytes


def secret_text(random: bytes) -> str:
    """Return how a secret of 32 random bytes is shown; its ASCII bytes are what signs."""
    return _SECRET_PREFIX + random.hex()


def signature(keys: Sequence[Key], delivery_id: UUID, body: bytes, at: datetime) -> str:
    """Return the header's value: the time, then name and HMAC-SHA256 of each key, the newest first.

    What is signed is ``t.<delivery id>.<body>`` with ``t`` the Unix second in decimal digits.
    """
    signed_at = str(to_unix(at))
    message = f"{signed_at}.{delivery_id}.".encode() + body
    parts = [f"t={signed_at}"]
    for key in keys:
        parts += [f"k={key.name}", f"v1={hmac.new(key.secret, message, sha256).hexdigest()}"]
    return ",".join(parts)


def pause(failures: int, retry_after: float | None, random: float) -> timedelta:
    """Return how long to wait after the ``failures``-th failure in a row, the first being 1.

    Doubles from 5 s to an hour, give or take a fifth by ``random`` in [0, 1). A receiver that asks for more
    gets it, up to 12 hours.
    """
    seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20))
    seconds *= 1 - JITTER + 2 * JITTER * random
    if retry_after is not None:
        seconds = max(seconds, min(retry_after, LONGEST_RETRY_AFTER_SECONDS))
    return timedelta(seconds=seconds)


def given_up(failing_since: datetime, now: datetime) -> bool:
    """Return whether a receiver has failed for so long that its subscription is disabled."""
    return now - failing_since >= FAILING_TERM


def checked_types(types: Collection[str]) -> list[str]:
    """Return message types in their order, each once.

    Raises:
        Invalid: with every type that does not exist.
    """
    unknown = [
        {"path": f"types[{place}]", "reason": "is no message type; see docs/reference.md"}
        for place, kind in enumerate(types)
        if kind not in TYPES
    ]
    if unknown:
        raise Invalid(f"{unknown[0]['path']}: {unknown[0]['reason']}", fields=unknown)
    return list(dict.fromkeys(types))


def own_channel(organizers: Collection[Address], user: Address | None, channel: str) -> str | UUID:
    """Return a channel as messages name it, or the id of the event whose channel it is, yet to be checked.

    ``organizers`` are the wallets whose channels the
    owner may hear, ``user`` the one whose private channel.

    Raises:
        Invalid: not a channel, or one of somebody else.
    """
    matched = _CHANNEL.fullmatch(channel)
    kind, name = (matched[1], matched[2].lower()) if matched else ("", "")
    if kind == "event":
        try:
            return UUID(name)
        except ValueError:
            raise Invalid(f"channels: {channel} names no event") from None
    for wallet in organizers if kind == "organizer" else ():
        if checksum(wallet).lower() == name:
            return f"organizer:{checksum(wallet)}"
    if kind == "user" and user is not None and checksum(user).lower() == name:
        return f"user:{checksum(user)}"
    own = [f"organizer:{checksum(wallet)}" for wallet in organizers]
    own += [] if user is None else [f"user:{checksum(user)}"]
    raise Invalid(f"channels: {channel!r} is not one of yours; there are {', '.join([*own, 'event:<id>'])}")


def body_of(
    delivery_id: UUID, message_id: int | None, kind: str, channel: str, *, at_ms: int, data: bytes
) -> str:
    """Return what is posted: a message as live clients get it, and the delivery that brings it."""
    head = {
        "delivery": str(delivery_id),
        # Kept with the message: what waits may be older than the program that posts it.
        "schema": SCHEMA,
        "id": None if message_id is None else str(message_id),
        "type": kind,
        "channel": channel,
        "timestamp": at_ms,
        "data": msgspec.Raw(data),
    }
    return msgspec.json.encode(head).decode()
