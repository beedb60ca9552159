"""Delivering: in order, at least once, never skipped, whatever receivers and workers do."""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.infra import receivers
from tests.infra.receivers import Behaviour, Receiver, Request, answering, receiving
from tests.webhooks import signing
from tests.webhooks.office import KEYS, ROOT, Office, Person

from echain.infra import outbound
from echain.infra.database import Tx
from echain.infra.outbound import Outbound, Rules
from echain.kernel.messages import SCHEMA
from echain.webhooks import deliverystore, spread
from echain.webhooks.courier import LEASE, Courier
from echain.webhooks.jobs import measure
from echain.webhooks.types import KEPT_DAYS


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(answering(200, body=b"ok")) as receiver:
        yield receiver


@pytest.fixture
async def ada(office: Office) -> Person:
    return await office.person()


def bodies(receiver: Receiver) -> list[Any]:
    return [json.loads(request.body) for request in receiver.requests]


def heard(receiver: Receiver) -> list[int]:
    """Return the numbers of the messages that came, in the order in which they came."""
    return [body["data"]["n"] for body in bodies(receiver)]


def signed_by(request: Request) -> list[tuple[str, str]]:
    """Return (name, digest) of every key that signed a request."""
    parts = request.headers["echain-signature"].split(",")
    names = [part[2:] for part in parts if part.startswith("k=")]
    return list(zip(names, [part[3:] for part in parts if part.startswith("v1=")], strict=True))


def digest_of(request: Request, secret: str) -> str:
    signed_at = request.headers["echain-signature"].split(",")[0].removeprefix("t=")
    message = f"{signed_at}.{request.headers['echain-delivery']}.".encode() + request.body
    return hmac.new(secret.encode(), message, sha256).hexdigest()


async def test_a_message_arrives_as_live_clients_get_it_and_signed(
    office: Office, ada: Person, receiver: Receiver
) -> None:
    made = await ada.subscribe(receiver.url)
    await office.tell([office.message(ada.channel, "ticket_sold", n=1, price="25000000000000000")])
    await office.deliver(made)
    (request,) = receiver.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    delivery = request.headers["echain-delivery"]
    assert json.loads(request.body) == {
        "delivery": delivery,
        "schema": SCHEMA,
        "id": "1",
        "type": "ticket_sold",
        "channel": ada.channel,
        "timestamp": int(office.clock().timestamp() * 1000),
        "data": {"n": 1, "price": "25000000000000000"},
    }
    ((name, digest),) = signed_by(request)
    assert name == made["keys"][0]["id"]
    assert digest == digest_of(request, made["secret"])
    assert request.headers["echain-signature"].startswith(f"t={office.unix},")
    (log,) = await ada.log(made)
    assert (log["id"], log["state"], log["tries"], log["status"], log["excerpt"]) == (
        delivery,
        "delivered",
        1,
        200,
        "ok",
    )
    one = (await ada.client("GET", f"{ROOT}/{made['id']}/deliveries/{delivery}")).data
    assert one["body"].encode() == request.body


async def test_who_hears_what_is_by_channel_type_and_settledness(office: Office, ada: Person) -> None:
    eve = await office.person()
    url = "http://127.0.0.1:9/"
    everything = await ada.subscribe(url)
    sales = await ada.subscribe(url, types=["ticket_sold"])
    settled = await ada.subscribe(url, settledOnly=True)
    foreign = await eve.subscribe(url)
    told = [
        office.message(ada.channel, "ticket_sold"),
        office.message(ada.channel, "event_updated"),
        office.message("event:00000000-0000-8000-8000-000000000000", "ticket_sold"),
        office.message(ada.channel, "reverted", ids=["1"]),
    ]
    await office.tell(told)
    await office.tell(told[:2] + told[3:], settled=True)

    async def types(subscription: dict[str, Any], person: Person = ada) -> list[str]:
        return [one["type"] for one in reversed(await person.log(subscription))]

    assert await types(everything) == ["ticket_sold", "event_updated", "reverted"]
    assert await types(sales) == ["ticket_sold", "reverted"]
    assert await types(settled) == ["ticket_sold", "event_updated"]
    assert await types(foreign, eve) == []


