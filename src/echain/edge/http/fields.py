"""Texts of the chain as fields: what they look like is checked, and published, by their types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

WeiText = Annotated[
    str,
    Meta(
        pattern=r"^(?:0|[1-9][0-9]{0,77})$",
        description="An amount in the smallest unit of the chain's coin, as decimal digits",
        examples=["25000000000000000"],
    ),
]
AddressText = Annotated[
    str,
    Meta(
        pattern=r"^0x[0-9a-fA-F]{40}$",
        description="An address; its EIP-55 spelling in every answer",
        examples=["0x5FbDB2315678afecb367f032d93F642f64180aa3"],
    ),
]
HashText = Annotated[
    str,
    Meta(pattern=r"^0x[0-9a-fA-F]{64}$", description="A 32-byte hash", examples=["0x" + "c0ffee00" * 8]),
]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset")]
