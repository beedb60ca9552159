"""Log store: blocks, logs, followed contracts, cursors."""

from alembic import op

revision = "0002_chain"
down_revision = "0001_platform"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # One row a chain. Whoever ingests locks it first, so that two ingesters take turns.
    """
    CREATE TABLE chain_cursors (
        chain_id         BIGINT PRIMARY KEY,
        from_block       BIGINT NOT NULL CHECK (from_block >= 0),
        block_number     BIGINT NOT NULL CHECK (block_number >= from_block - 1),
        block_hash       BYTEA CHECK (octet_length(block_hash) = 32),
        finalized_number BIGINT NOT NULL DEFAULT -1,
        head_number      BIGINT NOT NULL DEFAULT -1,
        updated_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
        CHECK (block_hash IS NOT NULL OR block_number = from_block - 1)
    )
    """,
    # The first block, the cursor's, those that may still change or have a followed log; others are not kept.
    """
    CREATE TABLE chain_blocks (
        chain_id    BIGINT NOT NULL,
        number      BIGINT NOT NULL,
        hash        BYTEA NOT NULL CHECK (octet_length(hash) = 32),
        parent_hash BYTEA NOT NULL CHECK (octet_length(parent_hash) = 32),
        mined_at    TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, number)
    )
    """,
    # A partition a chain, made when the chain is registered.
    """
    CREATE TABLE chain_logs (
        chain_id     BIGINT NOT NULL,
        block_number BIGINT NOT NULL,
        log_index    INTEGER NOT NULL,
        tx_index     INTEGER NOT NULL,
        tx_hash      BYTEA NOT NULL CHECK (octet_length(tx_hash) = 32),
        address      BYTEA NOT NULL CHECK (octet_length(address) = 20),
        topics       BYTEA NOT NULL CHECK (octet_length(topics) % 32 = 0),
        data         BYTEA NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    ) PARTITION BY LIST (chain_id)
    """,
    """
    CREATE TABLE chain_contracts (
        chain_id   BIGINT NOT NULL,
        address    BYTEA NOT NULL CHECK (octet_length(address) = 20),
        kind       TEXT NOT NULL,
        from_block BIGINT NOT NULL,
        root       BOOLEAN NOT NULL,
        PRIMARY KEY (chain_id, address)
    )
    """,
    """
    CREATE INDEX chain_contracts_made ON chain_contracts (chain_id, from_block) WHERE NOT root
    """,
    # A reorg looks for what was told of the blocks that are gone; rows come in about the order of blocks.
    """
    CREATE INDEX outbox_block ON outbox USING brin (block_number) WITH (pages_per_range = 32)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