async def test_a_message_is_one_delivery_however_often_it_is_told(
    office: Office, ada: Person, receiver: Receiver
) -> None:
    made = await ada.subscribe(receiver.url)
    messages = [office.message(ada.channel) for _ in range(5)]
    await office.tell(messages)
    await asyncio.gather(*(office.tell(messages) for _ in range(5)))
    await office.deliver(made)
    assert heard(receiver) == [1, 2, 3, 4, 5]
    assert len({body["delivery"] for body in bodies(receiver)}) == 5


async def test_what_is_not_committed_is_not_delivered(office: Office, ada: Person) -> None:
    made = await ada.subscribe("http://127.0.0.1:9/")
    async with office.database.connection() as connection:
        relaying = connection.transaction()
        await relaying.start()
        await spread.handler(office.clock, settled=False)(connection, [office.message(ada.channel)])
        await relaying.rollback()
    assert await ada.log(made) == []
    assert await office.waiting_jobs("webhooks.deliver") == []


async def test_a_job_wakes_a_courier_once_however_many_messages_wait(office: Office, ada: Person) -> None:
    made = await ada.subscribe("http://127.0.0.1:9/")
    for _ in range(3):
        await office.tell([office.message(ada.channel) for _ in range(10)])
    assert await office.waiting_jobs("webhooks.deliver") == [{"subscription_id": made["id"]}]


# --- receivers that fail ---


async def test_a_receiver_down_for_an_hour_loses_nothing_and_keeps_its_order(
    office: Office, ada: Person
) -> None:
    async with receiving(answering(503)) as receiver:
        made = await ada.subscribe(receiver.url)
        down_until = office.clock() + timedelta(hours=1)
        for _ in range(60):
            await office.tell([office.message(ada.channel)])
            await office.work_until(made, office.clock() + timedelta(minutes=1))
        assert office.clock() >= down_until
        tries = len(receiver.requests)
        assert {body["data"]["n"] for body in bodies(receiver)} == {1}, "those behind the failing one wait"
        assert len({body["delivery"] for body in bodies(receiver)}) == 1, "each try is the same delivery"
        assert 8 <= tries <= 14, "the pauses grow"
        looked = await ada.look(made)
        assert (looked["enabled"], looked["pending"]) == (True, 60)
        assert looked["failingSince"] is not None
        receiver.requests.clear()
        receiver.behave = answering(200)
        await office.work_until(made, office.clock() + timedelta(hours=1))
        assert heard(receiver) == list(range(1, 61))
        looked = await ada.look(made)
        assert (looked["pending"], looked["failingSince"], looked["nextTryAt"]) == (0, None, None)


@pytest.mark.parametrize(
    ("behave", "status", "error"),
    [
        (answering(500, body=b"no luck"), 500, None),
        (answering(404), 404, None),
        (answering(302, "Location: http://127.0.0.1:9/"), 302, None),
        (answering(304), 304, None),
        (receivers.resetting, None, "the connection broke before an answer"),
        (receivers.babbling, None, "the answer is not HTTP"),
        (receivers.hanging, None, "no answer within 0 s"),
    ],
)
async def test_a_failed_try_is_told_and_tried_again_later(  # noqa: PLR0917 -- fixtures and parameters
    office: Office,
    ada: Person,
    behave: Behaviour,
    status: int | None,
    error: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.3)
    async with receiving(behave) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel)])
        await office.deliver(made)
        (log,) = await ada.log(made)
        assert (log["state"], log["tries"], log["status"], log["error"]) == ("pending", 1, status, error)
        looked = await ada.look(made)
        assert looked["nextTryAt"] > looked["failingSince"]
        await office.deliver(made)
        assert len(receiver.requests) == 1, "not before its time"
        receiver.behave = answering(204)
        await office.work_until(made, office.clock() + timedelta(minutes=1))
        (log,) = await ada.log(made)
        assert (log["state"], log["tries"], log["status"]) == ("delivered", 2, 204)


async def test_an_answer_that_floods_is_a_success_of_which_little_is_kept(
    office: Office, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "EXCERPT_SECONDS", 0.5)
    async with receiving(receivers.flooding) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel)])
        await office.deliver(made)
        (log,) = await ada.log(made)
        assert (log["state"], len(log["excerpt"])) == ("delivered", 1_024)


