"""How many blocks the next log query covers: many from the start, more when that goes well, else half."""

from __future__ import annotations

import re
from typing import Final

TARGET_LOGS: Final = 8_000
"""Logs in one answer, and so in one transaction, that cost the least each."""

_FIRST: Final = 500
_HEX_RANGE: Final = re.compile(r"\[\s*0x([0-9a-f]+)\s*,\s*0x([0-9a-f]+)\s*\]", re.IGNORECASE)
_LIMIT: Final = re.compile(
    r"(?:limited to|limit of|maximum(?: of|:| is)?|max(?:imum)? (?:block )?range:?|up to(?: an?)?|exceeds?"
    r"|range(?: is)?(?: too)?[a-z ]*:?)\D{0,24}?(?:0\s*-\s*)?(\d{1,7})(?:,(\d{3}))?\s*(?:block|$|\b)",
    re.IGNORECASE,
)


class Span:
    """The size of the next range, between one block and what the chain's nodes are known to allow."""

    def __init__(self, limit: int) -> None:
        self._limit = max(1, limit)
        self.blocks = min(_FIRST, self._limit)

    def answered(self, blocks: int, logs: int) -> None:
        """Learn from an answer: towards `TARGET_LOGS` by its density, else a tenth of the limit more."""
        if logs > TARGET_LOGS:
            self.blocks = max(1, min(self.blocks, blocks * TARGET_LOGS // logs))
            return
        grown = self.blocks + max(1, self._limit // 10)
        if logs:
            grown = min(grown, max(self.blocks, blocks * TARGET_LOGS // logs))
        self.blocks = min(self._limit, grown)

    def refused(self, blocks: int, message: str = "") -> bool:
        """Learn from a refusal: what its text allows, else half. Return False when nothing is left to cut."""
        if blocks <= 1:
            return False
        allowed = allowed_blocks(message)
        if allowed is not None and allowed < blocks:
            self.blocks = allowed
            if not _HEX_RANGE.search(message):
                # A rule of the node, not of this range's density.
                self._limit = min(self._limit, allowed)
        else:
            self.blocks = max(1, blocks // 2)
        return True


def allowed_blocks(message: str) -> int | None:
    """Return how many blocks a provider's refusal says it would answer, None when it says nothing of it."""
    if offered := _HEX_RANGE.search(message):
        first, last = int(offered[1], 16), int(offered[2], 16)
        return last - first + 1 if last >= first else None
    if stated := _LIMIT.search(message):
        blocks = int(stated[1] + (stated[2] or ""))
        return blocks or None
    return None
