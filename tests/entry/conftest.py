"""Whole installations as real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from echain.infra.embedded.child import free_port

START_SECONDS = 60


@dataclass
class Installation:
    """An `echain` command as a child process, with a home, ports and a log of its own."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = (sys.executable, "-m", "echain.entry.cli", "up")
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['ECHAIN_PORT']}"

    @property
    def log(self) -> Path:
        return self.home / "output.log"

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdout=output, stderr=output, env=self.environment, cwd=self.home
            )

    def until_ready(self) -> float:
        """Wait for the API and return the seconds that it took."""
        began = time.monotonic()
        while True:
            assert self.process is not None
            text = self.log.read_text(errors="replace")
            assert self.process.poll() is None, text[-5000:]
            assert time.monotonic() - began < START_SECONDS, text[-5000:]
            try:
                if self.get("/health/ready")[0] == 200:
                    return time.monotonic() - began
            except OSError:
                time.sleep(0.02)

    def get(self, path: str, *, timeout: float = 10) -> tuple[int, Any]:
        """Return status and decoded body of a GET."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=timeout) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def family(self) -> list[psutil.Process]:
        """Return the process and all below it."""
        assert self.process is not None
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)


def gone(processes: list[psutil.Process], *, seconds: float) -> list[str]:
    """Return what of these still runs after waiting up to ``seconds``."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [
        " ".join(one.cmdline()) for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    ]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Call it for an installation that is not started yet; whatever still runs at the end is killed."""
    made: list[Installation] = []

    def make(name: str = "one", command: tuple[str, ...] = (), **variables: str) -> Installation:
        home = tmp_path / name
        home.mkdir(exist_ok=True)
        installation = Installation(home, plain_environment(home, variables))
        if command:
            installation.command = command
        made.append(installation)
        return installation

    yield make
    for installation in made:
        if installation.process is not None and installation.process.poll() is None:
            family = installation.family()
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=10)
            installation.process.wait()


def plain_environment(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without ECHAIN variables of whoever runs the tests."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("ECHAIN_")}
    return others | {
        "ECHAIN_HOME": str(home / "home"),
        "ECHAIN_PORT": str(free_port()),
        "ECHAIN_REALTIME_PORT": str(free_port()),
        "ECHAIN_DEVNET_PORT": str(free_port()),
        **variables,
    }
