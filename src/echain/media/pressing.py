"""Has pictures made by processes of their own, a few at a time."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Final

import msgspec
import structlog

from echain.media.press import Report
from echain.media.types import ImagesBusy, ImageSizeWrong, ImageUnreadable, Pressed

AT_ONCE: Final = 2
WAITING: Final = 16
SECONDS: Final = 30.0
"""How long one picture may take; the process's own bound on computing is below."""

_BEGINNING: Final = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF.{4}WEBP|.{4}ftyp(avif|avis|mif1)", re.DOTALL
)
"""How files of the five formats begin; for others no process is started."""

_log = structlog.get_logger(__name__)


class Presses:
    """At most two pictures are made at a time in this process; sixteen more may wait."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)
        self._coming = 0

    async def press(self, upload: bytes) -> list[Pressed]:
        """Return the pictures made of an upload, small ones first, the one for everybody last.

        Raises:
            ImageUnreadable: it is no picture, or decoding it took more time or memory than it may.
            ImageSizeWrong: its sides are outside the bounds.
            ImagesBusy: too many wait.
        """
        if not _BEGINNING.match(upload):
            raise ImageUnreadable
        if self._coming >= AT_ONCE + WAITING:
            raise ImagesBusy
        self._coming += 1
        try:
            async with self._places:
                return await _press(upload)
        finally:
            self._coming -= 1


async def _press(upload: bytes) -> list[Pressed]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-m", "echain.media.press"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, said = await child.communicate(upload)
    except TimeoutError:
        raise ImageUnreadable from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        _log.warning("media.press_died", status=child.returncode, said=said[-500:].decode(errors="replace"))
        raise ImageUnreadable
    return _read(out)


def _read(out: bytes) -> list[Pressed]:
    head, _, rest = out.partition(b"\n")
    report = msgspec.json.decode(head, type=Report)
    if report.refused is not None:
        raise ImageSizeWrong if report.refused == "size" else ImageUnreadable
    pictures: list[Pressed] = []
    for made in report.made:
        pictures.append(Pressed(made.format, made.width, made.height, rest[: made.bytes]))
        rest = rest[made.bytes :]
    return pictures
