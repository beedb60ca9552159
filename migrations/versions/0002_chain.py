"""Log store: blocks, logs, followed contracts, cursors."""

from alembic import op

revision = "0002_chain"
down_revision = "0001_platform"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (

)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
