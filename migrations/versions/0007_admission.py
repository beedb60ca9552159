"""Admission: gate keys and POAPs on chain, gates, scans, admissions."""

from alembic import op

revision = "0007_admission"
down_revision = "0006_tickets"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE gate_keys (
        chain_id      BIGINT NOT NULL,
        blockchain_id NUMERIC(78, 0) NOT NULL,
        gate          BYTEA NOT NULL CHECK (octet_length(gate) = 20),
        valid_from    TIMESTAMPTZ NOT NULL,
        valid_until   TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, blockchain_id, gate)
    )
    """,
    """
    CREATE TABLE poaps (
        chain_id      BIGINT NOT NULL,
        blockchain_id NUMERIC(78, 0) NOT NULL,
        token_id      BIGINT NOT NULL,
        attendee      BYTEA NOT NULL CHECK (octet_length(attendee) = 20),
        block_number  BIGINT NOT NULL,
        log_index     INTEGER NOT NULL,
        tx_hash       BYTEA NOT NULL CHECK (octet_length(tx_hash) = 32),
        mined_at      TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, blockchain_id, token_id)
    )
    """,
    """
    CREATE INDEX poaps_attendee ON poaps (attendee, mined_at)
    """,
    """
    CREATE TABLE gates (
        id              UUID PRIMARY KEY,
        chain_id        BIGINT NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        name            TEXT NOT NULL,
        secret_hash     BYTEA NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32),
        created_by      BYTEA NOT NULL CHECK (octet_length(created_by) = 20),
        created_at      TIMESTAMPTZ NOT NULL,
        revoked_at      TIMESTAMPTZ
    )
    """,
    """
    CREATE INDEX gates_event ON gates (chain_id, ticket_contract)
    """,
    """
    CREATE TABLE scans (
        id              UUID PRIMARY KEY,
        gate_id         UUID NOT NULL REFERENCES gates (id),
        ticket_contract BYTEA CHECK (octet_length(ticket_contract) = 20),
        token_id        BIGINT,
        verdict         TEXT NOT NULL,
        code_hash       BYTEA NOT NULL CHECK (octet_length(code_hash) = 32),
        scanned_at      TIMESTAMPTZ NOT NULL
    )
    """,
    """
    CREATE INDEX scans_gate ON scans (gate_id, scanned_at)
    """,
    """
    CREATE TABLE admissions (
        id              UUID PRIMARY KEY,
        chain_id        BIGINT NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        token_id        BIGINT NOT NULL,
        holder          BYTEA NOT NULL CHECK (octet_length(holder) = 20),
        gate_id         UUID NOT NULL REFERENCES gates (id),
        scan_id         UUID NOT NULL REFERENCES scans (id),
        admitted_at     TIMESTAMPTZ NOT NULL,
        undone_at       TIMESTAMPTZ
    )
    """,
    """
    CREATE UNIQUE INDEX admissions_once ON admissions (chain_id, ticket_contract, token_id) WHERE undone_at IS NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
