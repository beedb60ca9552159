"""Child processes that end with us."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

from echain.kernel.errors import EchainError, Kind

_TETHER: Final = str(Path(__file__).with_name("tether.py"))
_POLL_SECONDS: Final = 0.005


class PartFailed(EchainError):
    """An embedded part did not start; its log says why."""

    kind = Kind.UNAVAILABLE
    code = "embedded.part_failed"


def spawn(
    command: Sequence[str],
    *,
    output: IO[bytes] | int,
    parting: signal.Signals,
    environment: Mapping[str, str] | None = None,
    user: int | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``command``, whose first word is an absolute path, so that it receives ``parting`` when we die.

    Must be called by the main thread: the kernel takes the end of the starting thread for the end of the
    parent. ``user`` is the account to run as, which only root may choose.
    """
    tether = [sys.executable, "-I", "-S", _TETHER, str(os.getpid()), str(int(parting))]
    return subprocess.Popen(  # noqa: S603 - the words are ours, no shell reads them
        [*tether, "-" if user is None else str(user), *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=None if environment is None else dict(environment),
        cwd=folder,
        # A Ctrl-C at the terminal reaches the whole group; the supervisor alone decides the order of the end.
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes], number: signal.Signals, *, patience_seconds: float = 10.0) -> None:
    """End a child with ``number``, and with SIGKILL when it has not ended after ``patience_seconds``."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], *, name: str, log: Path, seconds: float
) -> None:
    """Return once ``ready`` says so.

    Raises:
        PartFailed: the child ended, or ``seconds`` passed; it is killed then. The text ends with its log.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise PartFailed(f"{name} did not start; {log} ends with:\n{_tail(log)}")
        time.sleep(_POLL_SECONDS)


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-2000:]
    except OSError:
        return "(no log)"


def free_port(wanted: int = 0) -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago: ``wanted`` if that is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def package_folder(name: str) -> Path:
    """Return where a package's files are without importing it: its import may have side effects.

    Raises:
        PartFailed: the package is not installed.
    """
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise PartFailed(f"the Python package {name} is not installed; install echain with its dependencies")
    return Path(spec.submodule_search_locations[0])
