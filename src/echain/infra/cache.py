"""Rendered bytes, kept in the process and in Redis, and dropped the moment the facts behind them change.

What changes a fact sends `invalidate` in its own transaction. Every process listens: the notification
arrives right after the commit, and the listener drops the key here and in Redis. Nothing is kept while it
does not listen.

The relay's notification says how far messages have been told. PostgreSQL delivers notifications in the order
of commits, so who has heard of message n has dropped all that n and those before it changed: a reader who has
seen n never reads what was true before n.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Literal, Self, TypeAlias

import msgspec
import structlog
from redis.asyncio import Redis

from echain.infra.cache_redis import RedisLayer
from echain.infra.database import Connection, Tx, connect
from echain.infra.metrics import Metrics

CHANNEL: Final = "cache"

_LONGEST_PAYLOAD: Final = 7_900
"""A notification holds less than 8,000 bytes."""

_EVERYTHING: Final = "*"
_MARK: Final = "#"
"""Before the number of the last message that was told; no key begins with it."""

_QUESTION: Final = "?"
"""Before a word by which a process that begins asks the others to vouch for Redis; no key begins with it."""

_MANY: Final = 10_000
"""Above so many keys it is cheaper to forget everything."""

_MEMORY_BYTES: Final = 32 * 1024 * 1024
_HEARTBEAT_SECONDS: Final = 5.0
_RECONNECT_SECONDS: Final = 0.2

_log = structlog.get_logger(__name__)


class Kept(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Rendered bytes, and beside them what every read of them needs.

    ``tag`` is their ETag, quoted as it is sent. From the Unix time ``until`` on time alone makes them untrue.
    """

    data: bytes
    tag: bytes
    until: float = math.inf


