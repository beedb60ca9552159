"""The connections of one process, built from the configuration in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import msgspec
from redis.asyncio import Redis

from echain.chain.chains import Chain, configured
from echain.chain.rpc import Rpc
from echain.chain.rpcmetrics import RpcMetrics
from echain.infra.cache import Cache
from echain.infra.config import Config, ConfigError
from echain.infra.database import Database
from echain.infra.metrics import Metrics, serve_metrics
from echain.infra.traces import Traces

RPC_SECONDS: Final = 10.0
REDIS_SECONDS: Final = 0.5


class Services(msgspec.Struct, frozen=True):
    """The connections of one process; all connect when first used."""

    database: Database
    redis: Redis | None
    cache: Cache
    rpcs: Mapping[int, Rpc]
    metrics: Metrics
    traces: Traces = msgspec.field(default_factory=Traces)


class Stores(msgspec.Struct, frozen=True):
    """The connections of a process that asks no chain and caches nothing."""

    database: Database
    redis: Redis | None
    metrics: Metrics


async def stores(
    config: Config, stack: AsyncExitStack, *, name: str = "echain", statement_seconds: float | None = None
) -> Stores:
    """Return the process's database and Redis, which ``stack`` closes. Nothing has to be there yet.

    ``statement_seconds`` bounds each statement, where people wait for it.

    Raises:
        ConfigError: no database is named.
    """
    if config.database_url is None:
        raise ConfigError(["ECHAIN_DATABASE_URL is missing; `echain up` runs an embedded PostgreSQL"])
    metrics = Metrics()
    database = Database.lazy(
        config.database_url,
        size=config.database_connections,
        name=name,
        metrics=metrics,
        statement_seconds=statement_seconds,
    )
    stack.push_async_callback(database.close)
    redis = None
    if config.redis_url is not None:
        redis = Redis.from_url(
            config.redis_url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
        )
        stack.push_async_callback(redis.aclose)
    return Stores(database, redis, metrics)


async def services(
    config: Config, stack: AsyncExitStack, *, name: str = "echain", statement_seconds: float | None = None
) -> Services:
    """Return all of the process's connections, as `stores` does.

    Raises:
        ConfigError: no database is named.
    """
    kept = await stores(config, stack, name=name, statement_seconds=statement_seconds)
    rpcs = {
        chain.chain_id: _rpc(configured(chain, devnet=config.devnet), chain.rpc_urls, kept.metrics)
        for chain in config.chains
        if chain.rpc_urls
    }
    for rpc in rpcs.values():
        stack.push_async_callback(rpc.close)
    assert config.database_url is not None, "stores has checked it"
    cache = await stack.enter_async_context(Cache(config.database_url, kept.redis, kept.metrics))
    traces = await _traces(config, stack, kept.metrics, role=name.removeprefix("echain "))
    return Services(kept.database, kept.redis, cache, rpcs, kept.metrics, traces)


async def _traces(config: Config, stack: AsyncExitStack, metrics: Metrics, *, role: str) -> Traces:
    """Return what tells of a share of the work; the libraries that this takes are loaded only then."""
    if config.traces_url is None:
        return Traces.off()
    from echain.infra.otlp import recording

    recorder = await stack.enter_async_context(recording(config.traces_url, role=role, metrics=metrics))
    return Traces(recorder, share=config.traces_share)


def _rpc(chain: Chain, urls: Sequence[str], metrics: Metrics) -> Rpc:
    observer = RpcMetrics(metrics, chain.chain_id)
    rpc = Rpc(
        urls,
        chain_id=chain.chain_id,
        timeout=RPC_SECONDS,
        manners=chain.manners,
        confirmations=chain.confirmations,
        observer=observer,
    )
    observer.show(rpc.health)
    return rpc


async def expose(config: Config, parts: Services | Stores, stack: AsyncExitStack) -> None:
    """Serve this role's metrics until ``stack`` closes, where the configuration gives a port.

    Raises:
        MetricsTaken: the address cannot be listened on.
    """
    if config.metrics_port:
        serving = serve_metrics(parts.metrics, host=config.metrics_host, port=config.metrics_port)
        await stack.enter_async_context(serving)
