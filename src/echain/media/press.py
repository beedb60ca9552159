"""The process that opens one stranger's picture: bounded, without secrets, and gone afterwards.

Reads the upload from stdin; writes a JSON line to stdout and, after it, the pictures made, one after the
other. Run as ``python -I -m echain.media.press``. A decoder that is broken into finds a process that holds
nothing, inherits nothing and ends after 20 s of computing.
"""

from __future__ import annotations

import resource
import sys
import warnings
from io import BytesIO
from typing import Any, Final, Literal

import msgspec
from PIL import Image, ImageCms, ImageOps

from echain.media.types import MAX_PIXELS, MAX_SIDE, MAX_UPLOAD_BYTES, MIN_SIDE, Format

MEMORY_BYTES: Final = 1_500_000_000
CPU_SECONDS: Final = 20
WIDTHS: Final = (320, 640, 1280, 1920)
_SHARED_WIDTH: Final = 1280
"""Of the picture for link previews, wallets and markets, which know neither AVIF nor WebP."""

_READ: Final = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
_OPTIONS: Final[dict[Format, dict[str, Any]]] = {
    "avif": {"quality": 55, "speed": 8, "max_threads": 1},
    "webp": {"quality": 80, "method": 4},
    "jpeg": {"quality": 84, "optimize": True, "progressive": True},
    "png": {"optimize": True},
}


class Made(msgspec.Struct, frozen=True):
    """One of the pictures that follow: how many bytes to read for it."""

    format: Format
    width: int
    height: int
    bytes: int


class Report(msgspec.Struct, frozen=True):
    """The first line: what follows, or why nothing does."""

    made: list[Made] = []
    refused: Literal["unreadable", "size"] | None = None


class _SizeWrong(Exception):
    """The picture's sides are outside the bounds."""


def main() -> None:
    """Press what comes on stdin."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # What looks like a bomb is a warning to Pillow, and only from twice the bound on an error.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    upload = sys.stdin.buffer.read(MAX_UPLOAD_BYTES + 1)
    try:
        pictures = pressed(upload)
    except (_SizeWrong, Image.DecompressionBombError, Image.DecompressionBombWarning):
        _tell(Report(refused="size"), [])
    except Exception:  # noqa: BLE001 - decoders fail in any way they like; nothing of it is told
        _tell(Report(refused="unreadable"), [])
    else:
        _tell(Report([one for one, _ in pictures]), [data for _, data in pictures])


def pressed(upload: bytes) -> list[tuple[Made, bytes]]:
    """Return the pictures made of an upload, small ones first, the one for everybody last."""
    picture = _opened(upload)
    widths = [width for width in WIDTHS if width < picture.width]
    widths.append(min(picture.width, WIDTHS[-1]))
    made = [
        _written(sized, form)
        for sized in (_sized(picture, width) for width in dict.fromkeys(widths))
        for form in ("avif", "webp")
    ]
    everywhere = "png" if picture.mode == "RGBA" else "jpeg"
    return [*made, _written(_sized(picture, min(picture.width, _SHARED_WIDTH)), everywhere)]


def _opened(upload: bytes) -> Image.Image:
    """Return the first frame upright, in sRGB, with nothing but its pixels."""
    with Image.open(BytesIO(upload), formats=_READ) as opened:
        if min(opened.size) < MIN_SIDE or max(opened.size) > MAX_SIDE:
            raise _SizeWrong
        profile = opened.info.get("icc_profile")
        transparent = opened.has_transparency_data
        picture: Image.Image = ImageOps.exif_transpose(opened)
    picture = picture.convert("RGBA" if transparent else "RGB")
    if profile is not None:
        picture = _in_srgb(picture, profile)
    picture.info = {}
    return picture


def _in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Return the picture in the colours of the web; as it is when its profile makes no sense."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError):
        return picture
    return picture if converted is None else converted


def _sized(picture: Image.Image, width: int) -> Image.Image:
    if width == picture.width:
        return picture
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _written(picture: Image.Image, form: Format) -> tuple[Made, bytes]:
    out = BytesIO()
    picture.save(out, form.upper(), **_OPTIONS[form])
    data = out.getvalue()
    return Made(form, picture.width, picture.height, len(data)), data


def _tell(report: Report, pictures: list[bytes]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    for data in pictures:
        sys.stdout.buffer.write(data)


if __name__ == "__main__":
    main()
