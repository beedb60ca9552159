"""Tickets: projections of tickets, transfers, sales, refunds, payouts, escrow."""

from alembic import op

revision = "0006_tickets"
down_revision = "0005_events"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE tickets (
        chain_id        BIGINT NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        token_id        BIGINT NOT NULL CHECK (token_id >= 0),
        owner           BYTEA NOT NULL CHECK (octet_length(owner) = 20),
        state           TEXT NOT NULL CHECK (state IN ('valid', 'used', 'refunded', 'locked')),
        tier_id         INTEGER NOT NULL,
        price_paid_wei  NUMERIC(78, 0) NOT NULL CHECK (price_paid_wei >= 0),
        gifts           INTEGER NOT NULL DEFAULT 0,
        minted_block    BIGINT NOT NULL,
        minted_at       TIMESTAMPTZ NOT NULL,
        updated_block   BIGINT NOT NULL,
        PRIMARY KEY (chain_id, ticket_contract, token_id)
    )
    """,
    """
    CREATE INDEX tickets_owner ON tickets (owner, chain_id, ticket_contract, token_id)
    """,
    """
    CREATE TABLE transfers (
        chain_id        BIGINT NOT NULL,
        block_number    BIGINT NOT NULL,
        log_index       INTEGER NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        token_id        BIGINT NOT NULL,
        from_address    BYTEA NOT NULL CHECK (octet_length(from_address) = 20),
        to_address      BYTEA NOT NULL CHECK (octet_length(to_address) = 20),
        tx_hash         BYTEA NOT NULL CHECK (octet_length(tx_hash) = 32),
        mined_at        TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    # Gifts are few beside first sales; who bought for a wallet limit is among the holders or the givers.
    """
    CREATE INDEX transfers_given ON transfers (from_address, chain_id, ticket_contract, token_id)
    WHERE from_address <> '\\x0000000000000000000000000000000000000000'
    """,
    """
    CREATE INDEX transfers_token ON transfers (chain_id, ticket_contract, token_id, block_number, log_index)
    """,
    """
    CREATE TABLE sales (
        chain_id        BIGINT NOT NULL,
        block_number    BIGINT NOT NULL,
        log_index       INTEGER NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        buyer           BYTEA NOT NULL CHECK (octet_length(buyer) = 20),
        tier_id         INTEGER NOT NULL,
        quantity        INTEGER NOT NULL CHECK (quantity > 0),
        unit_price_wei  NUMERIC(78, 0) NOT NULL,
        first_token_id  BIGINT NOT NULL,
        tx_hash         BYTEA NOT NULL CHECK (octet_length(tx_hash) = 32),
        mined_at        TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    """
    CREATE INDEX sales_contract ON sales (chain_id, ticket_contract, first_token_id)
    """,
    """
    CREATE TABLE refunds (
        chain_id        BIGINT NOT NULL,
        block_number    BIGINT NOT NULL,
        log_index       INTEGER NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        token_id        BIGINT NOT NULL,
        holder          BYTEA NOT NULL CHECK (octet_length(holder) = 20),
        amount_wei      NUMERIC(78, 0) NOT NULL,
        tx_hash         BYTEA NOT NULL CHECK (octet_length(tx_hash) = 32),
        mined_at        TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    """
    CREATE INDEX refunds_token ON refunds (chain_id, ticket_contract, token_id)
    """,
    """
    CREATE TABLE payouts (
        chain_id        BIGINT NOT NULL,
        block_number    BIGINT NOT NULL,
        log_index       INTEGER NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        kind            TEXT NOT NULL CHECK (kind IN ('proceeds', 'fee')),
        receiver        BYTEA NOT NULL CHECK (octet_length(receiver) = 20),
        amount_wei      NUMERIC(78, 0) NOT NULL,
        tx_hash         BYTEA NOT NULL CHECK (octet_length(tx_hash) = 32),
        mined_at        TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    """
    CREATE INDEX payouts_contract ON payouts (chain_id, ticket_contract)
    """,
    # Complimentary tickets: sold like others, paid by nobody.
    """
    CREATE TABLE grants (
        chain_id        BIGINT NOT NULL,
        block_number    BIGINT NOT NULL,
        log_index       INTEGER NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        tier_id         INTEGER NOT NULL,
        quantity        INTEGER NOT NULL CHECK (quantity > 0),
        first_token_id  BIGINT NOT NULL,
        tx_hash         BYTEA NOT NULL CHECK (octet_length(tx_hash) = 32),
        mined_at        TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    # What happened to one ticket besides changing hands: a new state, or its count of gifts.
    """
    CREATE TABLE ticket_marks (
        chain_id        BIGINT NOT NULL,
        block_number    BIGINT NOT NULL,
        log_index       INTEGER NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        token_id        BIGINT NOT NULL,
        state           TEXT CHECK (state IN ('valid', 'used', 'refunded', 'locked')),
        gifts           INTEGER,
        PRIMARY KEY (chain_id, block_number, log_index),
        CHECK ((state IS NULL) <> (gifts IS NULL))
    )
    """,
    """
    CREATE INDEX ticket_marks_token
    ON ticket_marks (chain_id, ticket_contract, token_id, block_number, log_index)
    """,
    # Sums of sales, refunds and payouts; no row when all are zero. Unbounded, because a sum of what a hostile
    # contract says may exceed 256 bits.
    """
    CREATE TABLE contract_escrow (
        chain_id        BIGINT NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        paid_in_wei     NUMERIC NOT NULL,
        refunded_wei    NUMERIC NOT NULL,
        withdrawn_wei   NUMERIC NOT NULL,
        fees_wei        NUMERIC NOT NULL,
        PRIMARY KEY (chain_id, ticket_contract)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
