"""Outbox and idempotency keys."""

from alembic import op

revision = "0001_platform"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE outbox (
        position     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        transaction  XID8 NOT NULL DEFAULT pg_current_xact_id(),
        channel      TEXT NOT NULL,
        type         TEXT NOT NULL,
        data         JSONB NOT NULL,
        chain_id     BIGINT,
        block_number BIGINT,
        created_at   TIMESTAMPTZ NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE INDEX outbox_channel ON outbox (channel, position)
    """,
    """
    CREATE TABLE idempotency_keys (
        caller       TEXT NOT NULL,
        key          TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
        request_hash BYTEA NOT NULL CHECK (octet_length(request_hash) = 32),
        status       SMALLINT,
        answer       BYTEA,
        created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
        expires_at   TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (caller, key),
        CHECK ((status IS NULL) = (answer IS NULL))
    )
    """,
    """
    CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
