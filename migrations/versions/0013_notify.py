"""Notifications: what people are told, by which ways, and how they want it."""

from alembic import op

revision = "0013_notify"
down_revision = "0012_webhooks"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # What somebody chose; no row means the defaults. ``choices`` holds only what differs from them.
    """
    CREATE TABLE notification_settings (
        user_id        UUID PRIMARY KEY REFERENCES users ON DELETE CASCADE,
        language       TEXT NOT NULL CHECK (length(language) BETWEEN 2 AND 16),
        time_zone      TEXT CHECK (length(time_zone) BETWEEN 1 AND 64),
        digest         TEXT NOT NULL CHECK (digest IN ('off', 'daily', 'weekly')),
        choices        JSONB NOT NULL DEFAULT '{}',
        next_digest_at TIMESTAMPTZ,
        updated_at     TIMESTAMPTZ NOT NULL,
        CHECK ((digest = 'off') = (next_digest_at IS NULL))
    )
    """,
    """
    CREATE INDEX notification_settings_digest ON notification_settings (next_digest_at)
    WHERE next_digest_at IS NOT NULL
    """,
    # Only verified addresses stand here. ``sealed`` opens with the data keys alone, and in its own row alone.
    """
    CREATE TABLE email_addresses (
        user_id      UUID PRIMARY KEY REFERENCES users ON DELETE CASCADE,
        sealed       BYTEA NOT NULL,
        found_by     BYTEA NOT NULL CHECK (octet_length(found_by) = 32),
        verified_at  TIMESTAMPTZ NOT NULL,
        bounces      INTEGER NOT NULL DEFAULT 0 CHECK (bounces >= 0),
        suspended_at TIMESTAMPTZ
    )
    """,
    # Every request for a verification mail; the rows of a day are its rate limit.
    """
    CREATE TABLE email_verifications (
        id         UUID PRIMARY KEY,
        user_id    UUID NOT NULL REFERENCES users ON DELETE CASCADE,
        sealed     BYTEA NOT NULL,
        found_by   BYTEA NOT NULL CHECK (octet_length(found_by) = 32),
        token_hash BYTEA NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
        created_at TIMESTAMPTZ NOT NULL,
        expires_at TIMESTAMPTZ NOT NULL,
        used_at    TIMESTAMPTZ,
        void_at    TIMESTAMPTZ
    )
    """,
    """
    CREATE INDEX email_verifications_user ON email_verifications (user_id, created_at)
    """,
    """
    CREATE INDEX email_verifications_address ON email_verifications (found_by, created_at)
    """,
    # ``sealed`` is the browser's subscription as JSON: its endpoint is a capability to reach that browser.
    """
    CREATE TABLE push_subscriptions (
        id         UUID PRIMARY KEY,
        user_id    UUID NOT NULL REFERENCES users ON DELETE CASCADE,
        sealed     BYTEA NOT NULL,
        found_by   BYTEA NOT NULL UNIQUE CHECK (octet_length(found_by) = 32),
        device     TEXT NOT NULL CHECK (length(device) <= 100),
        created_at TIMESTAMPTZ NOT NULL,
        sent_at    TIMESTAMPTZ
    )
    """,
    """
    CREATE INDEX push_subscriptions_user ON push_subscriptions (user_id, created_at)
    """,
    # ``occasion`` makes a notification of one fact to one person once, whatever runs twice. ``source`` is the
    # message that told it; a reorg that takes the message marks the row undone.
    """
    CREATE TABLE notifications (
        id         UUID PRIMARY KEY,
        user_id    UUID NOT NULL REFERENCES users ON DELETE CASCADE,
        address    BYTEA NOT NULL CHECK (octet_length(address) = 20),
        kind       TEXT NOT NULL CHECK (length(kind) <= 32),
        occasion   TEXT NOT NULL CHECK (length(occasion) <= 200),
        source     BIGINT,
        event_id   UUID,
        data       JSONB NOT NULL,
        visible    BOOLEAN NOT NULL,
        created_at TIMESTAMPTZ NOT NULL,
        settled_at TIMESTAMPTZ,
        read_at    TIMESTAMPTZ,
        undone_at  TIMESTAMPTZ,
        UNIQUE (user_id, occasion)
    )
    """,
    """
    CREATE INDEX notifications_visible ON notifications (user_id, id) WHERE visible
    """,
    """
    CREATE INDEX notifications_unread ON notifications (user_id)
    WHERE visible AND read_at IS NULL AND undone_at IS NULL
    """,
    """
    CREATE INDEX notifications_source ON notifications (source) WHERE source IS NOT NULL
    """,
    """
    CREATE INDEX notifications_age ON notifications (created_at)
    """,
    # One row a notification, channel and receiver: what is sent is written down before and after.
    """
    CREATE TABLE notification_deliveries (
        id              UUID PRIMARY KEY,
        notification_id UUID NOT NULL REFERENCES notifications ON DELETE CASCADE,
        user_id         UUID NOT NULL,
        kind            TEXT NOT NULL,
        channel         TEXT NOT NULL CHECK (channel IN ('email', 'push')),
        target          UUID NOT NULL,
        state           TEXT NOT NULL DEFAULT 'waiting'
                        CHECK (state IN ('waiting', 'sending', 'sent', 'failed', 'dropped')),
        tries           INTEGER NOT NULL DEFAULT 0,
        reason          TEXT CHECK (length(reason) <= 200),
        created_at      TIMESTAMPTZ NOT NULL,
        held_until      TIMESTAMPTZ,
        ended_at        TIMESTAMPTZ,
        UNIQUE (notification_id, channel, target),
        CHECK ((state IN ('sent', 'failed', 'dropped')) = (ended_at IS NOT NULL))
    )
    """,
    """
    CREATE INDEX notification_deliveries_day ON notification_deliveries (user_id, created_at)
    WHERE channel = 'email'
    """,
    # A reminder of one start of one event goes out once, whoever notices first that it is time.
    """
    CREATE TABLE event_reminders (
        event_id     UUID NOT NULL,
        starts_at    TIMESTAMPTZ NOT NULL,
        lead_minutes INTEGER NOT NULL,
        sent_at      TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (event_id, starts_at, lead_minutes)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
