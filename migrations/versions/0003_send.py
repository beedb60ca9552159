"""Transactions: the platform's own queue, those it watches for others, and where its contracts stand."""

from alembic import op

revision = "0003_send"
down_revision = "0002_chain"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE chain_deployments (
        chain_id              BIGINT NOT NULL,
        contract              TEXT NOT NULL,
        address               BYTEA NOT NULL CHECK (octet_length(address) = 20),
        block_number          BIGINT NOT NULL CHECK (block_number >= 0),
        transaction_hash      BYTEA CHECK (octet_length(transaction_hash) = 32),
        constructor_arguments BYTEA NOT NULL,
        source_hash           TEXT NOT NULL,
        recorded_at           TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, contract)
    )
    """,
    # The row that is locked while a nonce is given out. Another genesis block means that a devnet began anew.
    """
    CREATE TABLE chain_senders (
        chain_id   BIGINT NOT NULL,
        sender     BYTEA NOT NULL CHECK (octet_length(sender) = 20),
        next_nonce BIGINT NOT NULL CHECK (next_nonce >= 0),
        genesis    BYTEA NOT NULL CHECK (octet_length(genesis) = 32),
        PRIMARY KEY (chain_id, sender)
    )
    """,
    # queued -> sent -> mined -> final | failed; queued -> failed when it cannot succeed: no nonce was used.
    # Back to `sent` when its block vanishes, from `sent` to `queued` when the nonce was used elsewhere.
    """
    CREATE TABLE chain_transactions (
        id            UUID PRIMARY KEY,
        position      BIGINT GENERATED ALWAYS AS IDENTITY,
        chain_id      BIGINT NOT NULL,
        dedupe        TEXT NOT NULL UNIQUE CHECK (length(dedupe) BETWEEN 1 AND 200),
        purpose       TEXT NOT NULL CHECK (length(purpose) BETWEEN 1 AND 100),
        to_address    BYTEA NOT NULL CHECK (octet_length(to_address) = 20),
        data          BYTEA NOT NULL,
        value_wei     NUMERIC(78, 0) NOT NULL CHECK (value_wei >= 0),
        gas_limit     BIGINT NOT NULL CHECK (gas_limit >= 21000),
        status        TEXT NOT NULL DEFAULT 'queued'
                      CHECK (status IN ('queued', 'sent', 'mined', 'final', 'failed')),
        sender        BYTEA CHECK (octet_length(sender) = 20),
        nonce         BIGINT CHECK (nonce >= 0),
        reserved_wei  NUMERIC(78, 0) CHECK (reserved_wei >= 0),
        assigned_at   TIMESTAMPTZ,
        hash          BYTEA CHECK (octet_length(hash) = 32),
        block_number  BIGINT,
        block_hash    BYTEA CHECK (octet_length(block_hash) = 32),
        succeeded     BOOLEAN,
        spent_wei     NUMERIC(78, 0) CHECK (spent_wei >= 0),
        failure       JSONB,
        held          TEXT,
        created_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
        updated_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
        CHECK ((sender IS NULL) = (nonce IS NULL)),
        CHECK ((nonce IS NULL) = (reserved_wei IS NULL)),
        CHECK ((nonce IS NULL) = (assigned_at IS NULL)),
        CHECK (status <> 'queued' OR nonce IS NULL),
        CHECK (status NOT IN ('sent', 'mined') OR nonce IS NOT NULL),
        CHECK ((block_number IS NULL) = (hash IS NULL)),
        CHECK ((block_number IS NULL) = (block_hash IS NULL)),
        CHECK ((block_number IS NULL) = (succeeded IS NULL)),
        CHECK (status NOT IN ('mined', 'final') OR hash IS NOT NULL),
        CHECK (status <> 'final' OR succeeded),
        CHECK (status <> 'failed' OR failure IS NOT NULL)
    )
    """,
    """
    CREATE UNIQUE INDEX chain_transactions_nonce ON chain_transactions (chain_id, sender, nonce)
        WHERE nonce IS NOT NULL
    """,
    """
    CREATE INDEX chain_transactions_queue ON chain_transactions (chain_id, position) WHERE status = 'queued'
    """,
    """
    CREATE INDEX chain_transactions_flying ON chain_transactions (chain_id, sender, nonce)
        WHERE status IN ('sent', 'mined')
    """,
    """
    CREATE INDEX chain_transactions_spent ON chain_transactions (chain_id, sender, assigned_at)
        WHERE nonce IS NOT NULL
    """,
    # Every transaction that was ever signed for a job: whichever of them is mined, it is known.
    """
    CREATE TABLE chain_attempts (
        hash                     BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32),
        transaction_id           UUID NOT NULL REFERENCES chain_transactions (id),
        nonce                    BIGINT NOT NULL,
        raw                      BYTEA NOT NULL,
        gas                      BIGINT NOT NULL,
        max_fee_per_gas          NUMERIC(78, 0) NOT NULL,
        max_priority_fee_per_gas NUMERIC(78, 0) NOT NULL,
        signed_at                TIMESTAMPTZ NOT NULL,
        signed_block             BIGINT NOT NULL,
        broadcast_at             TIMESTAMPTZ,
        refusal                  TEXT
    )
    """,
    """
    CREATE INDEX chain_attempts_transaction ON chain_attempts (transaction_id, signed_at)
    """,
    """
    CREATE TABLE watched_transactions (
        hash         BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32),
        chain_id     BIGINT NOT NULL,
        sender       BYTEA CHECK (octet_length(sender) = 20),
        nonce        NUMERIC(20, 0),
        raw          BYTEA,
        submitted_by BYTEA CHECK (octet_length(submitted_by) = 20),
        submitted_at TIMESTAMPTZ NOT NULL,
        CHECK ((sender IS NULL) = (nonce IS NULL)),
        CHECK (raw IS NULL OR sender IS NOT NULL)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
