"""What a diff may say: the values of declared fields, in bounds; of all others only that they changed.

Secrets and personal data stay out by what is *not* declared. Addresses of e-mail, tokens and the like are
taken out of texts that are declared, because people write them anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import msgspec

from echain.infra.secret import HIDDEN
from echain.kernel.evm import checksum

Diff: TypeAlias = Mapping[str, Sequence[object]]
"""Of each changed field the old and the new value: ``{"title": [None, "Jazz"]}``."""

LONGEST_TEXT: Final = 200
MOST_ITEMS: Final = 50
DEEPEST: Final = 3
MOST_BYTES: Final = 8_192
CUT: Final = "…"
_EXACT: Final = 2**53
_ADDRESS_BYTES: Final = 20

_DECLARED: Final = """
    title description category location startsAt endsAt timezone tiers name priceWei supply saleStartsAt
    saleEndsAt maxPerWallet maxSupply chainId ticketContract tokenId tier quantity cancelled version
    metadataHash transferable startTime endTime place latitude longitude maxTickets saleStart saleEnd
    maxPerPurchase giftPolicy maxGifts resaleCapBps royaltyBps
    state status enabled at expiresAt revokedAt createdAt endedAt undoneAt usedAt verified suspended
    role roles permission scopes admin owner
    count ended number hash kind kinds types channels settledOnly way ways language digest timeZone reason
    cause address wallet organizer organizationId sender transactionHash nonce valueWei maxCostWei contract
    contracts block queue job keyId keys graceSeconds writes reads issuer verdict gate purpose
    deliveries delivery action target limit since admission event
    EventFactory EventTicket Poap
"""
DECLARED: Final = frozenset(_DECLARED.split())
"""Fields whose values are shown, also inside others; whether a switch is on or off is shown of any.

Names are those of things that are shown to the public, as gates, tiers and events. What else people call
something, be it an organization, a key or a device, may be their own name: it stands in no declared field.
"""

_PERSONAL: Final = re.compile(
    r"""
    [^\s@<>"'(),;:]+@[^\s@<>"'(),;:]+\.[^\s@<>"'(),;:]+          # e-mail
  | \bec[a-z]_[A-Za-z0-9_-]{16,}                                 # our tokens, keys and secrets
  | \bwhsec_[A-Za-z0-9+/=_-]+
  | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*){0,3}    # JSON web tokens
  | \bhttps?://[^\s"'<>]+                                        # addresses of the web may carry either
    """,
    re.VERBOSE,
)


def changed(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, list[object]]:
    """Return the fields that differ, with both values; a field that is missing on one side is None there."""
    return {
        name: [old.get(name), new.get(name)]
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    }


def redacted(diff: Diff) -> str:
    """Return a diff as the JSON text that is kept: at most 8 KiB, names in order.

    Texts are cut at 200 characters, lists at 50 items, at most three levels. Where all of it is still too
    much, only which fields changed is kept.

    Raises:
        ValueError: a field has not exactly an old and a new value.
    """
    kept: dict[str, list[object]] = {}
    for name in sorted(diff):
        old, new = diff[name]
        kept[name] = [_value(name, old, 1), _value(name, new, 1)]
    text = msgspec.json.encode(kept)
    if len(text) > MOST_BYTES:
        short = {
            name[:40]: [old and CUT, new and CUT] for name, (old, new) in list(kept.items())[:MOST_ITEMS]
        }
        text = msgspec.json.encode(short)
    return text.decode()


def scrubbed(text: str) -> str:
    """Return ``text`` without e-mail addresses, tokens and web addresses, and without control characters."""
    plain = "".join(one if one.isprintable() else " " for one in text)
    return _PERSONAL.sub(HIDDEN, plain)


def _value(name: str, value: object, depth: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    if isinstance(value, Mapping) and depth <= DEEPEST:
        # Each of its fields must be declared by itself.
        return _mapping(cast("Mapping[Any, object]", value), depth)
    if name not in DECLARED or depth > DEEPEST:
        return HIDDEN
    if isinstance(value, set | frozenset):
        value = sorted(cast("set[Any]", value), key=str)
    if isinstance(value, list | tuple):
        listed = cast("Sequence[object]", value)
        shown = [_value(name, one, depth + 1) for one in listed[:MOST_ITEMS]]
        return shown if len(listed) <= MOST_ITEMS else [*shown, CUT]
    return _scalar(value)


def _mapping(value: Mapping[Any, object], depth: int) -> dict[str, object]:
    shown = list(value.items())[:MOST_ITEMS]
    return {scrubbed(str(name))[:40]: _value(str(name), one, depth + 1) for name, one in shown}


def _scalar(value: object) -> object:
    match value:
        case int() | float():
            return value if abs(value) < _EXACT else str(value)
        case Enum():
            return str(value.value)
        case datetime():
            return value.isoformat()
        case bytes():
            return checksum(value) if len(value) == _ADDRESS_BYTES else "0x" + value[:32].hex()
        case str() | UUID():
            text = scrubbed(str(value))
            return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + CUT
        case _:
            return HIDDEN
