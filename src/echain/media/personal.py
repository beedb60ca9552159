"""What is held of who sent pictures. The pictures stay, for events show them, and name nobody."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from echain.infra.database import Tx
from echain.infra.personal import Holding, Section, Subject
from echain.media import store

_IMAGES: Final = """
    SELECT image.id::text AS key, image.id, image.created_at AS "createdAt", image.width, image.height,
           (SELECT 'ipfs://' || cid FROM image_variants WHERE image_id = image.id ORDER BY place DESC LIMIT 1)
               AS uri
      FROM images AS image JOIN subject USING (user_id)
"""


async def _disown(tx: Tx, subject: Subject, _now: datetime) -> None:
    await store.disown(tx, subject.user_id)


HOLDING: Final = Holding(
    (
        Section(
            "pictures",
            "Pictures that you sent. They stay, without your name, where events show them.",
            _IMAGES,
        ),
    ),
    forget=_disown,
)
"""Shown to the sender; erased by forgetting who it was."""
