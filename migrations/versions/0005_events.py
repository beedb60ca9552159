"""Events: projections of events and tiers, drafts, metadata documents."""

from alembic import op

revision = "0005_events"
down_revision = "0004_accounts"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE events (
        chain_id           BIGINT NOT NULL,
        ticket_contract    BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        id                 UUID NOT NULL UNIQUE,
        blockchain_id      NUMERIC(78, 0) NOT NULL,
        organizer          BYTEA NOT NULL CHECK (octet_length(organizer) = 20),
        name               TEXT NOT NULL,
        metadata_uri       TEXT NOT NULL,
        metadata_hash      BYTEA NOT NULL CHECK (octet_length(metadata_hash) = 32),
        ticket_price_wei   NUMERIC(78, 0) NOT NULL,
        max_tickets        BIGINT NOT NULL CHECK (max_tickets >= 0),
        sold_tickets       BIGINT NOT NULL DEFAULT 0 CHECK (sold_tickets >= 0),
        starts_at          TIMESTAMPTZ NOT NULL,
        ends_at            TIMESTAMPTZ NOT NULL,
        fee_bps            INTEGER NOT NULL,
        gift_policy        TEXT NOT NULL CHECK (gift_policy IN ('free', 'limited', 'forbidden')),
        max_gifts          INTEGER NOT NULL,
        gifts_to_contracts BOOLEAN NOT NULL,
        resale_cap_bps     INTEGER NOT NULL,
        royalty_bps        INTEGER NOT NULL,
        cancelled          BOOLEAN NOT NULL DEFAULT FALSE,
        created_block      BIGINT NOT NULL,
        created_at         TIMESTAMPTZ NOT NULL,
        transaction_hash   BYTEA NOT NULL CHECK (octet_length(transaction_hash) = 32),
        PRIMARY KEY (chain_id, ticket_contract),
        CHECK (sold_tickets <= max_tickets)
    )
    """,
    """
    CREATE INDEX events_organizer ON events (organizer)
    """,
    """
    CREATE INDEX events_metadata ON events (metadata_hash, organizer)
    """,
    """
    CREATE INDEX events_start ON events (starts_at, id)
    """,
    """
    CREATE TABLE tiers (
        chain_id         BIGINT NOT NULL,
        ticket_contract  BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        tier_id          INTEGER NOT NULL CHECK (tier_id >= 0),
        price_wei        NUMERIC(78, 0) NOT NULL CHECK (price_wei >= 0),
        supply           BIGINT NOT NULL,
        sold             BIGINT NOT NULL DEFAULT 0,
        sale_starts_at   TIMESTAMPTZ,
        sale_ends_at     TIMESTAMPTZ,
        max_per_purchase INTEGER NOT NULL,
        max_per_wallet   INTEGER NOT NULL,
        allow_list_root  BYTEA NOT NULL CHECK (octet_length(allow_list_root) = 32),
        PRIMARY KEY (chain_id, ticket_contract, tier_id),
        CHECK (sold BETWEEN 0 AND supply)
    )
    """,
    """
    CREATE TABLE event_drafts (
        id            UUID PRIMARY KEY,
        organizer     BYTEA NOT NULL CHECK (octet_length(organizer) = 20),
        chain_id      BIGINT NOT NULL,
        content       JSONB NOT NULL,
        version       INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
        metadata_hash BYTEA CHECK (octet_length(metadata_hash) = 32),
        created_at    TIMESTAMPTZ NOT NULL,
        updated_at    TIMESTAMPTZ NOT NULL,
        deleted_at    TIMESTAMPTZ
    )
    """,
    """
    CREATE INDEX event_drafts_organizer ON event_drafts (organizer) WHERE deleted_at IS NULL
    """,
    """
    CREATE INDEX event_drafts_metadata ON event_drafts (metadata_hash, organizer) WHERE metadata_hash IS NOT NULL
    """,
    """
    CREATE TABLE metadata_documents (
        hash       BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32),
        body       BYTEA NOT NULL CHECK (octet_length(body) <= 65536),
        created_at TIMESTAMPTZ NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
