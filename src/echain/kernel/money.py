"""Amounts in the smallest unit of a chain's native coin; text only at the edges."""

from __future__ import annotations

from typing import NewType

Wei = NewType("Wei", int)
Bps = NewType("Bps", int)
"""Hundredths of a percent; 10_000 is the whole."""

WHOLE_BPS = Bps(10_000)


def share(amount_wei: Wei, bps: Bps) -> Wei:
    """Return ``bps`` of an amount, rounded down as the contracts do."""
    return Wei(amount_wei * bps // WHOLE_BPS)
