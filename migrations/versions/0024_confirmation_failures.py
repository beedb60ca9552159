"""How often a confirmation was shown with a signature that is not its wallet's."""

from alembic import op

revision = "0024_confirmation_failures"
down_revision = "0023_media"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    ALTER TABLE confirmations ADD COLUMN failures SMALLINT NOT NULL DEFAULT 0
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
