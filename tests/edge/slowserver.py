"""The example application in a process of its own, so that its memory can be told; says its port."""

from __future__ import annotations

import socket
import sys

import uvicorn
from tests.edge.example import example

from echain.edge.http import body, server

SECONDS = 4.0
"""Its patience with heads, bodies and readers."""


def main() -> None:
    server.HEAD_SECONDS = body.BODY_SECONDS = server.READ_SECONDS = SECONDS
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(
        example(), http=server.BoundedProtocol, ws="none", lifespan="off", log_level="critical"
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
