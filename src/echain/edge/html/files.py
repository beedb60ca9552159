"""Where the files of the web app are."""

from __future__ import annotations

from pathlib import Path


def web() -> Path:
    """Return the folder of the web app: in the package when installed, beside ``src`` in a checkout."""
    package = Path(__file__).parents[2]
    installed = package / "web"
    return installed if installed.is_dir() else package.parents[1] / "web"
