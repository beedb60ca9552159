"""Identities at OpenID providers: sign-ins under way, whose they are, and which sessions they opened."""

from alembic import op

revision = "0018_identities"
down_revision = "0017_organizations"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # Out of the write-ahead log for the reason that sign_in_nonces is: a crash empties the table, so that a
    # state that was used cannot come back.
    """
    CREATE UNLOGGED TABLE oidc_starts (
        id           UUID PRIMARY KEY,
        state_hash   BYTEA NOT NULL UNIQUE CHECK (octet_length(state_hash) = 32),
        browser_hash BYTEA NOT NULL CHECK (octet_length(browser_hash) = 32),
        provider     TEXT NOT NULL CHECK (length(provider) BETWEEN 1 AND 60),
        sealed       BYTEA NOT NULL,
        return_to    TEXT NOT NULL CHECK (length(return_to) BETWEEN 1 AND 1000),
        user_id      UUID REFERENCES users ON DELETE CASCADE,
        session_id   UUID REFERENCES sessions ON DELETE CASCADE,
        created_at   TIMESTAMPTZ NOT NULL,
        expires_at   TIMESTAMPTZ NOT NULL,
        CHECK ((user_id IS NULL) = (session_id IS NULL))
    )
    """,
    """
    CREATE INDEX oidc_starts_expiry ON oidc_starts (expires_at)
    """,
    """
    CREATE INDEX oidc_starts_user ON oidc_starts (user_id)
    """,
    """
    CREATE INDEX oidc_starts_session ON oidc_starts (session_id)
    """,
    # The subject is the provider's own number for a person; what it tells of them is sealed.
    """
    CREATE TABLE identities (
        id              UUID PRIMARY KEY,
        user_id         UUID NOT NULL REFERENCES users ON DELETE CASCADE,
        issuer          TEXT NOT NULL CHECK (length(issuer) BETWEEN 1 AND 512),
        subject         TEXT NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
        provider        TEXT NOT NULL CHECK (length(provider) BETWEEN 1 AND 60),
        sealed          BYTEA NOT NULL,
        created_at      TIMESTAMPTZ NOT NULL,
        last_sign_in_at TIMESTAMPTZ NOT NULL,
        UNIQUE (issuer, subject)
    )
    """,
    """
    CREATE INDEX identities_user ON identities (user_id)
    """,
    """
    CREATE TABLE identity_sessions (
        session_id  UUID PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
        identity_id UUID NOT NULL REFERENCES identities ON DELETE CASCADE,
        sid         TEXT CHECK (length(sid) BETWEEN 1 AND 255)
    )
    """,
    """
    CREATE INDEX identity_sessions_identity ON identity_sessions (identity_id)
    """,
    # A provider that signs somebody out ends their sessions here.
    """
    ALTER TABLE sessions DROP CONSTRAINT sessions_ended_by_check
    """,
    """
    ALTER TABLE sessions ADD CONSTRAINT sessions_ended_by_check
        CHECK (ended_by IN ('logout', 'user', 'reuse', 'provider')) NOT VALID
    """,
    """
    ALTER TABLE sessions VALIDATE CONSTRAINT sessions_ended_by_check
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