async def test_a_body_that_no_column_holds_is_kept_with_marks(office: Office, ada: Person) -> None:
    async with receiving(answering(200, body=b"\x00\xff\xfe ok")) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel)])
        await office.deliver(made)
        (log,) = await ada.log(made)
        assert (log["state"], log["excerpt"]) == ("delivered", "\ufffd\ufffd\ufffd ok")


async def test_a_receiver_that_asks_for_time_gets_it(office: Office, ada: Person) -> None:
    async with receiving(answering(429, "Retry-After: 1800")) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel)])
        began = office.clock()
        await office.work_until(made, began + timedelta(seconds=1799))
        assert len(receiver.requests) == 1
        await office.work_until(made, began + timedelta(seconds=1801))
        assert len(receiver.requests) == 2


async def test_a_receiver_that_is_gone_is_disabled_at_once_and_its_owner_told(
    office: Office, ada: Person
) -> None:
    async with receiving(answering(410)) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel)])
        await office.deliver(made)
        looked = await ada.look(made)
        assert (looked["enabled"], looked["disabledReason"]) == (False, "the receiver answered 410 Gone")
        rows = await office.database.fetch("SELECT channels, type, data FROM outbox")
        ((channels, kind, data),) = [tuple(row) for row in rows]
        assert (channels, kind) == (f"user:{ada.channel.removeprefix('organizer:')}", "notification")
        told = json.loads(data)
        assert (told["kind"], told["about"]) == ("security", "webhook_disabled")
        assert "127.0.0.1 was disabled: the receiver answered 410 Gone" in told["text"]


async def test_after_three_days_of_failure_it_is_disabled_and_goes_on_where_it_stopped(
    office: Office, ada: Person
) -> None:
    async with receiving(answering(500)) as receiver:
        made = await ada.subscribe(receiver.url)
        began = office.clock()
        await office.tell([office.message(ada.channel) for _ in range(3)])
        tries = await office.work_until(made, began + timedelta(days=5))
        stopped = (await ada.log(made))[-1]["triedAt"]
        assert "2026-01-05T03:04:05Z" <= stopped <= "2026-01-05T04:30:00Z"
        assert 70 <= tries <= 110
        assert await office.database.fetchval("SELECT count(*) FROM outbox") == 1
        looked = await ada.look(made)
        assert (looked["enabled"], looked["pending"]) == (False, 3)
        await office.tell([office.message(ada.channel)])
        receiver.requests.clear()
        receiver.behave = answering(200)
        await office.deliver(made)
        assert receiver.requests == [], "nothing is posted while it is disabled"
        enabled = {"url": receiver.url, "enabled": True}
        assert (await ada.client("PUT", f"{ROOT}/{made['id']}", json_body=enabled)).status == 200
        assert await office.waiting_jobs("webhooks.deliver")
        await office.deliver(made)
        assert heard(receiver) == [1, 2, 3, 4]


async def test_a_failing_receiver_costs_nobody_else_anything(
    office: Office, ada: Person, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 1.0)
    async with receiving(receivers.hanging) as bad:
        stuck, fine = await ada.subscribe(bad.url), await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel) for _ in range(5)])
        hanging = asyncio.create_task(office.deliver(stuck))
        await office.deliver(fine)
        assert (heard(receiver), hanging.done()) == ([1, 2, 3, 4, 5], False)
        await hanging


async def test_a_slow_receiver_gives_its_place_up_after_each_answer(office: Office, ada: Person) -> None:
    async def slow(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1.05)
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n")

    async with receiving(slow) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel) for _ in range(3)])
        await office.deliver(made)
        assert heard(receiver) == [1]
        assert await office.waiting_jobs("webhooks.deliver") == [{"subscription_id": made["id"]}]
        await office.deliver(made)
        assert heard(receiver) == [1, 2]


# --- workers that race and die ---


