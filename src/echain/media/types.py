"""Pictures as callers see them, and why one is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from echain.kernel.errors import EchainError, Kind

MAX_UPLOAD_BYTES = 12_000_000
MAX_PIXELS = 40_000_000
MAX_SIDE = 16_384
MIN_SIDE = 64

Format = Literal["avif", "webp", "jpeg", "png"]


class Pressed(msgspec.Struct, frozen=True):
    """One picture made of an upload: its pixels anew, and nothing that came with them."""

    format: Format
    width: int
    height: int
    data: bytes

    @property
    def media_type(self) -> str:
        return f"image/{self.format}"


class Variant(msgspec.Struct, frozen=True, rename="camel"):
    """A picture in one size and format; `GET /ipfs/{cid}` has its bytes."""

    cid: str
    format: Format
    width: int
    height: int
    bytes: int


class Image(msgspec.Struct, frozen=True, rename="camel"):
    """An uploaded picture in all its variants, small ones first.

    ``uri`` is what events take as their ``image``: a format that every wallet and market shows.
    """

    id: UUID
    uri: str
    width: int
    height: int
    variants: tuple[Variant, ...]
    created_at: datetime


class Content(msgspec.Struct, frozen=True):
    """A stored file."""

    media_type: str
    data: bytes


class ImageUnreadable(EchainError):
    """This picture cannot be read; send a JPEG, PNG, WebP, AVIF or GIF file that other programs open."""

    kind = Kind.INVALID
    code = "media.unreadable"


class ImageSizeWrong(EchainError):
    """The picture is too large or too small; send 64 to 16384 pixels a side, at most 40 million in all."""

    kind = Kind.INVALID
    code = "media.size_wrong"


class ImagesBusy(EchainError):
    """Too many pictures are being made right now; wait some seconds and send yours again."""

    kind = Kind.UNAVAILABLE
    code = "media.busy"


class TooManyImages(EchainError):
    """You sent 200 pictures within a day; go on tomorrow."""

    kind = Kind.LIMITED
    code = "media.too_many"


class ContentNotFound(EchainError):
    """No file with this identifier is kept here."""

    kind = Kind.NOT_FOUND
    code = "media.not_found"


class ContentDamaged(EchainError):
    """The stored file is not what its identifier names, so it is not served; restore it from a backup."""

    kind = Kind.INTERNAL
    code = "media.damaged"
