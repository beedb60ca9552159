"""What an organization sold is told to those of its members who may see sales."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from tests.notify.town import founded

from echain.kernel.evm import keccak
from echain.notify.kinds import DIGESTS


async def test_a_digest_tells_members_of_sales_as_far_as_their_role_shows_them(database_url: str) -> None:
    async with founded(database_url) as town:
        people = {
            role: await town.resident(f"{role}@x.example")
            for role in ("owner", "manager", "finance", "gate", "stranger")
        }
        event, draft = await town.shop.published(people["owner"])
        house = await town.database.fetchval(
            "SELECT organization_id FROM event_drafts WHERE id = $1", UUID(draft["id"])
        )
        for role in ("manager", "finance", "gate"):
            await town.database.execute(
                "INSERT INTO members SELECT $1, user_id, $3, $4 FROM wallets WHERE address = $2",
                *(house, people[role].address, role, town.clock()),
            )
        for person in people.values():
            await town.choose(person, digest="daily", timeZone="America/New_York")
        await town.shop.sold(event, keccak(b"stranger")[:20], quantity=3)
        await town.final(10**9)
        town.office.letters.clear()
        town.clock.now = datetime(2026, 1, 2, 13, 1, tzinfo=UTC)
        await town.tick(DIGESTS)
        told = {letter.recipient: letter.part("text/plain") for letter in town.office.letters}
        assert sorted(told) == ["finance@x.example", "manager@x.example", "owner@x.example"]
        assert all("Harbour Lights: 3 sold" in text for text in told.values())
