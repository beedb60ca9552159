"""One measured figure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Row(msgspec.Struct, frozen=True):
    """A figure with what it stands beside.

    ``floor`` is what the machine itself can do, measured in the same run in the same unit, or None; ``peers``
    are figures of other programs, recorded on the same kind of machine unless the name says "here". ``note``
    says what limits the figure, ``missing`` why a peer that belongs here has none.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    peers: Mapping[str, float] = {}
    note: str = ""
    missing: Mapping[str, str] = {}