async def test_many_couriers_at_once_post_each_delivery_once_and_in_order(
    office: Office, ada: Person, receiver: Receiver
) -> None:
    made = await ada.subscribe(receiver.url)
    couriers = [office.another_courier() for _ in range(8)]

    async def tell() -> None:
        for _ in range(20):
            await office.tell([office.message(ada.channel) for _ in range(3)])
            await asyncio.gather(*(office.deliver(made, courier) for courier in couriers))

    await tell()
    assert heard(receiver) == list(range(1, 61))


async def test_a_delivery_added_while_a_courier_ends_is_never_left_lying(
    office: Office, ada: Person, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who adds it right before the last look is turned away by the one that ends, which then takes it."""
    made = await ada.subscribe(receiver.url)
    look = deliverystore.give_back_if_done
    added = 0

    async def late_look(tx: Tx, subscription_id: UUID, lease: UUID) -> bool:
        nonlocal added
        if added < 3:
            added += 1
            await office.tell([office.message(ada.channel)])
            await office.deliver(made, office.another_courier())
        return await look(tx, subscription_id, lease)

    monkeypatch.setattr(deliverystore, "give_back_if_done", late_look)
    await office.deliver(made)
    assert heard(receiver) == [1, 2, 3]


async def test_deliveries_added_all_the_time_are_all_taken(
    office: Office, ada: Person, receiver: Receiver
) -> None:
    made = await ada.subscribe(receiver.url)

    async def add_and_wake() -> None:
        await office.tell([office.message(ada.channel)])
        await office.deliver(made, office.another_courier())

    for _ in range(25):
        await asyncio.gather(*(add_and_wake() for _ in range(4)))
        assert await office.database.fetchval("SELECT count(*) FROM webhook_deliveries WHERE pending") == 0
    assert len(receiver.requests) == 100


WORKER = """
import asyncio, sys
from uuid import UUID
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.metrics import Metrics
from echain.infra.outbound import Outbound, Rules
from echain.infra.secret import Secret
from echain.kernel.time import utc_now
from echain.webhooks.courier import Courier
from echain.webhooks.measures import Measures

async def main(url, subscription):
    database = await Database.connect(url, size=2, name="worker")
    outbound = Outbound(Rules(http=True, private=True), user_agent="worker")
    courier = Courier(database, DataKeys([Secret("ab" * 32)]), outbound, utc_now, Measures(Metrics()))
    await courier.deliver(UUID(subscription))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_worker_killed_mid_delivery_is_followed_by_one_that_posts_the_same_again(
    office: Office, ada: Person, office_url: str
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def pausing(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(receiver.requests) == 3:
            reached.set()
            await go_on.wait()
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n")

    async with receiving(pausing) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel) for _ in range(5)])
        worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, office_url, made["id"])
        try:
            async with asyncio.timeout(20):
                await reached.wait()
        finally:
            worker.kill()
            await worker.wait()
        go_on.set()
        await office.deliver(made)
        assert len(receiver.requests) == 3, "the dead worker's right still holds"
        # The worker went by the real time.
        await office.database.execute(
            "UPDATE webhook_subscriptions SET leased_until = $1", office.clock() + LEASE
        )
        office.clock.now += LEASE
        await office.sweep()
        assert {"subscription_id": made["id"]} in await office.waiting_jobs("webhooks.deliver")
        await office.deliver(made)
        assert heard(receiver) == [1, 2, 3, 3, 4, 5]
        first, second = [one for one in receiver.requests if json.loads(one.body)["data"]["n"] == 3]
        assert first.body == second.body
        assert first.headers["echain-delivery"] == second.headers["echain-delivery"]


async def test_a_worker_that_stops_hands_over_at_once(office: Office, ada: Person) -> None:
    async with receiving(receivers.hanging) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel)])
        working = asyncio.create_task(office.deliver(made))
        while not receiver.requests:
            await asyncio.sleep(0.01)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        receiver.behave = answering(200)
        await office.deliver(made)
        assert heard(receiver) == [1, 1]
        assert (await ada.look(made))["pending"] == 0