Answered: TypeAlias = Literal["memory", "redis", "shared", "rendered", "past"]
"""What answered a read: this process's memory, Redis, another's rendering, its own, or one past the cache."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(Kept)


async def invalidate(tx: Tx, keys: Sequence[str]) -> None:
    """Drop ``keys`` in every process once ``tx`` commits. One statement; keys hold no line breaks."""
    if not keys:
        return
    await tx.execute("SELECT pg_notify('cache', payload) FROM unnest($1::text[]) AS payload", payloads(keys))


async def invalidate_everything(tx: Tx) -> None:
    """Drop every key in every process once ``tx`` commits."""
    await tx.execute("SELECT pg_notify('cache', $1)", _EVERYTHING)


def payloads(keys: Sequence[str]) -> list[str]:
    """Pack keys into as few notifications as hold them; very many become one that says: everything."""
    unique = list(dict.fromkeys(keys))
    if len(unique) > _MANY:
        return [_EVERYTHING]
    packed: list[str] = []
    lines: list[str] = []
    size = 0
    for key in unique:
        length = len(key.encode()) + 1
        if size + length > _LONGEST_PAYLOAD and lines:
            packed.append("\n".join(lines))
            lines, size = [], 0
        lines.append(key)
        size += length
    return [*packed, "\n".join(lines)]


class Cache:
    """Two layers in front of a rendering; `start` before use, `close` at the end.

    Redis may vanish and come back at any time: then the process's own layer serves alone, and no error is
    seen. While the listening connection is down every call renders for itself.
    """

    def __init__(self, database_url: str, redis: Redis | None, metrics: Metrics | None = None) -> None:
        self._database_url = database_url
        self._shared = RedisLayer(redis) if redis is not None else None
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._kept_bytes = 0
        self._heard = 0
        self._renderings: dict[str, asyncio.Task[Kept]] = {}
        self._fresh: dict[str, asyncio.Task[Kept]] = {}
        self._next_fresh: dict[str, asyncio.Task[Kept]] = {}
        self.reads: Counter[Answered] = Counter()
        _expose(self.reads, metrics or Metrics())
        self._dropping: Counter[str] = Counter()
        self._drops: asyncio.Queue[tuple[str, ...] | str] = asyncio.Queue()
        self._listening = False
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def listening(self) -> bool:
        return self._listening

    async def start(self) -> None:
        """Begin to listen; returns at once, also when the database is down."""
        self._listener = asyncio.create_task(self._listen_forever())

    async def close(self) -> None:
        """Stop listening and forget everything. The Redis client stays its owner's to close."""
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
        for rendering in (*self._renderings.values(), *self._fresh.values(), *self._next_fresh.values()):
            rendering.cancel()
        self._forget_everything()

    def kept(self, key: str, *, at: float, seen: int = 0) -> Kept | None:
        """Return what this process keeps, if it is true at the Unix time ``at`` for who has seen a message.

        A fast way before `get_or_render`, which does the same and more.
        """
        found = self._kept.get(key)
        if found is None or seen > self._heard or found.until <= at:
            return None
        self._kept.move_to_end(key)
        self.reads["memory"] += 1
        return found

    async def get_or_render(
        self, key: str, render: Callable[[], Awaitable[Kept]], *, at: float = 0.0, seen: int = 0
    ) -> Kept:
        """Return what stands under ``key``; those who ask together share one rendering.

        A rendering that began before an invalidation is never kept, and nobody who asks after it receives it.
        ``seen`` is the number of a message that the reader knows: while this process has not heard that far,
        it renders what is true now. Errors of ``render`` reach all who wait for it and are not kept.
        """
        if (kept := self.kept(key, at=at, seen=seen)) is not None:
            return kept
        if not self._listening:
            self.reads["past"] += 1
            return await render()
        if seen > self._heard:
            return await self._freshly(key, render)
        if key in self._kept and self._kept[key].until <= at:
            self.forget(key)
        rendering = self._renderings.get(key)
        if rendering is None:
            rendering = asyncio.create_task(self._render(key, render, at))
            self._renderings[key] = rendering
            rendering.add_done_callback(lambda done: self._finished(key, done))
        else:
            self.reads["shared"] += 1
        # One who gives up must not take the rendering away from the others.
        return await asyncio.shield(rendering)

    async def _freshly(self, key: str, render: Callable[[], Awaitable[Kept]]) -> Kept:
        """Return a rendering that begins after this call, past all that is kept.

        However many ask with numbers that nobody has heard of, at most one rendering a key is under way and
        one waits for its end, which those who ask meanwhile share.
        """
        self.reads["past"] += 1
        task = self._next_fresh.get(key)
        if task is None:
            task = asyncio.create_task(self._after_the_present_one(key, render))
            self._next_fresh[key] = task
            task.add_done_callback(_seen)
        return await asyncio.shield(task)

    async def _after_the_present_one(self, key: str, render: Callable[[], Awaitable[Kept]]) -> Kept:
        this = asyncio.current_task()
        assert this is not None, "runs as a task"
        if (present := self._fresh.get(key)) is not None:
            await asyncio.wait([present])
        del self._next_fresh[key]
        self._fresh[key] = this
        try:
            return await render()
        finally:
            if self._fresh.get(key) is this:
                del self._fresh[key]

    def forget(self, *keys: str) -> None:
        """Drop keys as a notification would, at once.

        For a writer that has committed and reads its own change before the notification arrives.
        """
        for key in keys:
            self._drop(key)
            # Whoever still renders this key has old facts: unregistered, it will not be kept or shared.
            self._renderings.pop(key, None)
        if self._shared is not None:
            self._dropping.update(keys)
            self._drops.put_nowait(keys)

    async def _render(self, key: str, render: Callable[[], Awaitable[Kept]], at: float) -> Kept:
        this = asyncio.current_task()
        # Until Redis has dropped the key it holds the old bytes.
        shared = None if self._dropping[key] or self._dropping[_EVERYTHING] else self._shared
        lease = secrets.token_bytes(12)
        if shared is not None:
            found = _decoded(await shared.look_up(key, lease))
            if found is not None and found.until > at:
                self.reads["redis"] += 1
                if self._renderings.get(key) is this:
                    self._keep(key, found)
                return found
        self.reads["rendered"] += 1
        rendered = await render()
        if shared is not None and self._renderings.get(key) is this:
            await shared.store(key, lease, _encode(rendered))
        if self._renderings.get(key) is this:
            self._keep(key, rendered)
        return rendered

    def _keep(self, key: str, value: Kept) -> None:
        self._drop(key)
        self._kept_bytes += len(value.data)
        self._kept[key] = value
        while self._kept_bytes > _MEMORY_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped.data)

    def _drop(self, key: str) -> None:
        if (dropped := self._kept.pop(key, None)) is not None:
            self._kept_bytes -= len(dropped.data)

    def _finished(self, key: str, done: asyncio.Task[Kept]) -> None:
        if self._renderings.get(key) is done:
            del self._renderings[key]
        _seen(done)

    def _forget_everything(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0
        self._renderings.clear()

    async def _listen_forever(self) -> None:
        told = False
        while True:
            try:
                await self._listen()
                told = False
            except Exception as error:  # noqa: BLE001 - whatever ends it, listening is tried again
                if not told:
                    _log.warning("cache.not_listening", reason=str(error) or type(error).__name__)
                told = True
            finally:
                self._listening = False
                self._heard = 0
                self._forget_everything()
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self) -> None:
        """Listen until the connection is lost."""
        connection = await connect(self._database_url, name="echain cache")
        lost = asyncio.Event()

        def on_loss(_: Connection) -> None:
            lost.set()

        def on_message(_: Connection, _pid: int, _channel: str, payload: object) -> None:
            self._hear(str(payload))

        connection.add_termination_listener(on_loss)
        try:
            await connection.add_listener(CHANNEL, on_message)
            await self._begin(connection)
            async with asyncio.TaskGroup() as group:
                dropper = group.create_task(self._drop_in_redis())
                await _until_lost(connection, lost)
                dropper.cancel()
        finally:
            connection.terminate()

    async def _begin(self, connection: Connection) -> None:
        """Start from nothing: what was invalidated while this process did not listen is unknown to it.

        What is in Redis stays when another process, which has listened meanwhile, vouches for it: it hears
        the question after everything that was notified before, and answers once it has dropped that.
        """
        self._drops = asyncio.Queue()
        self._dropping.clear()
        if self._shared is not None:
            nonce = secrets.token_hex(8)
            await connection.execute("SELECT pg_notify('cache', $1)", _QUESTION + nonce)
            if not await self._shared.vouched(nonce):
                await self._shared.drop_everything()
        self._listening = True
        # Comes back after everything that was notified before, so from then on we know how far we have heard.
        await connection.execute("SELECT pg_notify('cache', '#' || tip) FROM relay_cursor")

    def _hear(self, payload: str) -> None:
        if payload.startswith(_MARK):
            self._heard = max(self._heard, int(payload[1:]))
        elif payload.startswith(_QUESTION):
            # Not by who has just begun itself, and least of all by who asks.
            if self._listening:
                self._drops.put_nowait(payload[1:])
        elif payload == _EVERYTHING:
            self._forget_everything()
            self.forget(_EVERYTHING)
        else:
            self.forget(*payload.split("\n"))

    async def _drop_in_redis(self) -> None:
        while self._shared is not None:
            keys = await self._drops.get()
            if isinstance(keys, str):
                await self._shared.vouch(keys)
                continue
            if _EVERYTHING in keys:
                await self._shared.drop_everything()
            else:
                await self._shared.drop(keys)
            self._dropping.subtract(keys)
            for key in keys:
                if not self._dropping[key]:
                    del self._dropping[key]


def _expose(reads: Counter[Answered], metrics: Metrics) -> None:
    """Have the reads told whenever somebody asks; counting each at once would cost more than most reads."""
    counter = metrics.counter("echain_cache_reads_total", "Reads by what answered them", ("answered",))
    told: Counter[Answered] = Counter()

    async def tell() -> None:
        for answered, count in list(reads.items()):
            counter.labels(answered).inc(count - told[answered])
            told[answered] = count

    metrics.on_scrape(tell)


def _seen(done: asyncio.Task[Kept]) -> None:
    if not done.cancelled():
        done.exception()  # whoever waited was told, and a lone caller may have given up


def _decoded(value: bytes | None) -> Kept | None:
    """Return what Redis kept; None when another version of this program kept it in another way."""
    try:
        return None if value is None else _decoder.decode(value)
    except msgspec.DecodeError:
        return None


async def _until_lost(connection: Connection, lost: asyncio.Event) -> None:
    """Return when the connection ends or no longer answers; a half-open one would miss invalidations."""
    while not lost.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(_HEARTBEAT_SECONDS):
                await lost.wait()
        if not lost.is_set():
            async with asyncio.timeout(_HEARTBEAT_SECONDS):
                await connection.execute("SELECT 1")
