"""One prepared frame written to every socket by picows: the floor where there is no C compiler.

``python -m bench.rawserver REDIS_PORT CHANNEL`` says the port that it listens on.
"""

from __future__ import annotations

import resource
import sys

import uvloop
from picows import WSListener, WSTransport, WSUpgradeRequest, ws_create_server
from redis.asyncio import Redis

_clients: set[WSTransport] = set()


class _Client(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        _clients.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        _clients.discard(transport)


def framed(text: bytes) -> bytes:
    """Return a whole text frame of less than 64 KiB, unmasked."""
    size = len(text)
    return b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + text


async def serve(redis_port: int, channel: str) -> None:
    """Send everybody what is published."""

    def accept(_request: WSUpgradeRequest) -> WSListener:
        return _Client()

    server = await ws_create_server(accept, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with Redis(port=redis_port) as redis, redis.pubsub() as subscription:
        await subscription.subscribe(channel)
        async for heard in subscription.listen():
            if heard["type"] == "message":
                frame = framed(heard["data"])
                for transport in _clients:
                    transport.underlying_transport.write(frame)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
