"""Events: the category of each document beside it, so that lists by category need not open the documents."""

from alembic import op

revision = "0008_event_categories"
down_revision = "0007_admission"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    ALTER TABLE metadata_documents
    ADD COLUMN category TEXT GENERATED ALWAYS AS (content ->> 'category') STORED
    """,
    """
    CREATE INDEX metadata_documents_category ON metadata_documents (category, hash)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
