"""Publishing: what the hash on chain commits to, and the ids by which a draft stays itself."""

from __future__ import annotations

import json
from uuid import UUID

from tests.events.shop import PUBLIC_URL, Shop

from echain.kernel.evm import keccak, to_hex

EVENTS = "/api/v1/events"


async def test_the_document_is_served_byte_for_byte_and_its_hash_is_its_name(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer, image="ipfs://bafy/cover.png", title="Grüße 🎉")
    name = await shop.keep_document(organizer, draft)
    answer = await shop.anyone("GET", f"/api/v1/metadata/{name}")
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    assert to_hex(keccak(answer.body)) == name
    assert "immutable" in (answer.header("cache-control") or "")
    kept = await shop.database.fetchval("SELECT body FROM metadata_documents")
    assert answer.body == kept
    upper = await shop.anyone("GET", f"/api/v1/metadata/0x{name[2:].upper()}")
    assert upper.body == answer.body


async def test_the_document_says_what_wallets_and_markets_read(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer, image="ipfs://bafy/cover.png")
    name = await shop.keep_document(organizer, draft)
    body = (await shop.anyone("GET", f"/api/v1/metadata/{name}")).body
    document = json.loads(body)
    assert document["name"] == "Harbour Lights"
    assert document["image"] == "ipfs://bafy/cover.png"
    assert document["external_url"] == f"{PUBLIC_URL}/events/{draft['id']}"
    assert {"trait_type": "Place", "value": "Old Harbour"} in document["attributes"]
    assert document["echain"]["tiers"] == [{"name": "General"}, {"name": "VIP"}]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert body == canonical.encode()


async def test_a_hash_that_names_no_document_is_not_found_and_a_misspelled_one_is_refused(shop: Shop) -> None:
    assert (await shop.anyone("GET", f"/api/v1/metadata/0x{'ab' * 32}")).status == 404
    assert (await shop.anyone("GET", "/api/v1/metadata/0xzz")).status == 422


