"""Taking pictures in, and giving stored files out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final
from uuid import UUID

from echain.infra.database import Database, Row, Tx
from echain.kernel.cid import cid_of, parse_cid
from echain.kernel.ids import uuid7
from echain.media import store
from echain.media.types import (
    Content,
    ContentDamaged,
    ContentNotFound,
    Image,
    Pressed,
    TooManyImages,
    Variant,
)

MOST_A_DAY: Final = 200


async def keep(tx: Tx, user_id: UUID, pictures: Sequence[Pressed], *, now: datetime) -> Image:
    """Keep what was made of an upload, the picture for everybody last, and return it.

    Files are stored once: the same pixels again take no room.

    Raises:
        TooManyImages: the user sent 200 within a day.
    """
    await store.lock_uploader(tx, user_id)
    if await store.images_since(tx, user_id, now - timedelta(days=1)) >= MOST_A_DAY:
        raise TooManyImages
    named = [(str(cid_of(picture.data)), picture) for picture in pictures]
    await store.keep_files(tx, [(cid, picture.media_type, picture.data) for cid, picture in named], now)
    largest = max(pictures, key=lambda picture: picture.width)
    image = Image(
        id=uuid7(),
        uri=f"ipfs://{named[-1][0]}",
        width=largest.width,
        height=largest.height,
        variants=tuple(
            Variant(cid, picture.format, picture.width, picture.height, len(picture.data))
            for cid, picture in named
        ),
        created_at=now,
    )
    rows = [(one.cid, one.format, one.width, one.height) for one in image.variants]
    await store.insert_image(tx, image.id, user_id, size=(image.width, image.height), variants=rows, now=now)
    return image


async def images(database: Database, cids: Collection[str]) -> dict[str, Image]:
    """Return the pictures of which these are variants, by them; one statement, none for nothing."""
    if not cids:
        return {}
    rows = await store.variants_beside(database, cids)
    return {asked: _image(list(group)) for asked, group in groupby(rows, key=lambda row: str(row["asked"]))}


async def image(database: Database, cid: str) -> Image:
    """Return the picture of which this is one variant.

    Raises:
        Invalid: no identifier.
        ContentNotFound: there is none.
    """
    found = await images(database, [str(parse_cid(cid))])
    if not found:
        raise ContentNotFound
    return found[cid]


async def content(database: Database, cid: str) -> Content:
    """Return a stored file whose bytes were just checked against its identifier.

    Raises:
        Invalid: no identifier.
        ContentNotFound: it is not kept here.
        ContentDamaged: what is kept is something else.
    """
    wanted = parse_cid(cid)
    row = await store.file(database, str(wanted))
    if row is None:
        raise ContentNotFound
    if cid_of(row["content"]) != wanted:
        raise ContentDamaged
    return Content(row["media_type"], row["content"])


def _image(rows: Sequence[Row]) -> Image:
    first = rows[0]
    return Image(
        id=first["id"],
        uri=f"ipfs://{rows[-1]['cid']}",
        width=first["full_width"],
        height=first["full_height"],
        variants=tuple(
            Variant(row["cid"], row["format"], row["width"], row["height"], row["bytes"]) for row in rows
        ),
        created_at=first["created_at"],
    )
