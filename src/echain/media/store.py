"""All SQL of pictures and stored files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from echain.infra.database import Connection, Database, Row, Tx


async def lock_uploader(tx: Tx, user_id: UUID) -> None:
    """Let one upload of a user commit at a time, so that those under way are counted."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('media:' || $1::uuid::text, 0))", user_id)


async def images_since(tx: Tx, user_id: UUID, since: datetime) -> int:
    """Return how many pictures a user has sent since then."""
    return (
        await tx.fetchval(
            "SELECT count(*) FROM images WHERE user_id = $1 AND created_at > $2", user_id, since
        )
        or 0
    )


async def keep_files(tx: Tx, files: Sequence[tuple[str, str, bytes]], now: datetime) -> None:
    """Keep files as (cid, media type, content); one that is there stays as it is."""
    await tx.execute(
        """
        INSERT INTO files (cid, media_type, content, created_at)
        SELECT cid, media_type, content, $4
          FROM unnest($1::text[], $2::text[], $3::bytea[]) AS file (cid, media_type, content)
         ORDER BY cid
        ON CONFLICT (cid) DO NOTHING
        """,
        [cid for cid, _, _ in files],
        [media_type for _, media_type, _ in files],
        [content for _, _, content in files],
        now,
    )


async def insert_image(
    tx: Tx,
    image_id: UUID,
    user_id: UUID,
    *,
    size: tuple[int, int],
    variants: Sequence[tuple[str, str, int, int]],
    now: datetime,
) -> None:
    """Write a picture and its variants as (cid, format, width, height), in their order."""
    await tx.execute(
        """
        WITH image AS (
            INSERT INTO images (id, user_id, width, height, created_at) VALUES ($1, $2, $3, $4, $5)
        )
        INSERT INTO image_variants (image_id, place, cid, format, width, height)
        SELECT $1, place, cid, format, width, height
          FROM unnest($6::text[], $7::text[], $8::integer[], $9::integer[])
               WITH ORDINALITY AS variant (cid, format, width, height, place)
        """,
        image_id,
        user_id,
        *size,
        now,
        *([variant[index] for variant in variants] for index in range(4)),
    )


async def variants_beside(connection: Database | Connection, cids: Collection[str]) -> Sequence[Row]:
    """Return, for each of these that is a variant, all variants of the newest picture that has it.

    A row a variant, with the picture's own fields and ``asked``; those of one picture stand together.
    """
    return await connection.fetch(
        """
        WITH meant AS (
            SELECT DISTINCT ON (cid) cid AS asked, image_id
              FROM image_variants WHERE cid = ANY($1) ORDER BY cid, image_id DESC
        )
        SELECT meant.asked, image.id, image.width AS full_width, image.height AS full_height,
               image.created_at, variant.cid, variant.format, variant.width, variant.height,
               octet_length(file.content) AS bytes
          FROM meant
          JOIN images AS image ON image.id = meant.image_id
          JOIN image_variants AS variant USING (image_id)
          JOIN files AS file ON file.cid = variant.cid
         ORDER BY meant.asked, variant.place
        """,
        list(cids),
    )


async def file(connection: Database | Connection, cid: str) -> Row | None:
    """Return a stored file's media type and content."""
    return await connection.fetchrow("SELECT media_type, content FROM files WHERE cid = $1", cid)


async def disown(tx: Tx, user_id: UUID) -> None:
    """Forget who sent a user's pictures; the pictures stay, for events show them."""
    await tx.execute("UPDATE images SET user_id = NULL WHERE user_id = $1", user_id)
