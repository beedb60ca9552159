"""The header's filter over the addresses and topics of a block's logs (Yellow Paper, 4.3.1).

It never misses what is in the block, so it proves logs left out by a node; the fuller, the less it says.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from echain.chain.types import Log
from echain.kernel.evm import keccak

BITS: Final = 2048


@lru_cache(maxsize=1 << 16)
def mask(item: bytes) -> int:
    """Return the three bits that an address or topic sets."""
    digest = keccak(item)
    bits = 0
    for at in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") % BITS)
    return bits


def of_logs(logs: Iterable[Log]) -> int:
    """Return the filter of exactly these logs."""
    items: set[bytes] = set()
    items.update(*[(log.address, *log.topics) for log in logs])
    bits = 0
    for item in items:
        bits |= mask(item)
    return bits


def admits(bloom: int, masks: Iterable[int]) -> bool:
    """Return whether one of the items may be in the block."""
    return bloom != 0 and any(bloom & bits == bits for bits in masks)


def chance(bloom: int) -> float:
    """Return how likely the filter admits an item that is not in the block."""
    return (bloom.bit_count() / BITS) ** 3
