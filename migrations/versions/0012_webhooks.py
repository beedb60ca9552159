"""Webhooks: what was told to us, payments, and what we tell to subscribers."""

from alembic import op

revision = "0012_webhooks"
down_revision = "0011_jobs"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # A source's id counts once for ever: Commerce signs no time, so only this stops a replay. The body goes
    # after a while, the row stays.
    """
    CREATE TABLE webhook_inbox (
        id           UUID PRIMARY KEY,
        source       TEXT NOT NULL CHECK (source IN ('coinbase_commerce', 'coinbase_cdp')),
        source_id    TEXT NOT NULL CHECK (length(source_id) BETWEEN 1 AND 200),
        type         TEXT NOT NULL CHECK (length(type) BETWEEN 1 AND 200),
        body         BYTEA,
        received_at  TIMESTAMPTZ NOT NULL,
        outcome      TEXT CHECK (outcome IN (
            'ignored', 'confirmed', 'contradicted', 'unseen', 'foreign', 'recorded', 'late'
        )),
        reason       TEXT,
        processed_at TIMESTAMPTZ,
        UNIQUE (source, source_id),
        CHECK ((outcome IS NULL) = (processed_at IS NULL)),
        CHECK (outcome IS NOT NULL OR body IS NOT NULL)
    )
    """,
    """
    CREATE INDEX webhook_inbox_open ON webhook_inbox (received_at) WHERE outcome IS NULL
    """,
    """
    CREATE INDEX webhook_inbox_body ON webhook_inbox (processed_at) WHERE body IS NOT NULL
    """,
    # The order of the words is the order in which a payment moves; see `ChargeStatus`.
    """
    CREATE TYPE charge_status AS ENUM ('created', 'pending', 'failed', 'expired', 'confirmed')
    """,
    """
    CREATE TABLE payment_charges (
        source    TEXT NOT NULL,
        charge_id TEXT NOT NULL CHECK (length(charge_id) BETWEEN 1 AND 200),
        status    charge_status NOT NULL,
        code      TEXT,
        amount    TEXT,
        currency  TEXT,
        metadata  JSONB NOT NULL,
        told_by   UUID NOT NULL REFERENCES webhook_inbox (id),
        told_at   TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (source, charge_id)
    )
    """,
    # `types` empty means all. Who holds `lease` before `leased_until` delivers, and nobody else.
    """
    CREATE TABLE webhook_subscriptions (
        id              UUID PRIMARY KEY,
        owner           BYTEA NOT NULL CHECK (octet_length(owner) = 20),
        url             TEXT NOT NULL CHECK (length(url) BETWEEN 1 AND 2000),
        types           TEXT[] NOT NULL,
        settled_only    BOOLEAN NOT NULL,
        description     TEXT NOT NULL,
        enabled         BOOLEAN NOT NULL DEFAULT TRUE,
        disabled_reason TEXT,
        failures        INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
        failing_since   TIMESTAMPTZ,
        next_try_at     TIMESTAMPTZ,
        lease           UUID,
        leased_until    TIMESTAMPTZ,
        created_at      TIMESTAMPTZ NOT NULL,
        updated_at      TIMESTAMPTZ NOT NULL,
        CHECK ((failures = 0) = (failing_since IS NULL)),
        CHECK ((lease IS NULL) = (leased_until IS NULL))
    )
    """,
    """
    CREATE INDEX webhook_subscriptions_owner ON webhook_subscriptions (owner, id)
    """,
    """
    CREATE TABLE webhook_channels (
        channel         TEXT NOT NULL,
        subscription_id UUID NOT NULL REFERENCES webhook_subscriptions (id) ON DELETE CASCADE,
        PRIMARY KEY (channel, subscription_id)
    )
    """,
    """
    CREATE INDEX webhook_channels_subscription ON webhook_channels (subscription_id)
    """,
    # `expires_at` is null for the newest key; an older one signs beside it until then.
    """
    CREATE TABLE webhook_keys (
        id              UUID PRIMARY KEY,
        subscription_id UUID NOT NULL REFERENCES webhook_subscriptions (id) ON DELETE CASCADE,
        name            TEXT NOT NULL,
        sealed          BYTEA NOT NULL,
        created_at      TIMESTAMPTZ NOT NULL,
        expires_at      TIMESTAMPTZ,
        UNIQUE (subscription_id, name)
    )
    """,
    """
    CREATE UNIQUE INDEX webhook_keys_newest ON webhook_keys (subscription_id) WHERE expires_at IS NULL
    """,
    # `position` is the order of delivery. One message is one delivery to a subscription; a ping has none.
    """
    CREATE TABLE webhook_deliveries (
        position        BIGINT GENERATED ALWAYS AS IDENTITY,
        id              UUID PRIMARY KEY,
        subscription_id UUID NOT NULL REFERENCES webhook_subscriptions (id) ON DELETE CASCADE,
        message_id      BIGINT,
        type            TEXT NOT NULL,
        channel         TEXT NOT NULL,
        body            TEXT NOT NULL,
        pending         BOOLEAN NOT NULL DEFAULT TRUE,
        tries           INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
        status          INTEGER,
        error           TEXT,
        duration_ms     INTEGER,
        excerpt         TEXT,
        tried_at        TIMESTAMPTZ,
        delivered_at    TIMESTAMPTZ,
        created_at      TIMESTAMPTZ NOT NULL,
        UNIQUE (subscription_id, message_id)
    )
    """,
    """
    CREATE UNIQUE INDEX webhook_deliveries_order ON webhook_deliveries (subscription_id, position)
    """,
    """
    CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (subscription_id, position) WHERE pending
    """,
    """
    CREATE INDEX webhook_deliveries_age ON webhook_deliveries (created_at)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
