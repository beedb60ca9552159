"""Limits of an API key's own; without, it may do as much as its user."""

from alembic import op

revision = "0022_key_limits"
down_revision = "0021_privacy"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    ALTER TABLE api_keys
        ADD COLUMN most_writes INTEGER CHECK (most_writes BETWEEN 0 AND 1000000),
        ADD COLUMN most_reads INTEGER CHECK (most_reads BETWEEN 0 AND 1000000)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
