"""A real server around an application, and a fuzzer in front of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from echain.edge.http.server import BoundedProtocol


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve ``app`` with uvicorn in a thread on a free port of 127.0.0.1; yield its URL."""
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
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def fuzz(
    url: str,
    folder: Path,
    *,
    token: str = "",
    examples: int,
    only: str = ".*",
    but: str = "^$",
    settings: str = "",
    seconds: float = 110,
    phases: str = "examples,coverage,fuzzing",
) -> str:
    """Run schemathesis over the document that ``url`` serves; return its report, fail when it found anything.

    ``only`` and ``but`` are regular expressions of paths, ``settings`` the text of its configuration
    file. The run is the same every time. The phase ``stateful`` follows the document's links.
    """
    (folder / "schemathesis.toml").write_text(settings)
    command = [
        *(str(Path(sys.executable).with_name("st")), "run", f"{url}/api/v1/openapi.json"),
        *("--phases", phases, "--max-examples", str(examples), "--checks", "all"),
        *("--include-path-regex", only, "--exclude-path-regex", but, "--request-timeout", "10"),
        *("--generation-deterministic", "--continue-on-failure", "--no-color"),
        *(("-H", f"Authorization: Bearer {token}") if token else ()),
        # What is refused leads nowhere.
        *(("--mode", "positive") if phases == "stateful" else ()),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
