"""The audit log: entries that nobody changes, the chains that seal them, and what of them may be erased."""

from alembic import op

revision = "0019_audit"
down_revision = "0018_identities"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # Written by whoever changes something, in the transaction of the change. ``position`` orders entries: of
    # two transactions that did not overlap, the later one's are higher. No organization means the platform.
    # ``client`` is a commitment to the address in audit_clients; ``diff`` is JSON, kept as the text that is
    # sealed. Nothing here refers to other tables: what is told of outlives what it tells of.
    """
    CREATE TABLE audit_entries (
        position        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id              UUID NOT NULL,
        organization_id UUID,
        at              TIMESTAMPTZ NOT NULL,
        actor_kind      TEXT NOT NULL CHECK (actor_kind ~ '^[a-z]{1,20}$'),
        actor_id        TEXT NOT NULL CHECK (length(actor_id) <= 80),
        actor_address   BYTEA CHECK (octet_length(actor_address) = 20),
        credential      TEXT NOT NULL CHECK (length(credential) <= 80),
        action          TEXT NOT NULL CHECK (action ~ '^[a-z][a-z_.]{2,79}$'),
        resource        TEXT NOT NULL CHECK (length(resource) BETWEEN 3 AND 200),
        request_id      TEXT NOT NULL CHECK (length(request_id) <= 128),
        client          BYTEA CHECK (octet_length(client) = 32),
        diff            TEXT NOT NULL CHECK (length(diff) <= 16384)
    )
    """,
    "CREATE INDEX audit_entries_organization ON audit_entries (organization_id, position)",
    "CREATE INDEX audit_entries_actor ON audit_entries (actor_id, position)",
    "CREATE INDEX audit_entries_resource ON audit_entries (resource, position)",
    # The chain of an organization; the platform's is that of the zero UUID. Numbers have no gaps.
    """
    CREATE TABLE audit_links (
        chain     UUID NOT NULL,
        number    BIGINT NOT NULL CHECK (number > 0),
        position  BIGINT NOT NULL UNIQUE,
        version   SMALLINT NOT NULL,
        key_id    BYTEA NOT NULL CHECK (octet_length(key_id) = 4),
        hash      BYTEA NOT NULL CHECK (octet_length(hash) = 32),
        sealed_at TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (chain, number)
    )
    """,
    # Where each chain ends, so that an end which was cut off is missed.
    """
    CREATE TABLE audit_heads (
        chain  UUID PRIMARY KEY,
        number BIGINT NOT NULL CHECK (number > 0),
        hash   BYTEA NOT NULL CHECK (octet_length(hash) = 32)
    )
    """,
    # Entries of those who cannot wait for indexes and triggers, as a scan at the door: the sealer takes them
    # over within a second. Without an index, so that writing one costs no more than a row.
    """
    CREATE TABLE audit_arrivals (
        position        BIGINT NOT NULL DEFAULT nextval('audit_entries_position_seq'),
        id              UUID NOT NULL,
        organization_id UUID,
        at              TIMESTAMPTZ NOT NULL,
        actor_kind      TEXT NOT NULL,
        actor_id        TEXT NOT NULL,
        actor_address   BYTEA,
        credential      TEXT NOT NULL,
        action          TEXT NOT NULL,
        resource        TEXT NOT NULL,
        request_id      TEXT NOT NULL,
        client          BYTEA,
        sealed_client   BYTEA,
        diff            TEXT NOT NULL
    )
    """,
    # What waits to be sealed.
    "CREATE TABLE audit_unsealed (position BIGINT PRIMARY KEY)",
    # Client addresses are personal data: ``sealed`` opens with the data keys, and a row may be erased.
    "CREATE TABLE audit_clients (entry_id UUID PRIMARY KEY, sealed BYTEA NOT NULL)",
    """
    CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
    END
    $$
    """,
    """
    CREATE TRIGGER audit_entries_stand BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()
    """,
    """
    CREATE TRIGGER audit_links_stand BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_links
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()
    """,
    """
    CREATE FUNCTION audit_wait() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO audit_unsealed SELECT position FROM written;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER audit_entries_wait AFTER INSERT ON audit_entries
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION audit_wait()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
