"""Pictures from strangers: what comes out, and what is refused."""

from __future__ import annotations

import asyncio
import random
import struct
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Any

import psutil
import pytest
from PIL import Image, ImageCms

from echain.media import pressing
from echain.media.pressing import AT_ONCE, WAITING, Presses
from echain.media.types import ImagesBusy, ImageSizeWrong, ImageUnreadable, Pressed

GPS = 0x8825
ORIENTATION = 0x0112
MAKER = "Camera of Alice Example"


def drawn(width: int = 400, height: int = 300, mode: str = "RGB") -> Image.Image:
    """Return a picture whose left half is red and whose right half is blue."""
    picture = Image.new(mode, (width, height), "red")
    picture.paste("blue", (width // 2, 0, width, height))
    return picture


def written(picture: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def read(pressed: Pressed) -> Image.Image:
    return Image.open(BytesIO(pressed.data), formats=[pressed.format.upper()])


def colour(pressed: Pressed, x: float, y: float) -> str:
    picture = read(pressed).convert("RGB")
    red, _, blue = picture.getpixel((int(x * picture.width), int(y * picture.height)))  # type: ignore[misc]
    return "red" if red > blue else "blue"


async def press(upload: bytes) -> list[Pressed]:
    return await Presses().press(upload)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "GIF"])
async def test_each_format_becomes_small_modern_pictures_and_one_for_everybody(form: str) -> None:
    made = await press(written(drawn(), form))
    assert [(one.format, one.width, one.height) for one in made] == [
        *[("avif", 320, 240), ("webp", 320, 240), ("avif", 400, 300), ("webp", 400, 300)],
        ("jpeg", 400, 300),
    ]
    for one in made:
        assert read(one).size == (one.width, one.height)
        assert (colour(one, 0.1, 0.5), colour(one, 0.9, 0.5)) == ("red", "blue")


async def test_large_pictures_come_in_four_widths_and_none_is_wider_than_screens_are() -> None:
    made = await press(written(drawn(3000, 1500)))
    assert [one.width for one in made if one.format == "avif"] == [320, 640, 1280, 1920]
    assert (made[-1].format, made[-1].width) == ("jpeg", 1280)


async def test_nothing_but_pixels_stays() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010F] = MAKER
    exif.get_ifd(GPS)[1] = "N"
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 12.0)
    upload = written(drawn(), exif=exif, comment=MAKER.encode(), xmp=f"<x>{MAKER}</x>".encode())
    assert MAKER.encode() in upload
    made = await press(upload)
    assert (made[-1].width, made[-1].height) == (300, 400), "turned as the camera was held"
    assert (colour(made[-1], 0.5, 0.1), colour(made[-1], 0.5, 0.9)) == ("red", "blue")
    for one in made:
        assert b"Alice" not in one.data
        assert b"Exif" not in one.data
        assert not read(one).getexif()
        assert not {"exif", "xmp", "comment", "icc_profile"} & {str(key) for key in read(one).info}


async def test_colours_are_those_of_the_web_whatever_profile_came() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert colour((await press(written(drawn(), icc_profile=profile)))[-1], 0.1, 0.5) == "red"
    assert colour((await press(written(drawn(), icc_profile=b"no profile at all")))[-1], 0.1, 0.5) == "red"


async def test_transparency_stays() -> None:
    picture = drawn(mode="RGBA")
    picture.putalpha(Image.new("L", picture.size, 0))
    made = await press(written(picture, "PNG"))
    assert made[-1].format == "png"
    for one in made:
        pixel: Any = read(one).convert("RGBA").getpixel((5, 5))
        assert pixel[3] == 0, one.format


async def test_of_a_moving_picture_the_first_frame_stays() -> None:
    frames = [Image.new("RGB", (100, 100), name) for name in ("red", "blue", "blue")]
    made = await press(written(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert colour(made[-1], 0.5, 0.5) == "red"


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG that says to have this size, and holds these chunks instead of so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"".join(chunk(kind, data) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "upload",
    [
        pytest.param(written(Image.new("1", (16_000, 16_000)), "PNG"), id="few bytes, many pixels"),
        pytest.param(png(2**31 - 1, 2**31 - 1), id="a header that lies"),
        pytest.param(png(16_000, 3_000, (b"IDAT", zlib.compress(b"\0"))), id="over the bound by little"),
        pytest.param(written(Image.new("RGB", (63, 500)), "PNG"), id="too small"),
        pytest.param(written(Image.new("RGB", (16_385, 64)), "PNG"), id="too long"),
    ],
)
async def test_sizes_out_of_bounds_are_refused(upload: bytes) -> None:
    with pytest.raises(ImageSizeWrong):
        await press(upload)


@pytest.mark.parametrize(
    "upload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", id="svg"),
        pytest.param(b"%PDF-1.7 ...", id="pdf"),
        pytest.param(written(drawn())[:2000], id="cut off"),
        pytest.param(b"\xff\xd8\xff" + bytes(1000), id="only begins like one"),
        pytest.param(written(drawn(), "TIFF"), id="another format"),
        pytest.param(
            png(100, 100, (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(100_000_000)))), id="text bomb"
        ),
    ],
)
async def test_what_is_no_picture_is_refused(upload: bytes) -> None:
    with pytest.raises(ImageUnreadable):
        await press(upload)


async def test_a_file_that_is_also_another_comes_out_as_a_picture_alone() -> None:
    page = b"<html><script>alert(1)</script></html>PK\x03\x04evil.zip"
    for one in await press(written(drawn()) + page):
        assert b"script" not in one.data
        assert b"PK\x03\x04" not in one.data


async def test_damaged_files_are_refused_or_drawn_but_break_nothing() -> None:
    chance = random.Random(7)
    presses = Presses()

    async def damaged(form: str) -> None:
        upload = bytearray(written(drawn(100, 100), form))
        for _ in range(chance.randint(1, 20)):
            upload[chance.randrange(12, len(upload))] = chance.randrange(256)
        with suppress(ImageUnreadable, ImageSizeWrong):
            assert await presses.press(bytes(upload))

    forms = ["JPEG", "PNG", "WEBP", "AVIF", "GIF"]
    for _ in range(3):
        async with asyncio.TaskGroup() as group:
            for form in forms:
                group.create_task(damaged(form))


async def test_too_many_at_once_are_told_to_come_again() -> None:
    presses = Presses()
    upload = written(drawn(100, 100))
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(
            *(presses.press(upload) for _ in range(AT_ONCE + WAITING + 3)), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes[-3:]] == [ImagesBusy] * 3
    assert all(isinstance(outcome, list) for outcome in outcomes[:-3])
    assert await presses.press(upload), "and later there is room again"


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "echain.media.press" in one.cmdline()]


async def started() -> psutil.Process:
    async with asyncio.timeout(20):
        while not (found := children()):
            await asyncio.sleep(0.005)
    return found[0]


async def test_the_process_inherits_nothing_and_dies_with_who_asked() -> None:
    asking = asyncio.create_task(press(written(Image.effect_noise((3000, 3000), 50).convert("RGB"))))
    child = await started()
    assert child.environ() == {}
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not child.is_running()


async def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressing, "SECONDS", 0.05)
    with pytest.raises(ImageUnreadable):
        await press(written(Image.effect_noise((3000, 3000), 50).convert("RGB")))
    assert not children()
