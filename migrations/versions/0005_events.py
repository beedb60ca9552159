"""Events: projections of events and tiers, drafts, metadata documents."""

from alembic import op

revision = "0005_events"
down_revision = "0004_accounts"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # Facts: what the chain said, a row a log. `events` and `tiers` are folded from them, so no CHECK below
    # holds the chain to its word: a contract that lies must not stop the indexer.
    """
    CREATE TABLE event_creations (
        chain_id           BIGINT NOT NULL,
        block_number       BIGINT NOT NULL,
        log_index          INTEGER NOT NULL,
        ticket_contract    BYTEA NOT NULL,
        id                 UUID NOT NULL,
        blockchain_id      NUMERIC(78, 0) NOT NULL,
        organizer          BYTEA NOT NULL,
        name               TEXT NOT NULL,
        metadata_uri       TEXT NOT NULL,
        metadata_hash      BYTEA NOT NULL,
        ticket_price_wei   NUMERIC(78, 0) NOT NULL,
        max_tickets        BIGINT NOT NULL,
        starts_at          TIMESTAMPTZ NOT NULL,
        ends_at            TIMESTAMPTZ NOT NULL,
        fee_bps            INTEGER NOT NULL,
        gift_policy        TEXT NOT NULL,
        max_gifts          INTEGER NOT NULL,
        gifts_to_contracts BOOLEAN NOT NULL,
        resale_cap_bps     INTEGER NOT NULL,
        royalty_bps        INTEGER NOT NULL,
        tx_hash            BYTEA NOT NULL,
        mined_at           TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    """
    CREATE INDEX event_creations_contract ON event_creations (chain_id, ticket_contract)
    """,
    """
    CREATE INDEX event_creations_number ON event_creations (chain_id, blockchain_id)
    """,
    """
    CREATE TABLE event_updates (
        chain_id      BIGINT NOT NULL,
        block_number  BIGINT NOT NULL,
        log_index     INTEGER NOT NULL,
        blockchain_id NUMERIC(78, 0) NOT NULL,
        metadata_uri  TEXT NOT NULL,
        metadata_hash BYTEA NOT NULL,
        starts_at     TIMESTAMPTZ NOT NULL,
        ends_at       TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    """
    CREATE INDEX event_updates_number ON event_updates (chain_id, blockchain_id, block_number, log_index)
    """,
    """
    CREATE TABLE event_cancellations (
        chain_id      BIGINT NOT NULL,
        block_number  BIGINT NOT NULL,
        log_index     INTEGER NOT NULL,
        blockchain_id NUMERIC(78, 0) NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    """
    CREATE INDEX event_cancellations_number ON event_cancellations (chain_id, blockchain_id)
    """,
    """
    CREATE TABLE tier_additions (
        chain_id         BIGINT NOT NULL,
        block_number     BIGINT NOT NULL,
        log_index        INTEGER NOT NULL,
        ticket_contract  BYTEA NOT NULL,
        tier_id          INTEGER NOT NULL,
        price_wei        NUMERIC(78, 0) NOT NULL,
        supply           BIGINT NOT NULL,
        sale_starts_at   TIMESTAMPTZ,
        sale_ends_at     TIMESTAMPTZ,
        max_per_purchase INTEGER NOT NULL,
        max_per_wallet   INTEGER NOT NULL,
        allow_list_root  BYTEA NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    """
    CREATE INDEX tier_additions_tier ON tier_additions (chain_id, ticket_contract, tier_id)
    """,
    """
    CREATE TABLE price_updates (
        chain_id        BIGINT NOT NULL,
        block_number    BIGINT NOT NULL,
        log_index       INTEGER NOT NULL,
        ticket_contract BYTEA NOT NULL,
        tier_id         INTEGER NOT NULL,
        price_wei       NUMERIC(78, 0) NOT NULL,
        PRIMARY KEY (chain_id, block_number, log_index)
    )
    """,
    """
    CREATE INDEX price_updates_tier
    ON price_updates (chain_id, ticket_contract, tier_id, block_number, log_index)
    """,
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
        PRIMARY KEY (chain_id, ticket_contract)
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
        sold             BIGINT NOT NULL DEFAULT 0 CHECK (sold >= 0),
        sale_starts_at   TIMESTAMPTZ,
        sale_ends_at     TIMESTAMPTZ,
        max_per_purchase INTEGER NOT NULL,
        max_per_wallet   INTEGER NOT NULL,
        allow_list_root  BYTEA NOT NULL CHECK (octet_length(allow_list_root) = 32),
        PRIMARY KEY (chain_id, ticket_contract, tier_id)
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
    CREATE INDEX event_drafts_metadata ON event_drafts (metadata_hash, organizer)
    WHERE metadata_hash IS NOT NULL
    """,
    # A document is what a hash on chain fixes; it never changes. ``content`` is its draft as it then was.
    """
    CREATE TABLE metadata_documents (
        hash       BYTEA PRIMARY KEY CHECK (octet_length(hash) = 32),
        body       BYTEA NOT NULL CHECK (octet_length(body) <= 65536),
        draft_id   UUID NOT NULL REFERENCES event_drafts,
        organizer  BYTEA NOT NULL CHECK (octet_length(organizer) = 20),
        chain_id   BIGINT NOT NULL,
        content    JSONB NOT NULL,
        created_at TIMESTAMPTZ NOT NULL,
        search     TSVECTOR NOT NULL GENERATED ALWAYS AS (
            setweight(to_tsvector('simple', coalesce(content ->> 'title', '')), 'A')
            || setweight(to_tsvector('simple', coalesce(content #>> '{place,name}', '') || ' '
                                     || coalesce(content #>> '{place,address}', '') || ' '
                                     || coalesce(content ->> 'category', '')), 'B')
            || setweight(to_tsvector('simple', coalesce(content ->> 'description', '')), 'C')
        ) STORED
    )
    """,
    """
    CREATE INDEX metadata_documents_draft ON metadata_documents (draft_id)
    """,
    """
    CREATE INDEX metadata_documents_search ON metadata_documents USING gin (search)
    """,
    """
    CREATE INDEX events_name_search ON events USING gin (to_tsvector('simple', name))
    """,
    """
    CREATE INDEX events_created ON events (created_at, id)
    """,
    # The event that a draft became: the first on its chain, by its organizer, with one of its documents.
    """
    CREATE FUNCTION event_of_draft(draft UUID) RETURNS UUID
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (
        SELECT event.id
          FROM metadata_documents AS document
          JOIN events AS event
            ON event.metadata_hash = document.hash AND event.organizer = document.organizer
           AND event.chain_id = document.chain_id
         WHERE document.draft_id = draft
         ORDER BY event.created_block, event.blockchain_id
         LIMIT 1
    )
    """,
    # People keep the id that their draft had; both it and the event's own find the event.
    """
    CREATE FUNCTION event_key(public_id UUID) RETURNS UUID
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(event_of_draft(public_id), public_id)
    """,
    """
    CREATE VIEW published_events AS
    SELECT event.*, document.content,
           CASE WHEN document.organizer = event.organizer AND document.chain_id = event.chain_id
                 AND event.id = (
                     SELECT other.id
                       FROM metadata_documents AS sibling
                       JOIN events AS other
                         ON other.metadata_hash = sibling.hash AND other.organizer = sibling.organizer
                        AND other.chain_id = sibling.chain_id
                      WHERE sibling.draft_id = document.draft_id
                      ORDER BY other.created_block, other.blockchain_id
                      LIMIT 1)
                THEN document.draft_id ELSE event.id END AS public_id
      FROM events AS event
      LEFT JOIN metadata_documents AS document ON document.hash = event.metadata_hash
    """,
    # Who said they will come; a contract, not a projection row, because a reorg may take the row for a while.
    """
    CREATE TABLE event_registrations (
        chain_id        BIGINT NOT NULL,
        ticket_contract BYTEA NOT NULL CHECK (octet_length(ticket_contract) = 20),
        address         BYTEA NOT NULL CHECK (octet_length(address) = 20),
        registered_at   TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain_id, ticket_contract, address)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
