"""Programs in C: what the machine can do at best, and a load generator that is not the limit."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

_SOURCES: Final = Path(__file__).parent


def built(name: str) -> Path | None:
    """Return the compiled program ``name``, or None on a machine without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source = _SOURCES / f"{name}.c"
    folder = Path(".echain/bench/native").absolute()
    program = folder / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", program, source], check=True)
    return program
