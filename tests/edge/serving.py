"""A real server around an application, and a fuzzer in front of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from echain.edge.http.server import BoundedProtocol


@contextmanager
def served(app: Any) -> Iterator[int]:
    """Serve ``app`` with uvicorn in a thread on a free port of 127.0.0.1; yield the port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", http=BoundedProtocol, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            thread.join(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def fuzz(port: int, folder: Path, *, headers: Mapping[str, str], examples: int, only: str = ".*") -> None:
    """Run schemathesis over the document that ``port`` serves; fail with its report when it finds anything.

    ``only`` is a regular expression of paths. The run is the same every time.
    """
    command = [
        *(str(Path(sys.executable).with_name("st")), "run", f"http://127.0.0.1:{port}/api/v1/openapi.json"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), "--checks", "all"),
        *(
            "--include-path-regex",
            only,
            "--generation-deterministic",
            "--continue-on-failure",
            "--no-color",
            "--request-timeout",
            "10",
        ),
        *(argument for name, value in headers.items() for argument in ("-H", f"{name}: {value}")),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