async def test_a_courier_that_froze_past_its_lease_undoes_nothing(office: Office, ada: Person) -> None:
    """It posts and freezes, another posts the same and goes on; when it wakes its word is void."""
    go_on = asyncio.Event()

    async def first_waits(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(receiver.requests) == 1:
            await go_on.wait()
            writer.write(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n")

    async with receiving(first_waits) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel) for _ in range(3)])
        frozen = asyncio.create_task(office.deliver(made))
        while not receiver.requests:
            await asyncio.sleep(0.01)
        office.clock.now += LEASE
        await office.deliver(made, office.another_courier())
        assert heard(receiver) == [1, 1, 2, 3]
        go_on.set()
        await frozen
        looked = await ada.look(made)
        assert (looked["pending"], looked["failingSince"], looked["nextTryAt"]) == (0, None, None)
        assert {one["state"] for one in await ada.log(made)} == {"delivered"}


# --- secrets, replays, the log ---


async def test_while_a_secret_is_replaced_both_sign(office: Office, ada: Person, receiver: Receiver) -> None:
    made = await ada.subscribe(receiver.url)
    answer = await ada.client("POST", f"{ROOT}/{made['id']}/rotate", json_body={"graceSeconds": 3600})
    rotated = answer.data
    assert rotated["secret"] != made["secret"]
    assert [key["expiresAt"] is None for key in rotated["keys"]] == [True, False]
    for passed, secrets in ((0, [rotated["secret"], made["secret"]]), (3601, [rotated["secret"]])):
        office.clock.pass_by(seconds=passed)
        await office.tell([office.message(ada.channel)])
        await office.deliver(made)
        request = receiver.requests[-1]
        assert [digest for _, digest in signed_by(request)] == [digest_of(request, one) for one in secrets]
    assert len((await ada.look(made))["keys"]) == 1


async def test_a_secret_that_leaked_stops_at_once(office: Office, ada: Person, receiver: Receiver) -> None:
    made = await ada.subscribe(receiver.url)
    rotated = (await ada.client("POST", f"{ROOT}/{made['id']}/rotate", json_body={"graceSeconds": 0})).data
    await office.tell([office.message(ada.channel)])
    await office.deliver(made)
    ((_, digest),) = signed_by(receiver.requests[0])
    assert digest == digest_of(receiver.requests[0], rotated["secret"])


async def test_a_ping_comes_behind_what_waits_already(
    office: Office, ada: Person, receiver: Receiver
) -> None:
    made = await ada.subscribe(receiver.url)
    await office.tell([office.message(ada.channel)])
    answer = await ada.client("POST", f"{ROOT}/{made['id']}/ping")
    assert (answer.status, answer.data["state"], answer.data["type"]) == (202, "pending", "ping")
    await office.deliver(made)
    assert [(body["type"], body["id"]) for body in bodies(receiver)] == [("ticket_sold", "1"), ("ping", None)]
    assert bodies(receiver)[1]["delivery"] == answer.data["id"]


async def test_a_replay_posts_the_same_deliveries_again_in_order(
    office: Office, ada: Person, receiver: Receiver
) -> None:
    made = await ada.subscribe(receiver.url)
    for _ in range(5):
        await office.tell([office.message(ada.channel)])
        office.clock.pass_by(minutes=1)
    await office.deliver(made)
    log = list(reversed(await ada.log(made)))
    first = {body["delivery"]: body for body in bodies(receiver)}

    async def replay(expected: list[int], **which: str) -> None:
        receiver.requests.clear()
        answer = await ada.client("POST", f"{ROOT}/{made['id']}/replay", json_body=which)
        assert (answer.status, answer.data) == (202, {"count": len(expected)})
        await office.deliver(made)
        assert heard(receiver) == expected
        assert all(first[body["delivery"]] == body for body in bodies(receiver))

    await replay([2], deliveryId=log[1]["id"])
    await replay([3, 4, 5], sinceId=log[2]["id"])
    await replay([4, 5], since=log[3]["createdAt"])
    await replay([], since="2027-01-01T00:00:00Z")


