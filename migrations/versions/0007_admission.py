"""Admission: gate keys and POAPs on chain, gates, scans, admissions."""

from alembic import op

revision = "0007_admission"
down_revision = "0006_tickets"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # What the chain said of gates; `gate_keys` holds the last word on each, no row when that disables it.
    """
    CREATE TABLE gate_settings (
        chain_id      BIGINT NOT NULL,
        block_number  BIGINT NOT NULL,
        log_index     INTEGER NOT NULL,
        blockchain_id NUMERIC(78, 0) NOT NULL,
        gate          BYTEA NOT NULL CHECK (octet_length(gate) = 20),
        valid_from    TIMESTAMPTZ NOT NULL,
        valid_until   TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    """
    CREATE INDEX gate_settings_gate ON gate_settings (chain_id, blockchain_id, gate, block_number, log_index)
    """,
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
    CREATE INDEX poaps_block ON poaps (chain_id, block_number)
    """,
    """
    CREATE INDEX poaps_attendee ON poaps (attendee, mined_at)
    """,
    # A POAP names its event by number.
    """
    CREATE INDEX events_number ON events (chain_id, blockchain_id)
    """,
    """
    CREATE TABLE gates (
        id              UUID PRIMARY KEY,
        chain_id        BIGINT NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        event_tag       BYTEA NOT NULL CHECK (octet_length(event_tag) = 4),
        name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
        secret_hash     BYTEA NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32),
        created_by      BYTEA NOT NULL CHECK (octet_length(created_by) = 20),
        created_at      TIMESTAMPTZ NOT NULL,
        revoked_at      TIMESTAMPTZ
    )
    """,
    """
    CREATE INDEX gates_event ON gates (chain_id, ticket_contract, id)
    """,
    # By a gate or, at the desk, by the organizer themselves; never deleted, whatever the verdict.
    """
    CREATE TABLE scans (
        id              UUID PRIMARY KEY,
        gate_id         UUID REFERENCES gates (id),
        operator        BYTEA CHECK (octet_length(operator) = 20),
        chain_id        BIGINT,
        ticket_contract BYTEA CHECK (octet_length(ticket_contract) = 20),
        token_id        BIGINT,
        verdict         TEXT NOT NULL CHECK (verdict IN (
            'admitted', 'already_admitted', 'not_holder', 'expired', 'forged', 'malformed', 'wrong_event',
            'refunded', 'used_on_chain', 'locked', 'cancelled', 'unknown_ticket'
        )),
        code_hash       BYTEA CHECK (octet_length(code_hash) = 32),
        scanned_at      TIMESTAMPTZ NOT NULL,
        CHECK (num_nonnulls(gate_id, operator) = 1),
        CHECK (operator IS NULL OR code_hash IS NULL),
        CHECK (num_nulls(chain_id, ticket_contract) IN (0, 2))
    )
    """,
    """
    CREATE INDEX scans_gate ON scans (gate_id, scanned_at)
    """,
    # `check_in_due` is when the POAP is looked after next; NULL when there is nothing left to do.
    """
    CREATE TABLE admissions (
        id                UUID PRIMARY KEY,
        chain_id          BIGINT NOT NULL,
        ticket_contract   BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        token_id          BIGINT NOT NULL,
        holder            BYTEA NOT NULL CHECK (octet_length(holder) = 20),
        gate_id           UUID REFERENCES gates (id),
        operator          BYTEA CHECK (octet_length(operator) = 20),
        scan_id           UUID NOT NULL UNIQUE REFERENCES scans (id),
        admitted_at       TIMESTAMPTZ NOT NULL,
        undone_at         TIMESTAMPTZ,
        undone_by_gate    UUID REFERENCES gates (id),
        undone_by         BYTEA CHECK (octet_length(undone_by) = 20),
        check_in_due      TIMESTAMPTZ,
        check_in_attempts INTEGER NOT NULL DEFAULT 0 CHECK (check_in_attempts >= 0),
        check_in_job      UUID,
        CHECK (num_nonnulls(gate_id, operator) = 1),
        CHECK (num_nonnulls(undone_by_gate, undone_by) = (undone_at IS NOT NULL)::int),
        CHECK (undone_at IS NULL OR check_in_due IS NULL)
    )
    """,
    # One admission ever; the referee of all gates.
    """
    CREATE UNIQUE INDEX admissions_once ON admissions (chain_id, ticket_contract, token_id)
    WHERE undone_at IS NULL
    """,
    """
    CREATE INDEX admissions_undone ON admissions (chain_id, ticket_contract, token_id)
    WHERE undone_at IS NOT NULL
    """,
    """
    CREATE INDEX admissions_check_in ON admissions (check_in_due) WHERE check_in_due IS NOT NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
