"""Administrators of the platform, suspended users, and alarms with what the security monitor remembers."""

from alembic import op

revision = "0020_admins_and_alarms"
down_revision = "0019_audit"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # Those of ECHAIN_ADMINS are not here. A wallet may be given the role before it ever signs in.
    """
    CREATE TABLE platform_admins (
        address    BYTEA PRIMARY KEY CHECK (octet_length(address) = 20),
        granted_by BYTEA NOT NULL CHECK (octet_length(granted_by) = 20),
        granted_at TIMESTAMPTZ NOT NULL
    )
    """,
    """
    ALTER TABLE users ADD COLUMN suspended_at TIMESTAMPTZ
    """,
    """
    ALTER TABLE sessions
        DROP CONSTRAINT sessions_ended_by_check,
        ADD CONSTRAINT sessions_ended_by_check
            CHECK (ended_by IN ('logout', 'user', 'reuse', 'provider', 'admin'))
    """,
    # What happened, grouped: causes of one kind and subject join until ``joins_until``.
    """
    CREATE TABLE alarms (
        id              UUID PRIMARY KEY,
        kind            TEXT NOT NULL CHECK (length(kind) BETWEEN 1 AND 40),
        severity        SMALLINT NOT NULL CHECK (severity BETWEEN 1 AND 3),
        subject         TEXT NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
        facts           JSONB NOT NULL,
        count           BIGINT NOT NULL CHECK (count > 0),
        first_at        TIMESTAMPTZ NOT NULL,
        last_at         TIMESTAMPTZ NOT NULL CHECK (last_at >= first_at),
        joins_until     TIMESTAMPTZ NOT NULL,
        acknowledged_at TIMESTAMPTZ,
        acknowledged_by UUID,
        CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
    )
    """,
    """
    CREATE INDEX alarms_subject ON alarms (kind, subject, joins_until)
    """,
    """
    CREATE INDEX alarms_open ON alarms (id) WHERE acknowledged_at IS NULL
    """,
    # Each cause counts once, however often it is told.
    """
    CREATE TABLE alarm_causes (
        cause    TEXT PRIMARY KEY CHECK (length(cause) BETWEEN 1 AND 300),
        alarm_id UUID NOT NULL REFERENCES alarms ON DELETE CASCADE,
        at       TIMESTAMPTZ NOT NULL,
        facts    JSONB NOT NULL
    )
    """,
    """
    CREATE INDEX alarm_causes_alarm ON alarm_causes (alarm_id, at)
    """,
    # What was seen of something that should not change by itself: what is accepted, and what it was last.
    """
    CREATE TABLE security_sights (
        thing    TEXT NOT NULL,
        field    TEXT NOT NULL,
        accepted TEXT NOT NULL,
        last     TEXT NOT NULL,
        changes  BIGINT NOT NULL DEFAULT 0,
        seen_at  TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (thing, field)
    )
    """,
    # Up to which block each chain's contracts were compared with our books, and which of the others is next.
    """
    CREATE TABLE security_audits (
        chain_id      BIGINT PRIMARY KEY,
        block_number  BIGINT NOT NULL,
        next_contract BYTEA NOT NULL
    )
    """,
    # What wallets did lately, a row a fact, so that what is told twice counts once; swept after hours.
    """
    CREATE TABLE security_deeds (
        kind    TEXT NOT NULL,
        wallet  BYTEA NOT NULL CHECK (octet_length(wallet) = 20),
        fact    TEXT NOT NULL,
        at      TIMESTAMPTZ NOT NULL,
        amount  INTEGER NOT NULL CHECK (amount > 0),
        PRIMARY KEY (kind, wallet, fact)
    )
    """,
    """
    CREATE INDEX security_deeds_at ON security_deeds (at)
    """,
    # Refused credentials by the site that sent them, a row a minute; out of the write-ahead log, because they
    # matter for minutes and come by the thousand.
    """
    CREATE UNLOGGED TABLE security_refusals (
        site   TEXT NOT NULL,
        minute TIMESTAMPTZ NOT NULL,
        count  BIGINT NOT NULL CHECK (count > 0),
        PRIMARY KEY (minute, site)
    )
    """,
    """
    CREATE INDEX security_refusals_site ON security_refusals (site, minute)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
