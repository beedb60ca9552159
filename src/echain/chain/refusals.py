"""What a node's refusal means for the one who asks: wait, ask for less, ask another, or give up."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum, auto
from typing import Final


class Meaning(Enum):
    """What to do about a refusal."""

    FINAL = auto()
    """The caller's to handle: every node would say the same, or the query asks for too much."""

    TOO_OFTEN = auto()
    BATCH_TOO_LARGE = auto()

    ELSEWHERE = auto()
    """Another node may know it."""

    LATER = auto()
    """The same node will know it in a moment, as the chain's data says of its codes."""


_BATCH: Final = frozenset({-32203, -32201})
_LIMIT: Final = frozenset({429, -32605, -32606, -32029})
_LIMIT_OR_SIZE: Final = -32005
"""Infura and Alchemy: too many requests, or too many results; Hedera's relay: gas limit too high."""

_ELSEWHERE: Final = frozenset({-32601, -32603, -32001, -32002, -32010})

_OFTEN_TEXT: Final = re.compile(
    r"rate.?limit|too many requests|request (?:count|rate)|requests? (?:per|limit)|throttl|compute units"
    r"|quota|capacity exceeded",
    re.IGNORECASE,
)
_SIZE_TEXT: Final = re.compile(r"result|range|logs?\b|\bgas\b|block|response size", re.IGNORECASE)
_BATCH_TEXT: Final = re.compile(
    r"batch.{0,40}(?:limit|large|size|exceed|many|support|allow)|(?:limit|large|many|exceed).{0,40}batch",
    re.IGNORECASE,
)
_ELSEWHERE_TEXT: Final = re.compile(
    r"(?:unknown|missing) (?:block|header)|(?:block|header)[a-z ]{0,20} not found|missing trie node|pruned"
    r"|state .{0,40}not available|history.{0,40}not available|timed? ?out|internal error"
    r"|temporarily|unavailable",
    re.IGNORECASE,
)


def meaning(code: int, message: str, *, later: Collection[int] = (), reverted: bool = False) -> Meaning:
    """Return what an error means; ``later`` are the chain's codes that pass by themselves.

    ``reverted`` says that the error carries a contract's answer: no node says anything else.
    """
    if reverted or "revert" in message.lower():
        return Meaning.FINAL
    if code in later:
        return Meaning.LATER
    if code in _BATCH or _BATCH_TEXT.search(message):
        return Meaning.BATCH_TOO_LARGE
    too_often = code in _LIMIT or _OFTEN_TEXT.search(message)
    if too_often or (code == _LIMIT_OR_SIZE and not _SIZE_TEXT.search(message)):
        return Meaning.TOO_OFTEN
    if code in _ELSEWHERE or _ELSEWHERE_TEXT.search(message):
        return Meaning.ELSEWHERE
    return Meaning.FINAL
