"""Organizations: who works together, with which wallets, in which roles; and whose a draft is."""

from alembic import op

revision = "0017_organizations"
down_revision = "0016_sessions"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # A deleted organization stays as a row: what was done in it is told of by its id.
    """
    CREATE TABLE organizations (
        id         UUID PRIMARY KEY,
        name       TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
        created_at TIMESTAMPTZ NOT NULL,
        deleted_at TIMESTAMPTZ
    )
    """,
    """
    CREATE TABLE members (
        organization_id UUID NOT NULL REFERENCES organizations,
        user_id         UUID NOT NULL REFERENCES users,
        role            TEXT NOT NULL CHECK (role IN ('owner', 'manager', 'finance', 'gate')),
        joined_at       TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (organization_id, user_id)
    )
    """,
    """
    CREATE INDEX members_user ON members (user_id)
    """,
    # Whoever forgets to lock the organization first is held to it here: of two owners who go at once the
    # second waits for the first, and then sees that nobody else is left.
    """
    CREATE FUNCTION keep_an_owner() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM FROM organizations WHERE id = OLD.organization_id AND deleted_at IS NULL FOR NO KEY UPDATE;
        IF FOUND AND NOT EXISTS (
            SELECT FROM members WHERE organization_id = OLD.organization_id AND role = 'owner'
        ) THEN
            RAISE EXCEPTION 'organization % would have no owner', OLD.organization_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'members_keep_an_owner';
        END IF;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER members_keep_an_owner AFTER UPDATE OR DELETE ON members
    FOR EACH ROW WHEN (OLD.role = 'owner') EXECUTE FUNCTION keep_an_owner()
    """,
    """
    CREATE TABLE organization_wallets (
        address         BYTEA PRIMARY KEY CHECK (octet_length(address) = 20),
        organization_id UUID NOT NULL REFERENCES organizations,
        added_at        TIMESTAMPTZ NOT NULL
    )
    """,
    """
    CREATE INDEX organization_wallets_organization ON organization_wallets (organization_id, added_at)
    """,
    # ``sealed`` is the address that is invited by mail; it goes with the invitation's end. ``email_index``
    # finds equal ones, and stays for a day more: nobody is mailed again and again by invitations that end.
    """
    CREATE TABLE invitations (
        id              UUID PRIMARY KEY,
        organization_id UUID NOT NULL REFERENCES organizations,
        role            TEXT NOT NULL CHECK (role IN ('owner', 'manager', 'finance', 'gate')),
        token_hash      BYTEA NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
        sealed          BYTEA,
        email_index     BYTEA CHECK (octet_length(email_index) = 32),
        invited_by      UUID REFERENCES users,
        created_at      TIMESTAMPTZ NOT NULL,
        expires_at      TIMESTAMPTZ NOT NULL CHECK (expires_at > created_at),
        ended_at        TIMESTAMPTZ,
        ended_how       TEXT CHECK (ended_how IN ('accepted', 'declined', 'revoked')),
        ended_by        UUID REFERENCES users,
        CHECK ((ended_at IS NULL) = (ended_how IS NULL)),
        CHECK (sealed IS NULL OR email_index IS NOT NULL),
        CHECK (ended_at IS NULL OR sealed IS NULL)
    )
    """,
    """
    CREATE INDEX invitations_organization ON invitations (organization_id, created_at)
    """,
    """
    CREATE INDEX invitations_inviter ON invitations (invited_by, created_at)
    """,
    """
    CREATE INDEX invitations_email ON invitations (email_index) WHERE email_index IS NOT NULL
    """,
    # Null: the organization of the draft's wallet. Programs of the version before write it so.
    """
    ALTER TABLE event_drafts ADD COLUMN organization_id UUID REFERENCES organizations
    """,
    """
    CREATE INDEX event_drafts_organization ON event_drafts (organization_id) WHERE deleted_at IS NULL
    """,
    # One organization for each wallet that organized something and whose user is known. The ids are of
    # version 7, as all of ours: 48 bits of milliseconds before random ones.
    """
    CREATE TEMPORARY TABLE founded ON COMMIT DROP AS
    SELECT encode(set_bit(set_bit(
               overlay(uuid_send(gen_random_uuid())
                       PLACING substring(int8send((extract(epoch FROM now()) * 1000)::bigint) FROM 3)
                       FROM 1 FOR 6),
               52, 1), 53, 1), 'hex')::uuid AS id,
           wallet.address, wallet.user_id
      FROM wallets AS wallet
     WHERE wallet.address IN (SELECT organizer FROM event_drafts UNION SELECT organizer FROM events)
    """,
    """
    INSERT INTO organizations (id, name, created_at)
    SELECT id, '0x' || left(encode(address, 'hex'), 4) || '…' || right(encode(address, 'hex'), 4), now()
      FROM founded
    """,
    """
    INSERT INTO members (organization_id, user_id, role, joined_at)
    SELECT id, user_id, 'owner', now() FROM founded
    """,
    """
    INSERT INTO organization_wallets (address, organization_id, added_at)
    SELECT address, id, now() FROM founded
    """,
    """
    UPDATE event_drafts SET organization_id = founded.id FROM founded WHERE organizer = founded.address
    """,
    # The organization's columns come last, so that what reads the view goes on as before.
    """
    CREATE OR REPLACE VIEW published_events AS
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
                THEN document.draft_id ELSE event.id END AS public_id,
           organization.id AS organization_id, organization.name AS organization_name
      FROM events AS event
      LEFT JOIN metadata_documents AS document ON document.hash = event.metadata_hash
      LEFT JOIN organization_wallets AS owned ON owned.address = event.organizer
      LEFT JOIN organizations AS organization ON organization.id = owned.organization_id
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
