"""The migration gives every organizer who is known an organization, and leaves everybody else alone."""

from __future__ import annotations

from uuid import UUID

from tests.conftest import psql

from echain.infra.database import Database
from echain.infra.embedded.postgres import Postgres
from echain.infra.migrate import migrate

BEFORE = """
    INSERT INTO users SELECT ('00000000-0000-7000-8000-00000000000' || n)::uuid, now()
      FROM generate_series(1, 3) AS n;
    INSERT INTO wallets SELECT decode(repeat(n::text || n::text, 20), 'hex'),
           ('00000000-0000-7000-8000-00000000000' || least(n, 3))::uuid, now(), now()
      FROM generate_series(1, 4) AS n;
    INSERT INTO event_drafts (id, organizer, chain_id, content, created_at, updated_at, deleted_at)
    SELECT gen_random_uuid(), decode(repeat(who || who, 20), 'hex'), 1, '{}', now(), now(),
           CASE WHEN deleted THEN now() END
      FROM (VALUES ('1', FALSE), ('1', TRUE), ('9', FALSE)) AS draft (who, deleted);
    INSERT INTO events (chain_id, ticket_contract, id, blockchain_id, organizer, name, metadata_uri,
                        metadata_hash, ticket_price_wei, max_tickets, starts_at, ends_at, fee_bps,
                        gift_policy, max_gifts, gifts_to_contracts, resale_cap_bps, royalty_bps,
                        created_block, created_at, transaction_hash)
    SELECT 1, decode(lpad(who, 40, '0'), 'hex'), gen_random_uuid(), 1, decode(repeat(who || who, 20), 'hex'),
           'x', 'x', decode(repeat('00', 32), 'hex'), 1, 1, now(), now(), 0, 'free', 0, TRUE, 0, 0, 1, now(),
           decode(repeat('00', 32), 'hex')
      FROM (VALUES ('2'), ('4'), ('8')) AS event (who)
"""


async def test_organizers_who_signed_in_own_an_organization_each(postgres: Postgres) -> None:
    psql(postgres.url("postgres"), "CREATE DATABASE backfill")
    url = postgres.url("backfill")
    await migrate(url, revision="0016_sessions")
    psql(url, BEFORE)
    await migrate(url, revision="0017_organizations")
    database = await Database.connect(url, size=1)
    rows = await database.fetch(
        """
        SELECT encode(address, 'hex') AS wallet, name, role, user_id, organizations.id
          FROM organizations JOIN organization_wallets ON organization_id = organizations.id
          JOIN members USING (organization_id) ORDER BY address
        """
    )
    # 1 drafted, 2 and 4 published; 3 signed in alone, 8 and 9 never did.
    assert [(row["wallet"][0], row["user_id"].int % 16, row["role"]) for row in rows] == [
        ("1", 1, "owner"),
        ("2", 2, "owner"),
        ("4", 3, "owner"),
    ]
    assert rows[0]["name"] == "0x1111…1111"
    ids: list[UUID] = [row["id"] for row in rows]
    assert {one.version for one in ids} == {7}
    assert len(set(ids)) == await database.fetchval("SELECT count(*) FROM organizations") == 3
    drafts = await database.fetch(
        "SELECT encode(organizer, 'hex') AS wallet, organization_id FROM event_drafts ORDER BY organizer"
    )
    assert [(row["wallet"][0], row["organization_id"]) for row in drafts] == [
        ("1", ids[0]),
        ("1", ids[0]),
        ("9", None),
    ]
    # The version before writes drafts as ever.
    await database.execute(
        "INSERT INTO event_drafts (id, organizer, chain_id, content, created_at, updated_at)"
        " VALUES (gen_random_uuid(), decode(repeat('11', 20), 'hex'), 1, '{}', now(), now())"
    )
    seen = await database.fetch("SELECT organization_id FROM published_events ORDER BY organizer")
    assert [row["organization_id"] for row in seen] == [ids[1], ids[2], None]
    await database.close()
