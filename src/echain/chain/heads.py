"""Tells of a chain's head as soon as a node does: by ``newHeads``, or by asking when that is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

import aiohttp
import msgspec
import structlog

from echain.chain.rpc import ChainUnreachable, Rpc, RpcRefused, WrongChain
from echain.chain.types import Block
from echain.chain.wire import WireHeader, block_of

_RECONNECT_SECONDS: Final = 2.0
_SLOWEST_POLL_SECONDS: Final = 2.0
_FASTEST_POLL_SECONDS: Final = 0.1
_PATIENCE: Final = 3
"""Polls' times without a word after which a subscription is doubted."""

_log = structlog.get_logger(__name__)


class _Params(msgspec.Struct):
    result: WireHeader


class _Notice(msgspec.Struct):
    params: _Params | None = None
    id: int | None = None
    result: str | None = None


_NOTICE: Final = msgspec.json.Decoder(_Notice)


class Heads:
    """The newest head of a chain; older ones that nobody looked at meanwhile are left out."""

    def __init__(self, rpc: Rpc, *, ws_url: str | None, block_seconds: float) -> None:
        self._rpc = rpc
        self._ws_url = ws_url
        self._poll_seconds = min(_SLOWEST_POLL_SECONDS, max(_FASTEST_POLL_SECONDS, block_seconds / 2))
        self._newest: Block | None = None
        self._arrived = asyncio.Event()
        self._look = asyncio.Event()
        self._heard = False
        self._subscribed = False

    async def newest(self) -> AsyncGenerator[Block]:
        """Yield the head, at first the present one, whenever the node has another; never ends by itself.

        A node that does not answer is asked again; that is logged once.
        """
        tasks = [asyncio.create_task(self._poll())]
        if self._ws_url is not None:
            tasks.append(asyncio.create_task(self._listen(self._ws_url)))
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                if self._newest is not None:
                    yield self._newest
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self, head: Block) -> None:
        if self._newest is None or head.hash != self._newest.hash:
            self._newest = head
            self._arrived.set()

    async def _poll(self) -> None:
        """Look at once, right after subscribing, and whenever blocks should have come but none did."""
        reachable = True
        while True:
            try:
                self._tell(await self._rpc.head())
                reachable = True
            except (ChainUnreachable, RpcRefused, WrongChain) as error:
                if reachable:
                    _log.warning("the chain does not answer", chain_id=self._rpc.chain_id, reason=str(error))
                reachable = False
            await self._silence()

    async def _silence(self) -> None:
        """Return when it is time to look: asked to, or nothing heard for a while."""
        self._look.clear()
        while True:
            self._heard = False
            patience = self._poll_seconds * (_PATIENCE if self._subscribed else 1)
            try:
                await asyncio.wait_for(self._look.wait(), patience)
            except TimeoutError:
                if not self._heard:
                    return
            else:
                return

    async def _listen(self, url: str) -> None:
        while True:
            with suppress(
                aiohttp.ClientError, msgspec.DecodeError, ChainUnreachable, ValueError, TimeoutError, OSError
            ):
                await self._subscription(url)
            self._subscribed = False
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _subscription(self, url: str) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, heartbeat=20.0, max_msg_size=1 << 20) as socket,
        ):
            await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
            await socket.send_json(
                {"jsonrpc": "2.0", "id": 2, "method": "eth_subscribe", "params": ["newHeads"]}
            )
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                notice = _NOTICE.decode(message.data)
                if notice.id == 1 and int(notice.result or "0x0", 16) != self._rpc.chain_id:
                    _log.error("the WebSocket serves another chain", chain_id=self._rpc.chain_id)
                    return
                if notice.id == 2:  # noqa: PLR2004 - the subscription's own id, from above
                    # What came between the last look and now is told by nobody: look once more.
                    self._subscribed = True
                    self._look.set()
                if notice.params is not None:
                    self._heard = True
                    self._tell(block_of(notice.params.result))
