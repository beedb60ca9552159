"""The journey of a ticket, as a user runs it: one command, its verdict as the exit code."""

import os
import subprocess
import sys
from pathlib import Path

from echain.infra.embedded.child import free_port


def test_every_step_of_the_demo_holds_against_the_contracts(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ECHAIN_")}
    environment |= {
        "ECHAIN_HOME": str(tmp_path / "home"),
        "ECHAIN_PORT": str(free_port()),
        "ECHAIN_REALTIME_PORT": str(free_port()),
        "ECHAIN_DEVNET_PORT": str(free_port()),
        "COLUMNS": "140",
    }
    done = subprocess.run(
        [sys.executable, "-m", "echain.entry.cli", "demo", "--exit"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    logs = "\n".join(path.read_text()[-2000:] for path in (tmp_path / "home" / "logs").glob("*.log"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    assert "16 steps held" in done.stdout
    assert "✗" not in done.stdout
