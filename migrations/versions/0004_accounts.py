"""People: users, wallets, sessions, sign-in nonces."""

from alembic import op

revision = "0004_accounts"
down_revision = "0003_send"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (

)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
