"""Whether this installation works, told by its parts, in less than a second even when they are dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Literal, TypeAlias

import aiohttp
import asyncpg
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from echain.chain.endpoint import EndpointHealth
from echain.chain.rpc import Rpc
from echain.edge.http import Call, Endpoint, Nothing, Reply, get
from echain.infra.database import Database
from echain.infra.jobs.ledger import oldest_seconds
from echain.kernel.errors import EchainError

PATIENCE_SECONDS: Final = 0.7
"""A part that has not answered by then is down; all are asked at the same time."""

JOB_AGE_SECONDS: Final = 60.0
"""Jobs that are due for longer say that workers are too few, or none."""

LAG_BLOCKS: Final = 3
"""An indexer that is further behind its chain is reported as degraded."""

Status: TypeAlias = Literal["ok", "degraded", "down"]


class PartHealth(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One part: how long it took to answer, or why it counts as down."""

    status: Status
    latency_ms: float | None = None
    reason: str | None = None


class ChainHealth(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One chain: its node's newest block, the newest in our tables, and how many lie between.

    ``endpoints`` are its nodes as the answering process knows them; the others tell of theirs in metrics.
    """

    chain_id: int
    status: Status
    head: int | None = None
    indexed: int | None = None
    lag: int | None = None
    reason: str | None = None
    endpoints: list[EndpointHealth] = []


class JobsHealth(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The background jobs: for how long the longest waiting one has been due."""

    status: Status
    oldest_seconds: float | None = None
    reason: str | None = None


class Health(msgspec.Struct, frozen=True, rename="camel"):
    """``ok`` when every part is, ``down`` when none works, else ``degraded``."""

    status: Status
    database: PartHealth
    redis: PartHealth
    chains: list[ChainHealth]
    jobs: JobsHealth
    realtime: PartHealth | None = None


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(msgspec.Struct, frozen=True):
    """Whether requests should be sent here."""

    status: Status


async def examine(
    database: Database, redis: Redis | None, rpcs: Mapping[int, Rpc], *, realtime_url: str | None = None
) -> Health:
    """Ask every part at once and return what they say within `PATIENCE_SECONDS`; raises nothing.

    Live updates are asked where a URL of theirs is given.
    """
    (database_health, redis_health, realtime_health, jobs), chains = await asyncio.gather(
        asyncio.gather(
            _timed(lambda: database.fetchval("SELECT 1")),
            _redis(redis),
            _realtime(realtime_url),
            _jobs(database),
        ),
        asyncio.gather(*(_chain_and_nodes(database, chain_id, rpc) for chain_id, rpc in rpcs.items())),
    )
    parts = [database_health, redis_health, jobs, *chains, *([realtime_health] if realtime_health else [])]
    return Health(
        status=overall([part.status for part in parts]),
        database=database_health,
        redis=redis_health,
        chains=chains,
        jobs=jobs,
        realtime=realtime_health,
    )


def overall(statuses: list[Status]) -> Status:
    """Return the status of a whole from those of its parts."""
    if all(status == "ok" for status in statuses):
        return "ok"
    return "down" if all(status == "down" for status in statuses) else "degraded"


async def _timed(ask: Callable[[], Awaitable[object]]) -> PartHealth:
    began = time.perf_counter()
    _, reason = await _within(ask)
    if reason is not None:
        return PartHealth(status="down", reason=reason)
    return PartHealth(status="ok", latency_ms=round((time.perf_counter() - began) * 1000, 2))


async def _redis(redis: Redis | None) -> PartHealth:
    if redis is None:
        return PartHealth(status="down", reason="ECHAIN_REDIS_URL is not set; each process caches for itself")
    ping: Callable[[], Awaitable[object]] = partial(redis.execute_command, "PING")
    return await _timed(ping)


async def _jobs(database: Database) -> JobsHealth:
    oldest, reason = await _within(lambda: oldest_seconds(database))
    if oldest is None:
        return JobsHealth(status="down", reason=reason)
    seconds = round(float(str(oldest)), 1)
    if seconds <= JOB_AGE_SECONDS:
        return JobsHealth(status="ok", oldest_seconds=seconds)
    reason = f"a job has been due for {seconds:.0f} s; is a worker running?"
    return JobsHealth(status="degraded", oldest_seconds=seconds, reason=reason)


async def _realtime(url: str | None) -> PartHealth | None:
    if url is None:
        return None

    async def ready() -> None:
        async with aiohttp.ClientSession() as http, http.get(f"{url}/health/ready") as answer:
            answer.raise_for_status()

    return await _timed(ready)


async def _chain_and_nodes(database: Database, chain_id: int, rpc: Rpc) -> ChainHealth:
    """Return a chain's health, degraded where one of its nodes is out though others do its work."""
    chain = await _chain(database, chain_id, rpc)
    endpoints = rpc.health()
    out = sum(one.status in ("open", "quarantined") for one in endpoints)
    if chain.status != "ok" or not out:
        return msgspec.structs.replace(chain, endpoints=endpoints)
    reason = f"{out} of {len(endpoints)} nodes are not asked"
    return msgspec.structs.replace(chain, endpoints=endpoints, status="degraded", reason=reason)


async def _chain(database: Database, chain_id: int, rpc: Rpc) -> ChainHealth:
    (head, node_reason), (indexed, indexer_reason) = await asyncio.gather(
        _within(lambda: rpc.call("eth_blockNumber")),
        _within(lambda: database.fetchval(_INDEXED, chain_id)),
    )
    head_number = None if head is None else int(str(head), 16)
    indexed_number = None if indexed is None else int(str(indexed))
    if head_number is None:
        return ChainHealth(chain_id=chain_id, status="down", indexed=indexed_number, reason=node_reason)
    if indexed_number is None:
        reason = indexer_reason or "the indexer has not begun"
        return ChainHealth(chain_id=chain_id, status="degraded", head=head_number, reason=reason)
    lag = max(0, head_number - indexed_number)
    return ChainHealth(
        chain_id=chain_id,
        status="ok" if lag <= LAG_BLOCKS else "degraded",
        head=head_number,
        indexed=indexed_number,
        lag=lag,
        reason=None if lag <= LAG_BLOCKS else f"the indexer is {lag} blocks behind",
    )


_INDEXED: Final = "SELECT block_number FROM chain_cursors WHERE chain_id = $1"


async def _within(ask: Callable[[], Awaitable[object]]) -> tuple[object, str | None]:
    """Return the answer, or None and why there is none."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await ask(), None
    except TimeoutError:
        return None, f"no answer within {PATIENCE_SECONDS} s"
    except EchainError as error:
        return None, error.message
    except asyncpg.UndefinedTableError:
        return None, "the schema is not up to date; run `echain migrate`"
    except (RedisError, OSError, aiohttp.ClientError) as error:
        # Addresses and errno stay in the log of whoever asks the part itself; this is read by strangers.
        return None, f"unreachable ({type(error).__name__})"


def endpoints(
    database: Database,
    redis: Redis | None,
    rpcs: Mapping[int, Rpc],
    *,
    realtime_url: str | None = None,
    warm: Callable[[], bool] = lambda: True,
) -> list[Endpoint]:
    """Return the health routes: the whole for people, alive and ready for whoever runs the process.

    Until ``warm`` says so the process is not ready: it answers, but what it still does beside is felt.
    """

    @get("/api/health", summary="How every part is", tag="system", answer=Health)
    async def health(_: Call[Nothing, Nothing, Nothing]) -> Health:
        return await examine(database, redis, rpcs, realtime_url=realtime_url)

    @get(
        "/health/live",
        summary="Whether the process answers",
        tag="system",
        answer=Alive,
        limited=False,
    )
    async def live(_: Call[Nothing, Nothing, Nothing]) -> Alive:
        return Alive()

    @get(
        "/health/ready",
        summary="Whether requests should be sent here",
        tag="system",
        answer=Ready,
        other_statuses=(503,),
        limited=False,
    )
    async def ready(_: Call[Nothing, Nothing, Nothing]) -> Reply:
        part = await _timed(lambda: database.fetchval("SELECT 1"))
        status = part.status if warm() else "down"
        return Reply(Ready(status), status=200 if status == "ok" else 503)

    return [health, live, ready]
