"""Sessions without a wallet and with names; how each was opened; requests for a fresh signature."""

from alembic import op

revision = "0016_sessions"
down_revision = "0015_api_keys"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # Who signs in at an OpenID provider need not have a wallet. What old code writes always has one.
    "ALTER TABLE sessions ALTER COLUMN address DROP NOT NULL",
    "ALTER TABLE api_keys ALTER COLUMN address DROP NOT NULL",
    """
    ALTER TABLE sessions
        ADD COLUMN name   TEXT CHECK (length(name) BETWEEN 1 AND 80),
        ADD COLUMN method TEXT NOT NULL DEFAULT 'wallet'
                          CHECK (method IN ('wallet', 'contract_wallet', 'oidc'))
    """,
    # Out of the write-ahead log for the reason that sign_in_nonces is: a crash empties the table, so that a
    # confirmation that was used cannot come back.
    """
    CREATE UNLOGGED TABLE confirmations (
        id         UUID PRIMARY KEY,
        user_id    UUID NOT NULL REFERENCES users ON DELETE CASCADE,
        session_id UUID NOT NULL REFERENCES sessions ON DELETE CASCADE,
        address    BYTEA NOT NULL CHECK (octet_length(address) = 20),
        action     TEXT NOT NULL CHECK (length(action) BETWEEN 1 AND 80),
        target     TEXT NOT NULL CHECK (length(target) BETWEEN 1 AND 200),
        chain_id   BIGINT NOT NULL CHECK (chain_id > 0),
        message    TEXT NOT NULL CHECK (octet_length(message) <= 4096),
        expires_at TIMESTAMPTZ NOT NULL
    )
    """,
    """
    CREATE INDEX confirmations_user ON confirmations (user_id)
    """,
    """
    CREATE INDEX confirmations_session ON confirmations (session_id)
    """,
    """
    CREATE INDEX confirmations_expiry ON confirmations (expires_at)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
