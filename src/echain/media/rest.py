"""Routes of pictures, and of stored files by their content."""

from __future__ import annotations

from typing import Final

import msgspec

from echain.edge.http import Auth, Call, Endpoint, Nothing, Raw, RawBody, get, post
from echain.infra.database import Database
from echain.media import service
from echain.media.pressing import Presses
from echain.media.types import (
    MAX_UPLOAD_BYTES,
    ContentDamaged,
    ContentNotFound,
    Image,
    ImagesBusy,
    ImageSizeWrong,
    ImageUnreadable,
    TooManyImages,
)

TAG: Final = "media"
_FOREVER: Final = (
    ("Cache-Control", "public, max-age=31536000, immutable"),
    # Wallets and markets show pictures on their own pages.
    ("Access-Control-Allow-Origin", "*"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    # Whatever a file holds, it runs nothing when it is opened by itself.
    ("Content-Security-Policy", "default-src 'none'; sandbox"),
)


class CidPath(msgspec.Struct, frozen=True):
    """A file in a path."""

    cid: str


def endpoints(database: Database, presses: Presses) -> list[Endpoint]:
    """Return ``/api/v1/media`` and the gateway ``/ipfs``."""

    @post(
        "/api/v1/media",
        summary="Upload a picture",
        tag=TAG,
        answer=Image,
        body=RawBody,
        status=201,
        auth=Auth.USER,
        errors=(ImageUnreadable, ImageSizeWrong, ImagesBusy, TooManyImages),
        max_body_bytes=MAX_UPLOAD_BYTES,
        description="The body is a JPEG, PNG, WebP, AVIF or GIF file of at most 12 MB. It is drawn anew in "
        "several sizes as AVIF and WebP, and once as JPEG or PNG for wallets; of a moving picture the first "
        "frame stays, and of what came with the pixels (place, camera, time) nothing.",
    )
    async def upload(call: Call[Nothing, Nothing, RawBody]) -> Image:
        pictures = await presses.press(await call.body.read())
        async with database.transaction() as tx:
            kept = await service.keep(tx, call.user.id, pictures, now=call.now)
            await call.audit(tx, "media.uploaded", resource=f"image:{kept.id}")
        return kept

    @get(
        "/api/v1/media/{cid}",
        summary="The variants of a picture, by the identifier of any of them",
        tag=TAG,
        answer=Image,
        path_params=CidPath,
        errors=(ContentNotFound,),
    )
    async def image(call: Call[CidPath, Nothing, Nothing]) -> Image:
        return await service.image(database, call.path.cid)

    @get(
        "/ipfs/{cid}",
        summary="A stored file by its content identifier, checked against it",
        tag=TAG,
        answer=Raw,
        media_type="image/*",
        path_params=CidPath,
        errors=(ContentNotFound, ContentDamaged),
    )
    async def file(call: Call[CidPath, Nothing, Nothing]) -> Raw:
        found = await service.content(database, call.path.cid)
        return Raw(found.data, found.media_type, headers=_FOREVER)

    return [upload, image, file]
