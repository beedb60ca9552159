"""Covers of events that have no picture: drawn from the event's id, so that each has its own and keeps it."""

from __future__ import annotations

import math
from hashlib import sha256
from typing import Final
from uuid import UUID

_WIDTH: Final = 640
_HEIGHT: Final = 400
_PALETTES: Final = (
    ("#0f3d3e", "#1c7c7d", "#e2dcc8", "#f1a661"),
    ("#2b2d42", "#5c6794", "#edf2f4", "#ef6f6c"),
    ("#3a2e39", "#7d5a6a", "#f4d8cd", "#f15152"),
    ("#14342b", "#3c7a52", "#f4f1bb", "#ff9f1c"),
    ("#22223b", "#6d5d8c", "#f2e9e4", "#f4a259"),
    ("#1d3557", "#457b9d", "#f1faee", "#e9806e"),
    ("#33261d", "#8c5e3c", "#f3e9dc", "#dda15e"),
    ("#0b3954", "#087e8b", "#f3f6f4", "#ff8a5b"),
)
"""Ground, shapes, light, accent."""


def cover_of(event_id: UUID) -> bytes:
    """Return an event's cover as SVG: hills under a sun, or rings around a light, always the same."""
    seed = sha256(event_id.bytes).digest()
    ground, shape, light, accent = _PALETTES[seed[0] % len(_PALETTES)]
    drawing = _hills(seed, shape, light, accent) if seed[1] % 2 else _rings(seed, shape, light, accent)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'preserveAspectRatio="xMidYMid slice"><path fill="{ground}" d="M0 0h{_WIDTH}v{_HEIGHT}H0z"/>'
        f"{drawing}</svg>"
    ).encode("ascii")


def _hills(seed: bytes, shape: str, light: str, accent: str) -> str:
    across, down = 120 + seed[2] * 400 // 255, 90 + seed[3] * 90 // 255
    sun = f'<circle cx="{across}" cy="{down}" r="{46 + seed[4] % 30}" fill="{accent}"/>'
    layers = "".join(
        f'<path fill="{fill}" opacity="{opacity}" d="{_ridge(seed, layer)}"/>'
        for layer, (fill, opacity) in enumerate(((shape, 0.55), (shape, 0.9), (light, 0.92)))
    )
    return sun + layers


def _ridge(seed: bytes, layer: int) -> str:
    top = 190 + layer * 62
    phase, waves = seed[5 + layer] / 40, 1.2 + seed[8 + layer] / 128
    points = [
        (x, top + round(34 * math.sin(phase + waves * x / 100) + 12 * math.sin(phase * 3 + x / 37)))
        for x in range(0, _WIDTH + 1, 20)
    ]
    line = " ".join(f"L{x} {y}" for x, y in points)
    return f"M0 {_HEIGHT} {line} L{_WIDTH} {_HEIGHT}z"


def _rings(seed: bytes, shape: str, light: str, accent: str) -> str:
    across, down = 180 + seed[2] * 280 // 255, 120 + seed[3] * 160 // 255
    rings = "".join(
        f'<circle cx="{across}" cy="{down}" r="{70 + ring * (26 + seed[4] % 18)}" fill="none" '
        f'stroke="{light if (seed[5] >> ring) & 1 else shape}" stroke-width="{6 + seed[6 + ring] % 16}" '
        f'opacity="{0.9 - ring * 0.08:.2f}"/>'
        for ring in range(8)
    )
    return f'{rings}<circle cx="{across}" cy="{down}" r="38" fill="{accent}"/>'
