"""Idempotency-Key: sent again, a POST has its effect once and the first answer, whatever crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from tests.edge.example import NOW, USER, example
from tests.edge.http_client import Answered, Client

from echain.edge.http import Auth, Call, Endpoint, Nothing, Reply, StoredIdempotency, post
from echain.edge.http.idempotency import (
    CLAIM_TERM,
    KEPT_TERM,
    AnswerLost,
    Claim,
    ClaimLost,
    InProgress,
    Kept,
    KeyReused,
    request_hash,
)
from echain.infra.database import Database
from echain.kernel.errors import EchainError, Kind

HASH = request_hash("POST", b"/x", b"", b"{}")
OTHER_HASH = request_hash("POST", b"/x", b"", b"{ }")
KEPT = Kept(201, ((b"content-type", b"application/json"),), b'{"data":1}')


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class Full(EchainError):
    """No seat is left."""

    kind = Kind.CONFLICT
    code = "example.full"


class Away(EchainError):
    """Come back later."""

    kind = Kind.UNAVAILABLE
    code = "example.away"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


Effect = Callable[[Call[Nothing, Nothing, Order]], Awaitable[object]]


class Shop:
    """An application with one idempotent POST whose every effect is a row, and whose client keeps one key."""

    def __init__(self, database: Database, *, after: Effect | None = None, bound: bool = True) -> None:
        self.database = database
        self.clock = Clock()
        self.after = after
        self.bound = bound
        self.client = self.another_process()

    def another_process(self) -> Client:
        app = example([self._endpoint()], idempotency=StoredIdempotency(self.database), clock=self.clock)
        return Client(app, {"authorization": "Bearer user"})

    def _endpoint(self) -> Endpoint:
        @post(
            "/orders",
            summary="",
            tag="t",
            answer=str,
            body=Order,
            status=201,
            auth=Auth.USER,
            idempotent=True,
        )
        async def order(call: Call[Nothing, Nothing, Order]) -> object:
            async with self.database.transaction() as tx:
                if self.bound:
                    await call.once(tx)
                await tx.execute("INSERT INTO effects (name) VALUES ($1)", call.body.name)
            return await self.after(call) if self.after else call.body.name

        return order

    async def order(self, name: str = "a", key: str = "key-1", **headers: str) -> Answered:
        given = {"idempotency-key": key, **headers}
        return await self.client("POST", "/orders", json_body={"name": name}, headers=given)

    async def effects(self) -> int:
        return await self.database.fetchval("SELECT count(*) FROM effects")


@pytest.fixture
async def database(database: Database) -> Database:
    await database.execute("CREATE TABLE effects (name TEXT NOT NULL)")
    return database


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


async def test_a_repeated_request_gets_the_first_answer_byte_for_byte(shop: Shop):
    first = await shop.order(**{"x-request-id": "first"})
    shop.clock.now += timedelta(hours=23)
    again = await shop.order(**{"x-request-id": "again"})
    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    assert again.header("content-type") == "application/json"
    assert (first.header("idempotency-replayed"), again.header("idempotency-replayed")) == (None, "true")
    assert again.header("x-request-id") == "again"
    assert await shop.effects() == 1


async def test_without_a_key_each_request_has_its_effect(shop: Shop):
    for _ in range(2):
        assert (await shop.client("POST", "/orders", json_body={"name": "a"})).status == 201
    assert await shop.effects() == 2


async def test_the_same_key_with_another_body_is_refused(shop: Shop):
    await shop.order("a")
    answer = await shop.order("b")
    assert (answer.status, answer.error["code"]) == (409, "idempotency.key_reused")
    assert await shop.effects() == 1


async def test_the_same_key_at_another_address_is_another_request(shop: Shop):
    await shop.order("a")
    given = {"idempotency-key": "key-1"}
    answer = await shop.client("POST", "/orders?", json_body={"name": "a"}, headers=given)
    assert answer.status == 201
    answer = await shop.client("POST", "/api/v1/things", json_body={"name": "a"}, headers=given)
    assert answer.status == 422
    assert await shop.effects() == 1


async def test_keys_belong_to_their_caller(shop: Shop):
    claimed = await StoredIdempotency(shop.database).claim("user:someone-else", "key-1", OTHER_HASH, NOW)
    assert not isinstance(claimed, Kept)
    assert (await shop.order()).status == 201
    assert await shop.database.fetchval("SELECT count(*) FROM idempotency_keys") == 2
    assert await shop.database.fetchval(
        "SELECT count(*) FROM idempotency_keys WHERE caller = $1", f"user:{USER.id}"
    )


async def test_after_a_day_the_key_is_free(shop: Shop):
    await shop.order("a")
    shop.clock.now += KEPT_TERM
    assert (await shop.order("b")).data == "b"
    assert await shop.effects() == 2


@pytest.mark.parametrize("key", ["", " ", "two words", "a" * 256, "grüß", "tab\t"])
async def test_a_key_that_is_none_is_refused(shop: Shop, key: str):
    answer = await shop.order(key=key)
    assert (answer.status, list(answer.fields)) == (422, ["Idempotency-Key"])
    assert await shop.effects() == 0


async def test_a_request_that_is_wrong_claims_nothing(shop: Shop):
    answer = await shop.client("POST", "/orders", json_body={}, headers={"idempotency-key": "key-1"})
    assert answer.status == 422
    assert (await shop.order()).status == 201


async def test_fifty_parallel_requests_have_one_effect_in_two_processes(shop: Shop):
    clients = [shop.client, shop.another_process()]
    for round_number in range(5):
        key = {"idempotency-key": f"round-{round_number}"}
        answers = await asyncio.gather(
            *(clients[n % 2]("POST", "/orders", json_body={"name": "a"}, headers=key) for n in range(50))
        )
        assert await shop.effects() == round_number + 1
        made = [answer for answer in answers if answer.status == 201]
        assert made
        assert len({answer.body for answer in made}) == 1
        assert {answer.error["code"] for answer in answers if answer.status != 201} <= {
            "idempotency.in_progress"
        }
        again = await shop.client("POST", "/orders", json_body={"name": "a"}, headers=key)
        assert again.body == made[0].body


async def test_while_the_first_is_at_work_the_second_is_told_so(database: Database):
    entered, leave = asyncio.Event(), asyncio.Event()

    async def wait(call: Call[Nothing, Nothing, Order]) -> str:
        entered.set()
        await leave.wait()
        return call.body.name

    shop = Shop(database, after=wait)
    first = asyncio.create_task(shop.order())
    await entered.wait()
    second = await shop.order()
    assert (second.status, second.error["code"]) == (409, "idempotency.in_progress")
    leave.set()
    assert (await first).status == 201
    assert (await shop.order()).body == (await first).body


async def test_a_refusal_is_an_answer_and_kept(database: Database):
    async def refuse(_call: Call[Nothing, Nothing, Order]) -> str:
        raise Full(seats=0)

    shop = Shop(database, after=refuse)
    first, again = await shop.order(), await shop.order()
    assert first.status == 409
    assert again.body == first.body
    assert await shop.effects() == 1


@pytest.mark.parametrize("error", [Away(), RuntimeError("bug")])
async def test_a_failure_of_ours_is_not_kept(database: Database, error: Exception):
    failures = [error]

    async def fail_once(call: Call[Nothing, Nothing, Order]) -> str:
        if failures:
            raise failures.pop()
        return call.body.name

    shop = Shop(database, after=fail_once, bound=False)
    assert (await shop.order()).status in {500, 503}
    assert (await shop.order()).status == 201


async def test_cookies_are_not_replayed(database: Database):
    from echain.edge.http import Cookie

    async def with_cookie(_call: Call[Nothing, Nothing, Order]) -> Reply:
        return Reply("x", headers=(("Location", "/x"),), cookies=(Cookie("secret", "s"),))

    shop = Shop(database, after=with_cookie)
    first, again = await shop.order(), await shop.order()
    assert first.header("set-cookie")
    assert again.header("set-cookie") is None
    assert again.header("location") == "/x"


async def cancelled_midway(shop: Shop, key: str = "key-1") -> None:
    """Send a request and kill its task inside the handler, after the effect committed."""
    entered = asyncio.Event()

    async def hang(_call: Call[Nothing, Nothing, Order]) -> Any:
        entered.set()
        await asyncio.Event().wait()

    shop.after = hang
    task = asyncio.create_task(shop.order(key=key))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    shop.after = None


async def test_a_request_cut_off_after_its_effect_is_not_repeated(shop: Shop):
    await cancelled_midway(shop)
    for hours in (0, 1, 23):
        shop.clock.now = NOW + timedelta(hours=hours)
        answer = await shop.order()
        assert answer.status == 409
        assert answer.error["code"] == ("idempotency.answer_lost" if hours else "idempotency.in_progress")
    assert await shop.effects() == 1


async def test_without_binding_a_request_that_was_cut_off_frees_its_key(database: Database):
    shop = Shop(database, bound=False)
    await cancelled_midway(shop)
    assert (await shop.order()).status == 201


class TestClaims:
    """The store by itself, as a process that dies sees it."""

    @pytest.fixture
    def store(self, database: Database) -> StoredIdempotency:
        return StoredIdempotency(database)

    async def claim(self, store: StoredIdempotency, now: datetime = NOW, request: bytes = HASH) -> Claim:
        claim = await store.claim("user:1", "key", request, now)
        assert not isinstance(claim, Kept)
        return claim

    async def test_a_claim_whose_process_died_opens_after_a_minute(self, store: StoredIdempotency):
        await self.claim(store)
        with pytest.raises(InProgress):
            await self.claim(store, NOW + CLAIM_TERM - timedelta(microseconds=1))
        await self.claim(store, NOW + CLAIM_TERM)

    async def test_a_claim_of_another_request_tells_so_even_while_at_work(self, store: StoredIdempotency):
        await self.claim(store)
        with pytest.raises(KeyReused):
            await self.claim(store, request=OTHER_HASH)

    async def test_an_answer_is_kept_for_a_day_from_the_claim(self, store: StoredIdempotency):
        await (await self.claim(store)).complete(KEPT)
        assert await store.claim("user:1", "key", HASH, NOW + KEPT_TERM - timedelta(seconds=1)) == KEPT
        await self.claim(store, NOW + KEPT_TERM)

    async def test_a_slow_request_that_was_taken_over_cannot_commit_or_answer(
        self, store: StoredIdempotency, database: Database
    ):
        slow = await self.claim(store)
        retry = await self.claim(store, NOW + CLAIM_TERM)
        with pytest.raises(ClaimLost):
            async with database.transaction() as tx:
                await slow.bind(tx)
        await slow.complete(Kept(200, (), b"slow"))
        await slow.abandon()
        async with database.transaction() as tx:
            await retry.bind(tx)
        await retry.complete(KEPT)
        assert await store.claim("user:1", "key", HASH, NOW + CLAIM_TERM) == KEPT

    async def test_a_bound_claim_survives_its_process_and_being_given_up(
        self, store: StoredIdempotency, database: Database
    ):
        claim = await self.claim(store)
        async with database.transaction() as tx:
            await claim.bind(tx)
        await claim.abandon()
        with pytest.raises(InProgress):
            await self.claim(store, NOW + timedelta(seconds=1))
        with pytest.raises(AnswerLost):
            await self.claim(store, NOW + CLAIM_TERM)

    async def test_a_binding_that_rolled_back_leaves_the_claim_as_it_was(
        self, store: StoredIdempotency, database: Database
    ):
        claim = await self.claim(store)
        with suppress(RuntimeError):
            async with database.transaction() as tx:
                await claim.bind(tx)
                raise RuntimeError
        await self.claim(store, NOW + CLAIM_TERM)

    async def test_takeover_and_binding_cannot_both_win(self, store: StoredIdempotency, database: Database):
        """A retry claims the key in the very moment in which the slow request commits."""

        async def commit(claim: Claim) -> bool:
            try:
                async with database.transaction() as tx:
                    await claim.bind(tx)
                    await asyncio.sleep(0)
            except ClaimLost:
                return False
            return True

        async def take_over(key: str) -> bool:
            try:
                await store.claim("user:1", key, HASH, NOW + CLAIM_TERM)
            except (AnswerLost, InProgress):
                return False
            return True

        for _ in range(50):
            key = str(uuid4())
            claim = await store.claim("user:1", key, HASH, NOW)
            assert not isinstance(claim, Kept)
            committed, taken_over = await asyncio.gather(commit(claim), take_over(key))
            assert committed != taken_over

    async def test_expired_rows_are_swept(self, store: StoredIdempotency, database: Database):
        for number in range(5):
            claim = await store.claim(str(UUID(int=number)), "key", HASH, NOW)
            assert not isinstance(claim, Kept)
            await claim.complete(KEPT)
        await store.claim("late", "key", HASH, NOW + KEPT_TERM)
        assert await store.sweep(NOW + timedelta(hours=1)) == 0
        assert await store.sweep(NOW + KEPT_TERM, limit=3) == 3
        assert await store.sweep(NOW + KEPT_TERM) == 2
        assert await database.fetchval("SELECT count(*) FROM idempotency_keys") == 1


def test_requests_that_differ_in_any_part_have_other_hashes():
    parts = [
        ("POST", b"/a", b"", b""),
        ("PUT", b"/a", b"", b""),
        ("POST", b"/", b"a", b""),
        ("POST", b"/", b"", b"a"),
    ]
    assert len({request_hash(*part) for part in parts}) == len(parts)


async def test_a_database_that_dies_before_the_answer_is_kept_does_not_hide_the_answer(database: Database):
    async def dies(call: Call[Nothing, Nothing, Order]) -> str:
        await database.close()
        return call.body.name

    assert (await Shop(database, after=dies).order()).status == 201
