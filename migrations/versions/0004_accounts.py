"""People: users, wallets, sessions, sign-in nonces."""

from alembic import op

revision = "0004_accounts"
down_revision = "0003_send"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE users (
        id         UUID PRIMARY KEY,
        created_at TIMESTAMPTZ NOT NULL
    )
    """,
    """
    CREATE TABLE wallets (
        address         BYTEA PRIMARY KEY CHECK (octet_length(address) = 20),
        user_id         UUID NOT NULL REFERENCES users,
        created_at      TIMESTAMPTZ NOT NULL,
        last_sign_in_at TIMESTAMPTZ NOT NULL
    )
    """,
    """
    CREATE INDEX wallets_user ON wallets (user_id)
    """,
    # Anybody may ask for nonces, and losing them costs one more click: they are kept out of the
    # write-ahead log. A crash empties the table, so a used nonce cannot come back.
    """
    CREATE UNLOGGED TABLE sign_in_nonces (
        nonce        TEXT PRIMARY KEY CHECK (nonce ~ '^[A-Za-z0-9]{8,64}$'),
        browser_hash BYTEA NOT NULL CHECK (octet_length(browser_hash) = 32),
        address      BYTEA CHECK (octet_length(address) = 20),
        expires_at   TIMESTAMPTZ NOT NULL
    )
    """,
    """
    CREATE INDEX sign_in_nonces_expiry ON sign_in_nonces (expires_at)
    """,
    """
    CREATE TABLE sessions (
        id           UUID PRIMARY KEY,
        user_id      UUID NOT NULL REFERENCES users,
        address      BYTEA NOT NULL REFERENCES wallets CHECK (octet_length(address) = 20),
        device       TEXT NOT NULL CHECK (length(device) <= 100),
        created_at   TIMESTAMPTZ NOT NULL,
        refreshed_at TIMESTAMPTZ NOT NULL,
        expires_at   TIMESTAMPTZ NOT NULL,
        ended_at     TIMESTAMPTZ,
        ended_by     TEXT CHECK (ended_by IN ('logout', 'user', 'reuse')),
        CHECK ((ended_at IS NULL) = (ended_by IS NULL))
    )
    """,
    """
    CREATE INDEX sessions_user ON sessions (user_id, id)
    """,
    """
    CREATE TABLE access_tokens (
        hash       BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32),
        session_id UUID NOT NULL REFERENCES sessions ON DELETE CASCADE,
        expires_at TIMESTAMPTZ NOT NULL
    )
    """,
    """
    CREATE INDEX access_tokens_session ON access_tokens (session_id)
    """,
    """
    CREATE TABLE refresh_tokens (
        hash       BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32),
        session_id UUID NOT NULL REFERENCES sessions ON DELETE CASCADE,
        expires_at TIMESTAMPTZ NOT NULL,
        used_at    TIMESTAMPTZ,
        salt       BYTEA CHECK (octet_length(salt) = 32),
        client     BYTEA CHECK (octet_length(client) = 32),
        successor  BYTEA CHECK (octet_length(successor) = 32),
        CHECK (num_nulls(used_at, salt, client, successor) IN (0, 4))
    )
    """,
    """
    CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id)
    """,
    # One refresh token of a session is good at any time, whatever races.
    """
    CREATE UNIQUE INDEX refresh_tokens_unused ON refresh_tokens (session_id) WHERE used_at IS NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
