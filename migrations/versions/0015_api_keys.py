"""API keys: what programs call with in a user's name."""

from alembic import op

revision = "0015_api_keys"
down_revision = "0013_notify"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE api_keys (
        id           UUID PRIMARY KEY,
        user_id      UUID NOT NULL REFERENCES users,
        address      BYTEA NOT NULL REFERENCES wallets CHECK (octet_length(address) = 20),
        name         TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
        prefix       TEXT NOT NULL CHECK (length(prefix) = 12),
        hash         BYTEA NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
        scopes       TEXT[] NOT NULL CHECK (cardinality(scopes) BETWEEN 1 AND 64),
        created_at   TIMESTAMPTZ NOT NULL,
        expires_at   TIMESTAMPTZ NOT NULL CHECK (expires_at > created_at),
        last_used_at TIMESTAMPTZ,
        revoked_at   TIMESTAMPTZ
    )
    """,
    """
    CREATE INDEX api_keys_user ON api_keys (user_id, id)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
