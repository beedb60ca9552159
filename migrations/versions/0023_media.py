"""Pictures and stored files, named by their content."""

from alembic import op

revision = "0023_media"
down_revision = "0022_key_limits"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE files (
        cid        TEXT PRIMARY KEY CHECK (length(cid) = 59),
        media_type TEXT NOT NULL
                   CHECK (media_type IN ('image/avif', 'image/webp', 'image/jpeg', 'image/png')),
        content    BYTEA NOT NULL,
        created_at TIMESTAMPTZ NOT NULL
    )
    """,
    # Pictures are compressed already, and are read whole.
    """
    ALTER TABLE files ALTER COLUMN content SET STORAGE EXTERNAL
    """,
    """
    CREATE TABLE images (
        id         UUID PRIMARY KEY,
        user_id    UUID REFERENCES users,
        width      INTEGER NOT NULL CHECK (width > 0),
        height     INTEGER NOT NULL CHECK (height > 0),
        created_at TIMESTAMPTZ NOT NULL
    )
    """,
    """
    CREATE INDEX images_user ON images (user_id, created_at)
    """,
    """
    CREATE TABLE image_variants (
        image_id UUID NOT NULL REFERENCES images ON DELETE CASCADE,
        place    INTEGER NOT NULL CHECK (place > 0),
        cid      TEXT NOT NULL REFERENCES files,
        format   TEXT NOT NULL CHECK (format IN ('avif', 'webp', 'jpeg', 'png')),
        width    INTEGER NOT NULL CHECK (width > 0),
        height   INTEGER NOT NULL CHECK (height > 0),
        PRIMARY KEY (image_id, place)
    )
    """,
    """
    CREATE INDEX image_variants_cid ON image_variants (cid, image_id)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
