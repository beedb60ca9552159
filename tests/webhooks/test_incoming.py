"""POST /webhooks/coinbase: each way to get it wrong has an answer of its own, and each event one effect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.edge.http_client import Client
from tests.edge.serving import served
from tests.edge.test_http_server import head, read_answer
from tests.webhooks import signing
from tests.webhooks.office import SECRETS, Office

from echain.edge.http.limits import Allowance, Limits
from echain.infra.quota import Quotas
from echain.webhooks.coinbase import Secrets

HINT = json.dumps({"network": "base-sepolia", "block_number": 7, "log_index": 0}).encode()


def refused(answer: Any) -> tuple[int, str]:
    return answer.status, answer.error["code"]


async def test_a_signed_event_is_kept_and_worked_on_later(office: Office) -> None:
    answer = await office.send(HINT, signing.cdp(HINT, office.unix, event_id="event-1"))
    assert (answer.status, answer.data) == (200, {"duplicate": False})
    (row,) = await office.inbox()
    assert (row["source"], row["source_id"], row["type"], row["body"], row["outcome"]) == (
        *("coinbase_cdp", "event-1", "onchain.activity.detected"),
        *(HINT, None),
    )
    assert await office.waiting_jobs("webhooks.received") == [{"inbox_id": str(row["id"])}]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: {}, (403, "webhooks.signature_missing")),
        (lambda _: {"x-cc-webhook-signature": "0" * 64}, (403, "webhooks.signature_wrong")),
        (lambda _: {"x-cc-webhook-signature": "nonsense"}, (403, "webhooks.signature_malformed")),
        (
            lambda office: signing.cdp(HINT, office.unix) | signing.commerce(HINT),
            (403, "webhooks.signature_ambiguous"),
        ),
        (lambda office: signing.cdp(HINT + b" ", office.unix), (403, "webhooks.signature_wrong")),
        (lambda office: signing.cdp(HINT, office.unix, secret="other"), (403, "webhooks.signature_wrong")),
        (lambda office: signing.cdp(HINT, office.unix - 301), (403, "webhooks.signature_too_old")),
        (lambda office: signing.cdp(HINT, office.unix + 301), (403, "webhooks.signature_from_future")),
    ],
)
async def test_what_nobody_we_know_signed_now_is_refused_and_leaves_nothing(
    office: Office, change: Callable[[Office], dict[str, str]], expected: tuple[int, str]
) -> None:
    assert refused(await office.send(HINT, change(office))) == expected
    assert await office.inbox() == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (422, "webhooks.not_json")),
        (b"{", (422, "webhooks.not_json")),
        (b"\xff\xfe", (422, "webhooks.not_json")),
        (b"[" * 100_000, (422, "webhooks.not_json")),
        (b"[]", (422, "webhooks.wrong_shape")),
        (b"null", (422, "webhooks.wrong_shape")),
        (b"{}", (422, "webhooks.wrong_shape")),
        (b'{"network":7,"block_number":1,"log_index":0}', (422, "webhooks.wrong_shape")),
        (b'{"network":"base-sepolia","block_number":-1,"log_index":0}', (422, "webhooks.wrong_shape")),
        (b'{"network":"base-sepolia","block_number":1,"log_index":true}', (422, "webhooks.wrong_shape")),
        (
            b'{"network":"base-sepolia","transaction_hash":"0x12","log_index":0}',
            (422, "webhooks.wrong_shape"),
        ),
        (
            b'{"network":"base-sepolia","block_number":1,"log_index":99999999999}',
            (422, "webhooks.wrong_shape"),
        ),
        (b'{"network":"base-sepolia","block_number":1.5,"log_index":0}', (422, "webhooks.wrong_shape")),
        (b'{"network":"base-sepolia","block_number":1e400,"log_index":0}', (422, "webhooks.not_json")),
    ],
)
async def test_what_is_signed_and_unreadable_is_refused_with_its_own_reason(
    office: Office, body: bytes, expected: tuple[int, str]
) -> None:
    assert refused(await office.send(body, signing.cdp(body, office.unix))) == expected
    assert await office.inbox() == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"event":7}',
        b'{"event":{}}',
        b'{"event":{"id":"a","type":"charge:created"}}',
        b'{"event":{"id":"a","type":"charge:created","data":{}}}',
        b'{"event":{"id":"","type":"charge:created","data":{"id":"c"}}}',
        signing.charge_event("charge:created", pricing={"local": {"amount": "NaN", "currency": "EUR"}}),
        signing.charge_event("charge:created", "c" * 500),
        signing.charge_event("charge:created", event_id="e" * 500),
        signing.charge_event("charge:created", metadata={"a": "\x00"}),
    ],
)
async def test_a_charge_of_the_wrong_shape_is_refused(office: Office, body: bytes) -> None:
    assert refused(await office.send(body, signing.commerce(body))) == (422, "webhooks.wrong_shape")


async def test_an_event_of_an_unknown_type_is_kept_acknowledged_and_ignored(office: Office) -> None:
    body = b'{"anything": [1, 2, 3]}'
    answer = await office.send(body, signing.cdp(body, office.unix, event_type="onramp.transaction.updated"))
    assert answer.status == 200
    (row,) = await office.inbox()
    assert (row["outcome"], row["body"]) == ("ignored", body)
    assert await office.waiting_jobs("webhooks.received") == []


async def test_a_replayed_event_is_acknowledged_and_changes_nothing(office: Office) -> None:
    headers = signing.cdp(HINT, office.unix)
    answers = [await office.send(HINT, headers) for _ in range(3)]
    assert [(answer.status, answer.data["duplicate"]) for answer in answers] == [
        *((200, False), (200, True), (200, True))
    ]
    again = signing.cdp(HINT, office.unix + 10, event_id=headers["x-event-id"])
    assert (await office.send(HINT, again)).data == {"duplicate": True}
    assert (len(await office.inbox()), len(await office.waiting_jobs("webhooks.received"))) == (1, 1)


async def test_the_same_event_fifty_times_at_once_is_one_row_and_one_job(office: Office) -> None:
    body = signing.charge_event("charge:confirmed")
    answers = await asyncio.gather(*(office.send(body, signing.commerce(body)) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert sorted(answer.data["duplicate"] for answer in answers) == [False] + [True] * 49
    assert (len(await office.inbox()), len(await office.waiting_jobs("webhooks.received"))) == (1, 1)


async def test_the_same_id_of_two_sources_is_two_events(office: Office) -> None:
    body = signing.charge_event("charge:created", event_id="same")
    await office.send(body, signing.commerce(body))
    await office.send(HINT, signing.cdp(HINT, office.unix, event_id="same"))
    assert len(await office.inbox()) == 2


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_what_the_body_is_called_does_not_matter_to_commerce(office: Office, content_type: str) -> None:
    body = signing.charge_event("charge:created")
    assert (await office.send(body, {"content-type": content_type, **signing.commerce(body)})).status == 200


async def test_without_a_secret_nothing_is_believed_and_the_sender_may_try_again(office: Office) -> None:
    client = Client(office.application(Secrets()))
    body = signing.charge_event("charge:created")
    for headers in (signing.commerce(body), signing.cdp(HINT, office.unix)):
        answer = await client("POST", "/webhooks/coinbase", body=body, headers=headers)
        assert refused(answer) == (503, "webhooks.not_configured")
        assert answer.header("retry-after") is not None
    assert await office.inbox() == []


async def test_over_a_real_server_a_huge_body_is_refused_before_it_comes(office: Office) -> None:
    with served(office.application(SECRETS)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(head("POST", "/webhooks/coinbase", "Content-Length: 10485760", "X-Hook0-Signature: t=1"))
        status, _, answer = await read_answer(reader)
        assert (status, json.loads(answer)["error"]["code"]) == (413, "request.too_large")
        writer.close()


async def test_a_body_cut_short_on_its_way_is_refused_as_that(office: Office) -> None:
    headers = signing.cdp(HINT, office.unix) | {"content-length": str(len(HINT) + 5)}
    assert refused(await office.send(HINT, headers)) == (400, "request.truncated")


async def test_coinbase_may_tell_us_as_often_as_it_likes(office: Office) -> None:
    """All its webhooks come from few addresses, and turning one away only makes it come again."""
    limits = Limits(Quotas(None), Allowance(anonymous_writes=2), metrics=office.metrics)
    client = Client(office.application(SECRETS, limits=limits))
    for number in range(6):
        body = signing.charge_event("charge:created", f"charge-{number}")
        assert (
            await client("POST", "/webhooks/coinbase", body=body, headers=signing.commerce(body))
        ).status == 200


async def test_every_outcome_is_counted(office: Office) -> None:
    headers = signing.cdp(HINT, office.unix)
    await office.send(HINT, headers)
    await office.send(HINT, headers)
    await office.send(HINT, {})
    page = office.metrics.render().decode()
    for source, outcome in (
        ("coinbase_cdp", "taken"),
        ("coinbase_cdp", "duplicate"),
        ("unsigned", "webhooks.signature_missing"),
    ):
        counted = f'echain_webhooks_received_total{{outcome="{outcome}",source="{source}"}} 1.0'
        assert counted in page, page
    assert 'echain_webhook_ack_seconds_count{source="coinbase_cdp"} 2.0' in page
