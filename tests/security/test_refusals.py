"""A storm of refused sign-ins and credentials, at one process or over several, with Redis or without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis
from tests.accounts.people import Wallet
from tests.edge.http_client import Client
from tests.infra.relaying import running
from tests.security.tower import Tower

from echain.edge.http.limits import Allowance, Limits
from echain.infra.database import DatabaseUnavailable
from echain.infra.embedded.redis import Redis as RedisServer
from echain.infra.metrics import Metrics
from echain.infra.quota import Quotas
from echain.security import refusals as counting
from echain.security import rules
from echain.security.refusals import Refusals

ME = "/api/v1/auth/me"
GUESS = {"authorization": "Bearer eck_" + "x" * 43}


@dataclass
class Api:
    """One more API process, with a count of its own."""

    client: Client
    refusals: Refusals

    async def guess(self, times: int, address: str = "192.0.2.7") -> set[int]:
        """Try credentials of nobody; return the statuses of the answers."""
        asked = [await self.client("GET", ME, headers=GUESS, address=address) for _ in range(times)]
        return {answer.status for answer in asked}

    async def told(self) -> None:
        """Wait until what was refused is in the database."""
        async with asyncio.timeout(20):
            while self.refusals.waiting:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def process(tower: Tower, redis: Redis | None = None, *, limited: bool = True) -> AsyncIterator[Api]:
    refusals = Refusals(tower.database, tower.clock, pause_seconds=0.01)
    limits = Limits(Quotas(redis), Allowance(), metrics=Metrics()) if limited else None
    async with running(refusals.run()):
        api = Api(Client(tower.application(limits, refusals.note)), refusals)
        yield api
        await api.told()


async def test_some_wrong_credentials_are_no_storm(inland: Tower) -> None:
    async with process(inland) as api:
        assert await api.guess(rules.MOST_REFUSALS - 1) == {401}
        # To have none, or to lack a right, is no guess.
        for _ in range(5):
            assert (await api.client("GET", "/api/v1/auth/me", address="192.0.2.7")).status == 401
        for _ in range(5):
            answer = await inland.boss.client("GET", "/api/v1/admin/alarms")
            assert answer.status == 200
    assert await inland.alarms() == []


async def test_a_storm_from_one_site_is_one_alarm_that_names_it(inland: Tower) -> None:
    async with process(inland) as api:
        assert await api.guess(2 * rules.MOST_REFUSALS) == {401, 429}, "it is shut out, too"
    [alarm] = await inland.alarms()
    assert (alarm["kind"], alarm["severity"], alarm["subject"], alarm["count"]) == (
        *("failed_signatures", "warning"),
        *("192.0.2.7", 1),
    )
    assert int(alarm["facts"]["refused"]) >= rules.MOST_REFUSALS
    assert inland.mails() == [], "a warning is not mailed"
    assert len(await inland.inbox()) == 1


async def test_wrong_signatures_at_the_sign_in_count(inland: Tower) -> None:
    wallet, other = Wallet(inland.clock), Wallet(inland.clock)
    async with process(inland) as api:
        for _ in range(rules.MOST_REFUSALS):
            nonce = (await api.client("GET", "/api/v1/auth/nonce", address="192.0.2.8")).data["nonce"]
            message = wallet.message(nonce)
            forged = {"message": message, "signature": other.sign(message)}
            answer = await api.client("POST", "/api/v1/auth/verify", json_body=forged, address="192.0.2.8")
            assert answer.status == 401, answer.body
    [alarm] = await inland.alarms()
    assert (alarm["kind"], alarm["subject"]) == ("failed_signatures", "192.0.2.8")


@pytest.mark.parametrize("with_redis", [True, False], ids=["redis", "no-redis"])
async def test_a_storm_spread_over_processes_is_seen_as_one(
    inland: Tower, own_redis: RedisServer, with_redis: bool
) -> None:
    redis = Redis.from_url(own_redis.url, socket_timeout=0.5, socket_connect_timeout=0.5)
    if not with_redis:
        own_redis.kill()
    each = rules.MOST_REFUSALS // 2 + 1
    try:
        async with process(inland, redis) as one, process(inland, redis) as other:
            for api in (one, other):
                assert await api.guess(each) <= {401, 429}
    finally:
        await redis.aclose()
    [alarm] = await inland.alarms()
    assert (alarm["kind"], alarm["subject"], alarm["count"]) == ("failed_signatures", "192.0.2.7", 1)


async def test_a_storm_from_everywhere_is_severe_though_no_site_stands_out(inland: Tower) -> None:
    sites = rules.MOST_REFUSALS_ANYWHERE // 5
    async with process(inland) as api:
        for site in range(sites - 1):
            assert await api.guess(5, f"198.51.{site // 250}.{site % 250}") == {401}
        await api.told()
        assert await inland.alarms() == []
        await api.guess(5, "203.0.113.1")
    [alarm] = await inland.alarms()
    assert (alarm["kind"], alarm["severity"], alarm["subject"]) == ("failed_signatures", "severe", "platform")
    assert (alarm["facts"]["refused"], alarm["facts"]["sites"]) == (str(5 * sites), str(sites))
    assert len(inland.mails()) == 1


async def test_a_storm_goes_on_as_the_same_alarm_and_hours_later_is_another(inland: Tower) -> None:
    async with process(inland, limited=False) as api:
        for _ in range(2):
            await api.guess(rules.MOST_REFUSALS)
            await api.told()
            inland.clock.pass_by(minutes=16)
        [alarm] = await inland.alarms()
        assert alarm["count"] == 2
        inland.clock.pass_by(hours=2)
        await api.guess(rules.MOST_REFUSALS)
    assert [one["count"] for one in await inland.alarms()] == [2, 1]


async def test_what_was_refused_while_the_database_was_away_is_counted_later(
    inland: Tower, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(inland.database, inland.clock, pause_seconds=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(counting.refusalstore, "add", no_database)
        for _ in range(rules.MOST_REFUSALS):
            refusals.note("192.0.2.9")
            with pytest.raises(DatabaseUnavailable):
                await refusals.tell()
    await refusals.tell()
    assert await inland.kinds() == ["failed_signatures"]


async def no_database(*_: object) -> None:
    raise DatabaseUnavailable


async def test_a_process_remembers_a_bounded_number_of_sites(
    inland: Tower, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(inland.database, inland.clock)
    for site in range(5_000):
        refusals.note(f"2001:db8:{site // 65_536:x}:{site % 65_536:x}::1")
    assert len(refusals._counts) <= 1_001
    with monkeypatch.context() as patch:
        patch.setattr(counting.refusalstore, "add", no_database)
        for again in range(3):
            for site in range(2_000):
                refusals.note(f"2001:db9:{again}:{site:x}::1")
            with pytest.raises(DatabaseUnavailable):
                await refusals.tell()
            assert len(refusals._counts) <= 1_001
    await refusals.tell()
    assert await inland.database.fetchval("SELECT sum(count) FROM security_refusals") == 11_000
    [alarm] = await inland.alarms()
    assert alarm["subject"] == "platform"
