"""Channels of events by either id: the one of the draft, which pages know, and the one that messages name."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from tests.events.shop import Shop

from echain.edge.live.access import ChannelUnknown
from echain.events import store
from echain.events.live import EventChannels
from echain.kernel.ids import uuid7


async def test_either_id_leads_to_the_channel_that_messages_name(shop: Shop) -> None:
    event, draft = await shop.published(await shop.person())
    channels = EventChannels(shop.database)
    assert UUID(draft["id"]) != event.id
    for name in (draft["id"], str(event.id), draft["id"].upper(), event.id.hex):
        grant = await channels.grant(name)
        assert (grant.channel, grant.private) == (f"event:{event.id}", False)


async def test_a_draft_has_no_channel_until_it_is_published(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    channels = EventChannels(shop.database)
    for name in (draft["id"], str(uuid7()), "1", "", "x" * 36):
        with pytest.raises(ChannelUnknown):
            await channels.grant(name)
    await shop.keep_document(organizer, draft)
    event = await shop.mined(organizer, draft)
    assert (await channels.grant(draft["id"])).channel == f"event:{event.id}"


async def test_a_crowd_is_answered_by_one_look_up(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    _, draft = await shop.published(await shop.person())
    channels = EventChannels(shop.database)
    asked = []
    original = store.published

    async def counted(database: object, event_id: UUID) -> object:
        asked.append(event_id)
        return await original(database, event_id)

    monkeypatch.setattr(store, "published", counted)
    grants = await asyncio.gather(*(channels.grant(draft["id"]) for _ in range(1_000)))
    grants += [await channels.grant(draft["id"])]
    assert len(set(grants)) == 1
    assert len(asked) == 1