async def test_a_delivery_that_no_one_can_read_may_be_skipped_and_replayed_later(
    office: Office, ada: Person
) -> None:
    async def picky(request: Request, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = 400 if json.loads(request.body)["data"]["n"] == 1 else 200
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())

    async with receiving(picky) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel) for _ in range(3)])
        await office.deliver(made)
        assert heard(receiver) == [1]
        poison = (await ada.log(made))[-1]
        path = f"{ROOT}/{made['id']}/deliveries/{poison['id']}"
        for _ in range(2):
            answer = await ada.client("POST", f"{path}/skip")
            assert (answer.status, answer.data["state"]) == (200, "skipped")
        await office.deliver(made)
        assert heard(receiver) == [1, 2, 3]
        assert [one["state"] for one in await ada.log(made)] == ["delivered", "delivered", "skipped"]
        assert [one["id"] for one in await ada.log(made, "?state=skipped")] == [poison["id"]]
        receiver.behave = answering(200)
        replay = f"{ROOT}/{made['id']}/replay"
        answer = await ada.client("POST", replay, json_body={"sinceId": poison["id"]})
        assert answer.data == {"count": 2}, "what was skipped is not dragged along"
        await office.deliver(made)
        receiver.requests.clear()
        await ada.client("POST", replay, json_body={"deliveryId": poison["id"]})
        await office.deliver(made)
        assert heard(receiver) == [1]
        assert (await ada.client("POST", f"{path}/skip")).data["state"] == "delivered"
        assert (await ada.client("POST", f"{ROOT}/{made['id']}/deliveries/{uuid4()}/skip")).status == 404


@pytest.mark.parametrize("more", [0, 1])
async def test_a_receiver_whose_failed_delivery_was_skipped_begins_anew(
    office: Office, ada: Person, more: int
) -> None:
    async with receiving(answering(500)) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel) for _ in range(1 + more)])
        await office.deliver(made)
        path = f"{ROOT}/{made['id']}/deliveries"
        poison = (await ada.log(made))[-1]
        await ada.client("POST", f"{path}/{poison['id']}/skip")
        looked = await ada.look(made)
        assert (looked["pending"], looked["failingSince"]) == (more, None)
        assert await deliverystore.waiting(office.database) == ((office.clock() if more else None), 0)
        office.clock.pass_by(days=4)
        await office.tell([office.message(ada.channel)])
        await office.deliver(made)
        looked = await ada.look(made)
        assert (looked["enabled"], looked["disabledReason"]) == (True, None), "one failure disables nobody"
        # What is over already says nothing of the receiver.
        await ada.client("POST", f"{path}/{poison['id']}/skip")
        assert (await ada.look(made))["failingSince"] is not None


async def test_a_receiver_for_which_nothing_waits_is_not_failing(office: Office, ada: Person) -> None:
    async with receiving(answering(500)) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel)])
        await office.deliver(made)
        # As when it was forgotten for its age.
        await office.database.execute("DELETE FROM webhook_deliveries")
        office.clock.pass_by(days=1)
        await office.deliver(made)
        looked = await ada.look(made)
        assert (looked["pending"], looked["failingSince"], looked["nextTryAt"]) == (0, None, None)
        assert await deliverystore.waiting(office.database) == (None, 0)


async def test_a_delivery_that_is_skipped_while_it_is_tried_holds_up_nothing(
    office: Office, ada: Person
) -> None:
    go_on = asyncio.Event()

    async def waiting(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")

    async with receiving(waiting) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel) for _ in range(2)])
        trying = asyncio.create_task(office.deliver(made))
        while not receiver.requests:
            await asyncio.sleep(0.01)
        office.clock.pass_by(seconds=1)
        first = (await ada.log(made))[-1]
        await ada.client("POST", f"{ROOT}/{made['id']}/deliveries/{first['id']}/skip")
        go_on.set()
        await trying
        receiver.behave = answering(200)
        await office.deliver(made)
        assert heard(receiver) == [1, 2]
        assert [one["state"] for one in await ada.log(made)] == ["delivered", "skipped"]


async def test_the_log_is_paged_and_filtered(office: Office, ada: Person, receiver: Receiver) -> None:
    made = await ada.subscribe(receiver.url)
    await office.tell([office.message(ada.channel) for _ in range(5)])
    await office.deliver(made)
    await office.tell([office.message(ada.channel) for _ in range(2)])
    path = f"{ROOT}/{made['id']}/deliveries"
    page = await ada.client("GET", f"{path}?limit=4")
    following = page.json["meta"]["page"]["nextCursor"]
    rest = await ada.client("GET", f"{path}?limit=4&cursor={following}")
    assert [one["messageId"] for one in page.data + rest.data] == [str(n) for n in range(7, 0, -1)]
    assert "nextCursor" not in rest.json["meta"]["page"]
    assert [one["messageId"] for one in await ada.log(made, "?state=pending")] == ["7", "6"]
    assert len(await ada.log(made, "?state=delivered")) == 5


