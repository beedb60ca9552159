"""Programs under measurement: started on the server's core, asked what they cost, ended."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from bench import load
from echain.infra.embedded.child import free_port

_START_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02
_PATIENCE_SECONDS: Final = 10.0


@contextmanager
def module(name: str, *arguments: str) -> Generator[int]:
    """Run ``python -m name *arguments PORT``; yield the port once it is listened on."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", name, *arguments, str(port)])
    try:
        until_listening(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once somebody listens on ``port``.

    Raises:
        RuntimeError: the process ended, or did not listen within a minute.
    """
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _listens(port):
            return
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"{process.args} did not start to listen")


async def listening(port: int, process: asyncio.subprocess.Process) -> None:
    """Return once somebody listens on ``port``.

    Raises:
        RuntimeError: the process ended, or did not listen within a minute.
    """
    deadline = time.monotonic() + _START_SECONDS
    while process.returncode is None and time.monotonic() < deadline:
        if _listens(port):
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise RuntimeError(f"process {process.pid} did not start to listen")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@asynccontextmanager
async def pinned(
    command: Sequence[str | Path], *, last: bool, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a program all of whose threads keep to the last core, or to the others; with pipes to it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment) if environment is not None else None,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Before the program starts threads of its own, which would keep the affinity that they began with.
        preexec_fn=partial(load.pin, 0, last=last),
    )
    try:
        yield process
    finally:
        await ended(process)


async def ended(process: asyncio.subprocess.Process) -> None:
    """End a process, by force when it takes too long."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def cpu_seconds(process_id: int) -> float:
    """Return the time that all threads of a process have run, to the nanosecond; 0 where /proc is missing."""
    nanoseconds = 0
    for task in Path(f"/proc/{process_id}/task").glob("*"):
        with suppress(OSError):
            nanoseconds += int((task / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def memory_bytes(process_id: int) -> int:
    """Return the memory that a process holds, pages that it shares counted by its part."""
    try:
        text = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))


def environment_of(variables: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without what steers echain, and with ``variables``."""
    return {name: text for name, text in os.environ.items() if not name.startswith("ECHAIN_")} | dict(
        variables
    )
