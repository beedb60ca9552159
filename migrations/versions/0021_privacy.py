"""Whose a webhook subscription is, and indexes by which what a person did is found and erased."""

from alembic import op

revision = "0021_privacy"
down_revision = "0020_admins_and_alarms"
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = (
    # A subscription is an organization's, whoever made it, or else its maker's own; ``owner`` is the maker's
    # wallet, null where that is not known any more or never was. Programs of the version before set it alone.
    """
    ALTER TABLE webhook_subscriptions ADD COLUMN organization_id UUID REFERENCES organizations
    """,
    "ALTER TABLE webhook_subscriptions ALTER COLUMN owner DROP NOT NULL",
    """
    ALTER TABLE webhook_subscriptions ADD CONSTRAINT webhook_subscriptions_somebodys
    CHECK (num_nonnulls(owner, organization_id) > 0)
    """,
    """
    CREATE INDEX webhook_subscriptions_organization ON webhook_subscriptions (organization_id, id)
    WHERE organization_id IS NOT NULL
    """,
    # What hears its maker's private channel stays with the maker.
    """
    UPDATE webhook_subscriptions SET organization_id = owned.organization_id
      FROM organization_wallets AS owned
     WHERE owned.address = owner AND NOT EXISTS (
         SELECT FROM webhook_channels
          WHERE subscription_id = webhook_subscriptions.id AND channel LIKE 'user:%')
    """,
    # Few rows have these; those that a gate writes do not.
    "CREATE INDEX scans_operator ON scans (operator) WHERE operator IS NOT NULL",
    "CREATE INDEX admissions_operator ON admissions (operator) WHERE operator IS NOT NULL",
    "CREATE INDEX admissions_undone_by ON admissions (undone_by) WHERE undone_by IS NOT NULL",
    """
    CREATE INDEX watched_transactions_submitter ON watched_transactions (submitted_by)
    WHERE submitted_by IS NOT NULL
    """,
    "CREATE INDEX event_registrations_address ON event_registrations (address)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
