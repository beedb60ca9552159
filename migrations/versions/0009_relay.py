"""Live updates: the outbox holds what is not relayed yet, `messages` what clients may still catch up on."""

from alembic import op

revision = "0009_relay"
down_revision = "0008_event_categories"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # One row a fact, whatever the number of its channels, which are set apart by spaces. No index but the
    # key: the relay empties the table, and its size and age are the lag.
    """
    DROP INDEX outbox_channel
    """,
    """
    DROP INDEX outbox_block
    """,
    """
    DELETE FROM outbox WHERE created_at < now() - interval '24 hours'
    """,
    """
    ALTER TABLE outbox RENAME COLUMN channel TO channels
    """,
    """
    ALTER TABLE outbox DROP COLUMN transaction, ALTER COLUMN data TYPE TEXT, ADD CHECK (channels <> '')
    """,
    """
    ALTER TABLE outbox SET (
        autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000
    )
    """,
    # One row a channel. The relay numbers them without gaps, in the order in which they become visible.
    """
    CREATE TABLE messages (
        sequence     BIGINT PRIMARY KEY,
        channel      TEXT NOT NULL,
        type         TEXT NOT NULL,
        data         TEXT NOT NULL,
        chain_id     BIGINT,
        block_number BIGINT,
        created_at   TIMESTAMPTZ NOT NULL
    )
    """,
    """
    CREATE INDEX messages_channel ON messages (channel, sequence)
    """,
    # Messages that a reorg may still take back, or that wait to be handed on as settled. Those without a
    # block stand under chain 0. Rows of `messages` are never changed for it, only these come and go.
    """
    CREATE TABLE unsettled (
        chain_id     BIGINT NOT NULL,
        block_number BIGINT NOT NULL,
        sequence     BIGINT NOT NULL,
        PRIMARY KEY (chain_id, block_number, sequence)
    )
    """,
    # What a handler of settled messages could not take yet; empty unless one fails.
    """
    CREATE TABLE settled_later (
        place    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        handler  TEXT NOT NULL,
        sequence BIGINT NOT NULL
    )
    """,
    # One row: the last number given, and the oldest that is kept.
    """
    CREATE TABLE relay_cursor (
        single BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (single),
        tip    BIGINT NOT NULL CHECK (tip >= 0),
        oldest BIGINT NOT NULL CHECK (oldest BETWEEN 1 AND tip + 1)
    )
    """,
    """
    INSERT INTO relay_cursor (tip, oldest) VALUES (0, 1)
    """,
    # How far each handler of messages has come; it moves in the transaction of the handler's effects.
    """
    CREATE TABLE relay_handlers (
        name     TEXT PRIMARY KEY,
        sequence BIGINT NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