async def test_publishing_again_prepares_the_same_document_and_a_changed_draft_another(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    first = await shop.keep_document(organizer, draft)
    assert await shop.keep_document(organizer, draft) == first
    changed = {**shop.content(title="Other"), "version": 1}
    await organizer.client("PUT", f"{EVENTS}/{draft['id']}", json_body=changed)
    assert await shop.keep_document(organizer, draft) != first
    assert (await shop.anyone("GET", f"/api/v1/metadata/{first}")).status == 200
    assert (await shop.counts())["metadata_documents"] == 2


async def test_equal_drafts_have_different_documents(shop: Shop) -> None:
    organizer = await shop.person()
    names = {await shop.keep_document(organizer, await shop.draft(organizer)) for _ in range(3)}
    assert len(names) == 3


async def test_without_contracts_on_the_chain_nothing_can_be_published(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    answer = await organizer.client("POST", f"{EVENTS}/{draft['id']}/publish")
    assert (answer.status, answer.error["code"]) == (409, "events.chain_not_served")


async def test_a_published_event_answers_to_its_drafts_id_and_to_its_own(shop: Shop) -> None:
    organizer = await shop.person()
    event, draft = await shop.published(organizer)
    for name in (draft["id"], event.id):
        for path in ("", "/availability"):
            answer = await shop.anyone("GET", f"{EVENTS}/{name}{path}")
            assert answer.status == 200, answer.body
            assert answer.data.get("id", answer.data.get("eventId")) == draft["id"]
    read = (await shop.anyone("GET", f"{EVENTS}/{draft['id']}")).data
    assert (read["status"], read["version"], read["feeBps"]) == ("upcoming", None, 250)
    assert read["blockchain_id"] == str(event.number)
    assert [tier["name"] for tier in read["tiers"]] == ["General", "VIP"]
    assert read["place"]["name"] == "Old Harbour"


async def test_a_mined_draft_can_neither_change_nor_be_published_again(shop: Shop) -> None:
    organizer = await shop.person()
    _, draft = await shop.published(organizer)
    url = f"{EVENTS}/{draft['id']}"
    change = {**shop.content(title="Changed"), "version": 1}
    for answer in (
        await organizer.client("PUT", url, json_body=change),
        await organizer.client("POST", f"{url}/publish"),
    ):
        assert (answer.status, answer.error["code"]) == (409, "events.already_published")
    assert (await shop.anyone("GET", url)).data["title"] == "Harbour Lights"


async def test_a_version_signed_before_a_later_edit_is_still_the_drafts_event(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    signed = await shop.keep_document(organizer, draft)
    change = {**shop.content(title="Edited while the wallet asked"), "version": 1}
    await organizer.client("PUT", f"{EVENTS}/{draft['id']}", json_body=change)
    await shop.mined(organizer, draft, metadata_hash=signed)
    read = (await shop.anyone("GET", f"{EVENTS}/{draft['id']}")).data
    assert (read["id"], read["title"]) == (draft["id"], "Harbour Lights")


async def test_a_stranger_who_copies_the_hash_gets_no_hold_of_the_drafts_id(shop: Shop) -> None:
    organizer, copycat = await shop.person(), await shop.person()
    draft = await shop.draft(organizer)
    name = await shop.keep_document(organizer, draft)
    copy = await shop.mined(copycat, draft, metadata_hash=name)
    assert (await shop.anyone("GET", f"{EVENTS}/{copy.id}")).data["id"] == str(copy.id)
    assert (await shop.anyone("GET", f"{EVENTS}/{draft['id']}")).status == 404
    event = await shop.mined(organizer, draft)
    assert (await shop.anyone("GET", f"{EVENTS}/{draft['id']}")).data["blockchain_id"] == str(event.number)
    assert (await shop.anyone("GET", f"{EVENTS}/{copy.id}")).data["organizer"] == copycat.text


async def test_a_draft_signed_twice_stays_the_first_event(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer)
    await shop.keep_document(organizer, draft)
    second = await shop.mined(organizer, draft, block=9)
    first = await shop.mined(organizer, draft, block=8)
    read = (await shop.anyone("GET", f"{EVENTS}/{draft['id']}")).data
    assert read["blockchain_id"] == str(first.number)
    assert (await shop.anyone("GET", f"{EVENTS}/{second.id}")).data["id"] == str(second.id)
    listed = (await shop.anyone("GET", EVENTS)).data
    assert {item["id"] for item in listed} == {draft["id"], str(second.id)}


async def test_a_reorg_brings_the_draft_back_and_another_contract_takes_its_place(shop: Shop) -> None:
    organizer = await shop.person()
    event, draft = await shop.published(organizer)
    url = f"{EVENTS}/{draft['id']}"
    assert (await shop.anyone("GET", url)).status == 200
    async with shop.database.transaction() as tx:
        await tx.execute("DELETE FROM events WHERE id = $1", event.id)
        await tx.execute("SELECT pg_notify('cache', $1)", f"event:{event.id}")
    shop.cache.forget(f"event:{event.id}")
    assert (await shop.anyone("GET", url)).status == 404
    assert (await organizer.client("GET", url)).data["status"] == "draft"
    again = await shop.mined(organizer, draft)
    assert (await shop.anyone("GET", url)).data["blockchain_id"] == str(again.number)
    assert (await shop.anyone("GET", f"{EVENTS}/{event.id}")).status == 404


async def test_an_event_made_elsewhere_is_shown_with_what_the_chain_says(shop: Shop) -> None:
    organizer = await shop.person()
    draft = await shop.draft(organizer, title="Made elsewhere")
    event = await shop.mined(organizer, draft, metadata_hash="0x" + "77" * 32)
    read = (await shop.anyone("GET", f"{EVENTS}/{event.id}")).data
    assert (read["id"], read["title"], read["description"]) == (str(event.id), "Made elsewhere", "")
    assert [tier["name"] for tier in read["tiers"]] == ["Tier 0", "Tier 1"]
    assert (await organizer.client("GET", f"{EVENTS}/{draft['id']}")).data["status"] == "draft"
    assert UUID(read["id"]) == event.id
