"""Transactions: the platform's own queue, and those it watches for others."""

from alembic import op

revision = "0003_send"
down_revision = "0002_chain"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (

)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
