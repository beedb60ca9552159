"""Tells of a chain's head as soon as a node does: by ``newHeads``, or by asking when that is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from echain.chain.endpoint import origin
from echain.chain.proofs import FullHeader
from echain.chain.rpc import ChainUnreachable, Lie, Rpc, RpcRefused, WrongChain
from echain.chain.types import Block
from echain.chain.wire import WireHeader, block_of, proven_block

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0
_SLOWEST_POLL_SECONDS: Final = 2.0
_FASTEST_POLL_SECONDS: Final = 0.1
_PATIENCE: Final = 3
"""Polls' times without a word after which a subscription is doubted."""

_FAR: Final = 64
"""A subscription that jumps further than this is not taken at its word: the nodes are asked."""

_log = structlog.get_logger(__name__)


class _Params(msgspec.Struct):
    result: msgspec.Raw


class _Notice(msgspec.Struct):
    params: _Params | None = None
    id: int | None = None
    result: str | None = None


_NOTICE: Final = msgspec.json.Decoder(_Notice)
_HEADER: Final = msgspec.json.Decoder(WireHeader)
_FULL_HEADER: Final = msgspec.json.Decoder(FullHeader)


class _Subscription:
    """One WebSocket endpoint: whether it is subscribed, and what it told last."""

    def __init__(self, position: int, url: str) -> None:
        self.url = url
        self.name = f"{position + 1} {urlsplit(url).hostname or 'nameless'}"
        self.origin = origin(url)
        self.subscribed = False
        self.told = -1
        self.connection: asyncio.Task[None] | None = None


class Heads:
    """The newest head of a chain; older ones that nobody looked at meanwhile are left out.

    All WebSocket endpoints are listened to at once: whoever is first tells, and none is waited for.
    """

    def __init__(self, rpc: Rpc, *, ws_urls: Sequence[str], block_seconds: float) -> None:
        self._rpc = rpc
        self._subscriptions = [_Subscription(position, url) for position, url in enumerate(ws_urls)]
        self._poll_seconds = min(_SLOWEST_POLL_SECONDS, max(_FASTEST_POLL_SECONDS, block_seconds / 2))
        self._newest: Block | None = None
        self._arrived = asyncio.Event()
        self._look = asyncio.Event()
        self._heard = False
        self._again = False

    def again(self) -> None:
        """Tell the next head even if it is the one told last: that one could not be gone on with."""
        self._again = True

    async def newest(self) -> AsyncGenerator[Block]:
        """Yield the head, at first the present one, whenever the node has another; never ends by itself.

        A node that does not answer is asked again; that is logged once. An error that nobody foresaw is
        raised: who follows would wait for ever for one that has stopped looking.
        """
        tasks = [asyncio.create_task(self._poll())]
        tasks += [asyncio.create_task(self._listen(one)) for one in self._subscriptions]
        for task in tasks:
            task.add_done_callback(lambda _: self._arrived.set())
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                for task in tasks:
                    if task.done():
                        task.result()
                if self._newest is not None:
                    yield self._newest
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self, head: Block) -> None:
        if self._again or self._newest is None or head.hash != self._newest.hash:
            self._newest, self._again = head, False
            self._arrived.set()

    # --- asking ---

    async def _poll(self) -> None:
        """Look at once, right after subscribing, and whenever blocks should have come but none did."""
        reachable = True
        while True:
            asked_for = self._look.is_set()
            self._look.clear()
            try:
                head = await self._rpc.head()
                if not asked_for:
                    self._doubt_the_silent(head)
                self._tell(head)
                reachable = True
            except (ChainUnreachable, RpcRefused, Lie) as error:
                if reachable:
                    _log.warning("the chain does not answer", chain_id=self._rpc.chain_id, reason=str(error))
                reachable = False
            await self._silence()

    async def _silence(self) -> None:
        """Return when it is time to look: asked to, or nothing heard for a while."""
        while True:
            self._heard = False
            subscribed = any(one.subscribed for one in self._subscriptions)
            patience = self._poll_seconds * (_PATIENCE if subscribed else 1)
            try:
                # Not `wait_for`: before Python 3.12 it can lose a cancellation that comes with the event.
                async with asyncio.timeout(patience):
                    await self._look.wait()
            except TimeoutError:
                if not self._heard:
                    return
            else:
                return

    def _doubt_the_silent(self, head: Block) -> None:
        """Leave subscriptions that were silent about a head that is there; they are made anew."""
        if self._newest is None or head.number <= self._newest.number:
            return
        for one in self._subscriptions:
            if one.subscribed and one.told < head.number and one.connection is not None:
                _log.warning("heads.subscription_silent", chain_id=self._rpc.chain_id, endpoint=one.name)
                one.connection.cancel()

    # --- listening ---

    async def _listen(self, one: _Subscription) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            one.told = -1
            one.connection = asyncio.create_task(self._subscription(one))
            try:
                await asyncio.wait((one.connection,))
            finally:
                one.connection.cancel()
                await asyncio.gather(one.connection, return_exceptions=True)
            failure = None if one.connection.cancelled() else one.connection.exception()
            if isinstance(failure, Lie):
                _log.error(
                    "heads.endpoint_put_aside",
                    chain_id=self._rpc.chain_id,
                    endpoint=one.name,
                    reason=str(failure),
                )
                pause = _LONGEST_PAUSE_SECONDS
            elif failure is not None and not isinstance(failure, _INTERRUPTIONS):
                _log.error("heads.listener_failed", chain_id=self._rpc.chain_id, exc_info=failure)
            pause = _FIRST_PAUSE_SECONDS if one.told >= 0 and not isinstance(failure, Lie) else pause
            one.subscribed = False
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)

    async def _subscription(self, one: _Subscription) -> None:
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            async with asyncio.timeout(_CONNECT_SECONDS):
                socket = await stack.enter_async_context(
                    session.ws_connect(
                        one.url,
                        heartbeat=20.0,
                        max_msg_size=1 << 20,
                        timeout=aiohttp.ClientWSTimeout(ws_close=1.0),  # pyright: ignore[reportCallIssue] - made by attrs
                    )
                )
            await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
            await socket.send_json(
                {"jsonrpc": "2.0", "id": 2, "method": "eth_subscribe", "params": ["newHeads"]}
            )
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                self._noticed(one, _NOTICE.decode(message.data))

    def _noticed(self, one: _Subscription, notice: _Notice) -> None:
        if notice.id == 1 and int(notice.result or "0x0", 16) != self._rpc.chain_id:
            raise WrongChain(f"the WebSocket serves another chain than {self._rpc.chain_id}")
        if notice.id == 2 and notice.result is not None:  # noqa: PLR2004 - the subscription's own id
            # What came between the last look and now is told by nobody: look once more.
            one.subscribed = True
            self._look.set()
        if notice.params is None:
            return
        head = self._header(notice.params.result)
        self._rpc.heard(one.origin, head)
        one.told = head.number
        self._heard = True
        if self._newest is not None and head.number > self._newest.number + _FAR:
            self._look.set()
        else:
            self._tell(head)

    def _header(self, raw: msgspec.Raw) -> Block:
        if self._rpc.manners.header_hashes:
            return proven_block(_FULL_HEADER.decode(raw))
        return block_of(_HEADER.decode(raw))


_INTERRUPTIONS: Final = (
    aiohttp.ClientError,
    msgspec.DecodeError,
    ChainUnreachable,
    ValueError,
    TimeoutError,
    OSError,
)