async def test_a_new_url_holds_for_what_waits_already_and_at_once(
    office: Office, ada: Person, receiver: Receiver
) -> None:
    async with receiving(answering(500)) as broken:
        made = await ada.subscribe(broken.url)
        await office.tell([office.message(ada.channel)])
        await office.deliver(made)
    await ada.client("PUT", f"{ROOT}/{made['id']}", json_body={"url": receiver.url})
    await office.deliver(made)
    assert heard(receiver) == [1]


async def test_a_receiver_that_was_replaced_meanwhile_is_not_judged_by_the_old_one(
    office: Office, ada: Person, receiver: Receiver
) -> None:
    go_on = asyncio.Event()

    async def gone(_: Request, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(b"HTTP/1.1 410 X\r\nContent-Length: 0\r\n\r\n")

    async with receiving(gone) as old:
        made = await ada.subscribe(old.url)
        await office.tell([office.message(ada.channel)])
        trying = asyncio.create_task(office.deliver(made))
        while not old.requests:
            await asyncio.sleep(0.01)
        office.clock.pass_by(seconds=1)
        await ada.client("PUT", f"{ROOT}/{made['id']}", json_body={"url": receiver.url})
        go_on.set()
        await trying
    looked = await ada.look(made)
    assert (looked["enabled"], looked["nextTryAt"]) == (True, None)
    assert {"subscription_id": made["id"]} in await office.waiting_jobs("webhooks.deliver")
    await office.deliver(made)
    assert heard(receiver) == [1]


async def test_a_receiver_that_moves_inside_is_never_posted_to(office: Office, ada: Person) -> None:
    """What was public when it was subscribed is checked again by each try."""
    async with receiving(answering(200)) as receiver:
        made = await ada.subscribe(receiver.url)
        await office.tell([office.message(ada.channel)])
        async with Outbound(Rules(http=True), user_agent="x") as strict:
            await Courier(office.database, KEYS, strict, office.clock, office.measures).deliver(
                UUID(made["id"])
            )
        assert receiver.connections == 0
        (log,) = await ada.log(made)
        assert (log["state"], log["status"], log["tries"]) == ("pending", None, 1)
        assert "port" in log["error"]


async def test_deliveries_are_forgotten_after_their_time(
    office: Office, ada: Person, receiver: Receiver
) -> None:
    made = await ada.subscribe(receiver.url)
    await office.tell([office.message(ada.channel)])
    await office.deliver(made)
    office.clock.pass_by(days=KEPT_DAYS, seconds=-1)
    await office.tell([office.message(ada.channel)])
    await office.sweep()
    assert len(await ada.log(made)) == 2
    office.clock.pass_by(seconds=2)
    await office.sweep()
    assert [one["messageId"] for one in await ada.log(made)] == ["2"]


async def test_what_came_of_tries_is_counted(office: Office, ada: Person, receiver: Receiver) -> None:
    made = await ada.subscribe(receiver.url)
    await office.tell([office.message(ada.channel)])
    await office.deliver(made)
    receiver.behave = answering(500)
    await office.tell([office.message(ada.channel)])
    await office.deliver(made)
    event = signing.charge_event("charge:created")
    await office.send(event, signing.commerce(event))
    office.clock.pass_by(seconds=60)
    await measure(office.database, office.measures, office.clock)
    page = office.metrics.render().decode()
    for line in (
        'echain_webhook_deliveries_total{outcome="delivered"} 1.0',
        'echain_webhook_deliveries_total{outcome="refused"} 1.0',
        "echain_webhook_oldest_pending_seconds 60.0",
        "echain_webhook_oldest_unprocessed_seconds 60.0",
        "echain_webhook_failing_subscriptions 1.0",
    ):
        assert line in page
