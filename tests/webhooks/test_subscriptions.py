"""Subscriptions: whose they are, what they may hear, what is never shown twice."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from tests.edge.http_client import Client
from tests.webhooks.office import KEYS, ROOT, Office, Person

from echain.infra.outbound import Rules
from echain.kernel.evm import checksum, keccak
from echain.kernel.ids import derived_id
from echain.webhooks.store import SEALED

HOOK = "http://127.0.0.1:9/hook"


async def own_event(office: Office, organizer: Person) -> str:
    """Write the projection of an event that somebody organizes; return its id."""
    contract = bytes(keccak(uuid4().bytes)[:20])
    event_id = derived_id(84532, contract)
    await office.database.execute(
        """
        INSERT INTO events (chain_id, ticket_contract, id, blockchain_id, organizer, name, metadata_uri,
                            metadata_hash, ticket_price_wei, max_tickets, starts_at, ends_at, fee_bps,
                            gift_policy, max_gifts, gifts_to_contracts, resale_cap_bps, royalty_bps,
                            created_block, created_at, transaction_hash)
        VALUES (84532, $1, $2, $3, $4, 'Harbour Lights', 'x', $5, 1, 10,
                $6, $6::timestamptz + interval '1 hour', 250, 'free', 0, TRUE, 0, 0, 1, $6, $5)
        """,
        *(contract, event_id, int.from_bytes(contract[:4]), organizer.address, bytes(32), office.clock()),
    )
    return str(event_id)


async def test_a_subscription_hears_its_owners_channel_unless_told_otherwise(office: Office) -> None:
    ada = await office.person()
    made = await ada.subscribe(HOOK)
    assert (made["channels"], made["types"], made["enabled"], made["settledOnly"]) == (
        [ada.channel],
        [],
        True,
        False,
    )
    assert made["secret"].startswith("whsec_")
    assert len(made["secret"]) == len("whsec_") + 64
    looked = await ada.look(made)
    assert "secret" not in looked
    assert looked == {name: value for name, value in made.items() if name != "secret"}
    assert (await ada.client("GET", ROOT)).data == [looked]


async def test_the_secret_lies_sealed_and_opens_only_where_it_lies(office: Office) -> None:
    ada = await office.person()
    made = await ada.subscribe(HOOK)
    rows = await office.database.fetch("SELECT * FROM webhook_keys")
    assert made["secret"].encode() not in bytes(rows[0]["sealed"])
    assert SEALED.open(KEYS, rows[0]["id"], rows[0]["sealed"]) == made["secret"].encode()
    everything = await office.database.fetch("SELECT jobs::text FROM jobs.queue AS jobs")
    everything += await office.database.fetch("SELECT kept.answer FROM idempotency_keys AS kept")
    assert made["secret"] not in repr(everything)


async def test_channels_are_ones_own(office: Office) -> None:
    ada, eve = await office.person(), await office.person()
    event = await own_event(office, ada)
    own = f"user:{checksum(ada.address)}"
    made = await ada.subscribe(HOOK, channels=[own.lower(), f"event:{event}", own], types=["ticket_sold"])
    assert made["channels"] == sorted([f"event:{event}", own])
    for foreign in (
        *(f"user:{checksum(eve.address)}", eve.channel, f"event:{await own_event(office, eve)}"),
        *(f"event:{uuid4()}", "market", "platform", "event:x", "user:", "", "organizer:0x12"),
    ):
        answer = await ada.client("POST", ROOT, json_body={"url": HOOK, "channels": [foreign]})
        assert (answer.status, answer.error["code"]) == (422, "request.invalid"), foreign


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.com/"},
        {"url": "http://user:pass@127.0.0.1/"},
        {"url": ""},
        {"url": HOOK, "types": ["nonsense"]},
        {"url": HOOK, "owner": "0x" + "ab" * 20},
        {"url": HOOK, "enabled": False},
        {"url": HOOK, "description": "x" * 201},
        {"url": HOOK, "channels": ["user:x"] * 21},
        {"types": []},
    ],
)
async def test_a_subscription_that_cannot_be_is_refused(office: Office, wrong: dict[str, Any]) -> None:
    ada = await office.person()
    assert (await ada.client("POST", ROOT, json_body=wrong)).status == 422
    assert (await ada.client("GET", ROOT)).data == []


async def test_in_production_receivers_are_public_https_hosts(office: Office) -> None:
    ada = await office.person()
    strict = Client(office.application_with(Rules()), ada.client.defaults)
    for url in (HOOK, "https://127.0.0.1/", "https://[::ffff:10.0.0.1]/", "https://example.com:22/"):
        answer = await strict("POST", ROOT, json_body={"url": url})
        assert (answer.status, list(answer.fields)) == (422, ["url"])
    assert (await strict("POST", ROOT, json_body={"url": "https://hooks.example.com/x"})).status == 201


async def test_twenty_are_the_most_also_when_all_are_made_at_once(office: Office) -> None:
    ada, eve = await office.person(), await office.person()
    answers = await asyncio.gather(*(ada.client("POST", ROOT, json_body={"url": HOOK}) for _ in range(25)))
    assert sorted(answer.status for answer in answers) == [201] * 20 + [409] * 5
    assert {answer.error["code"] for answer in answers if answer.status == 409} == {
        "webhooks.too_many_subscriptions"
    }
    assert (await eve.client("POST", ROOT, json_body={"url": HOOK})).status == 201


async def test_a_creation_that_is_sent_again_creates_once_and_its_secret_is_kept_nowhere(
    office: Office,
) -> None:
    ada = await office.person()
    key = {"idempotency-key": str(uuid4())}
    first = await ada.client("POST", ROOT, json_body={"url": HOOK}, headers=key)
    again = await ada.client("POST", ROOT, json_body={"url": HOOK}, headers=key)
    assert (first.status, again.status, again.error["code"]) == (201, 409, "idempotency.answer_lost")
    (made,) = (await ada.client("GET", ROOT)).data
    assert made["id"] == first.data["id"]
    path = f"{ROOT}/{made['id']}/rotate"
    rotated, again = [
        await ada.client("POST", path, json_body={}, headers=key | {"idempotency-key": "r"}) for _ in "12"
    ]
    assert (rotated.status, again.error["code"]) == (200, "idempotency.answer_lost")
    assert len((await ada.look(made))["keys"]) == 2
    kept = await office.database.fetch("SELECT coalesce(answer, '') AS answer FROM idempotency_keys")
    assert len(kept) == 2
    for secret in (first.data["secret"], rotated.data["secret"]):
        assert all(secret.encode() not in bytes(row["answer"]) for row in kept)


async def test_what_may_change_changes(office: Office) -> None:
    ada = await office.person()
    made = await ada.subscribe(HOOK, types=["ticket_sold"], description="till")
    changed = {"url": f"{HOOK}2", "types": ["event_created"], "description": "door", "enabled": False}
    answer = await ada.client("PUT", f"{ROOT}/{made['id']}", json_body=changed)
    assert {name: answer.data[name] for name in changed} == changed
    assert answer.data["disabledReason"] == "by its owner"
    answer = await ada.client("PUT", f"{ROOT}/{made['id']}", json_body={**changed, "enabled": True})
    assert (answer.data["enabled"], answer.data["disabledReason"]) == (True, None)
    assert (
        await ada.client("PUT", f"{ROOT}/{made['id']}", json_body={**changed, "settledOnly": True})
    ).status == 422


async def test_what_is_deleted_is_gone_with_all_it_had(office: Office) -> None:
    ada = await office.person()
    made = await ada.subscribe(HOOK)
    await office.tell([office.message(ada.channel)])
    assert (await ada.client("DELETE", f"{ROOT}/{made['id']}")).data == {"id": made["id"]}
    assert (await ada.client("GET", f"{ROOT}/{made['id']}")).status == 404
    for table in ("webhook_deliveries", "webhook_keys", "webhook_channels"):
        assert await office.database.fetchval(f"SELECT count(*) FROM {table}") == 0


ROUTES = [
    ("GET", "", None),
    ("PUT", "", {"url": HOOK}),
    ("DELETE", "", None),
    ("POST", "/rotate", {}),
    ("POST", "/ping", None),
    ("GET", "/deliveries", None),
    ("GET", "/deliveries/{delivery}", None),
    ("POST", "/replay", {"deliveryId": "{delivery}"}),
    ("POST", "/deliveries/{delivery}/skip", None),
]


@pytest.mark.parametrize(("method", "tail", "body"), ROUTES)
async def test_what_is_somebody_elses_is_not_there(
    office: Office, method: str, tail: str, body: dict[str, Any] | None
) -> None:
    """Every route by owner, stranger and nobody; a foreign id looks like one that never was."""
    ada, eve = await office.person(), await office.person()
    made = await ada.subscribe(HOOK)
    await office.tell([office.message(ada.channel)])
    (delivery,) = await ada.log(made)
    filled = (
        None
        if body is None
        else {name: delivery["id"] if value == "{delivery}" else value for name, value in body.items()}
    )

    async def ask(client: Client, subscription: str) -> Any:
        path = f"{ROOT}/{subscription}{tail.format(delivery=delivery['id'])}"
        return await client(method, path, json_body=filled)

    before = await ada.look(made)
    foreign, absent = await ask(eve.client, made["id"]), await ask(eve.client, str(uuid4()))
    assert (foreign.status, foreign.error) == (404, absent.error)
    assert foreign.error["code"] == "webhooks.subscription_not_found"
    assert (await ask(office.anyone, made["id"])).status == 401
    assert await ada.look(made) == before
    assert (await ask(ada.client, made["id"])).status in {200, 202}


async def test_a_delivery_of_another_subscription_is_not_there(office: Office) -> None:
    ada = await office.person()
    one, other = (
        await ada.subscribe(HOOK),
        await ada.subscribe(HOOK, channels=[f"user:{checksum(ada.address)}"]),
    )
    await office.tell([office.message(ada.channel)])
    (delivery,) = await ada.log(one)
    assert (await ada.client("GET", f"{ROOT}/{other['id']}/deliveries/{delivery['id']}")).status == 404
    again = {"deliveryId": delivery["id"]}
    assert (await ada.client("POST", f"{ROOT}/{other['id']}/replay", json_body=again)).status == 404


@pytest.mark.parametrize(
    "which", [{}, {"deliveryId": str(uuid4()), "since": "2026-01-01T00:00:00Z"}, {"since": "yesterday"}]
)
async def test_a_replay_says_one_thing(office: Office, which: dict[str, Any]) -> None:
    ada = await office.person()
    made = await ada.subscribe(HOOK)
    assert (await ada.client("POST", f"{ROOT}/{made['id']}/replay", json_body=which)).status == 422
