"""What is done to a draft is told with what it said before and after."""

from __future__ import annotations

import json
from typing import Any

from tests.events.shop import Shop

from echain.infra.database import Database


async def told(database: Database) -> list[tuple[str, dict[str, Any]]]:
    rows = await database.fetch(
        "SELECT action, diff, organization_id FROM audit_entries WHERE action !~ '^session' ORDER BY position"
    )
    assert len({row["organization_id"] for row in rows} - {None}) == 1
    return [(row["action"], json.loads(row["diff"])) for row in rows]


async def test_the_first_draft_makes_an_organization_and_each_change_is_told(
    shop: Shop,
) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    content = {**shop.content(), "title": "Another title"}
    changed = await organizer.client(
        "PUT", f"/api/v1/events/{draft['id']}", json_body={**content, "version": 1}
    )
    assert changed.status == 200, changed.body
    await shop.draft(organizer)
    assert (await organizer.client("DELETE", f"/api/v1/events/{draft['id']}")).status == 200
    entries = await told(shop.database)
    assert [action for action, _ in entries] == [
        *("organization.created", "event.draft_created", "event.draft_replaced"),
        *("event.draft_created", "event.draft_deleted"),
    ]
    replaced = entries[2][1]
    assert replaced["title"] == [draft["title"], "Another title"]
    assert replaced["version"] == [1, 2]
    assert set(replaced) == {"title", "version"}
    assert entries[1][1]["title"] == [None, draft["title"]]
    assert entries[4][1]["title"] == ["Another title", None]
