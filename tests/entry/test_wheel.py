"""The wheel, alone in an empty place, runs the platform."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.entry.conftest import Installation

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that holds the wheel and what it depends on, as locked."""
    folder = tmp_path_factory.mktemp("elsewhere")
    constraints = folder / "constraints.txt"
    pins = re.findall(r"^[a-z0-9][^ ;\\]*==[^ ;\\]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    constraints.write_text("\n".join(pins))
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    interpreter = folder / "venv" / "bin" / "python"
    install = [UV, "pip", "install", "--quiet", "--python", interpreter, "--constraints", constraints, wheel]
    subprocess.run(install, check=True)
    return interpreter


def test_the_wheel_carries_everything_that_is_not_code(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    checkout = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "echain").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    migrations = {
        f"echain/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "migrations").rglob("*.py")
    }
    assert checkout | migrations <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_it_runs_the_platform_in_an_empty_place(
    python: Path, install: Callable[..., Installation], tmp_path: Path
) -> None:
    """Nothing of the checkout, the user's home or the caller's path helps it; it downloads anvil."""
    home = tmp_path / "empty"
    home.mkdir()
    one = install(command=(str(python.with_name("echain")), "up"), HOME=str(home), PATH="/usr/bin:/bin")
    one.environment.pop("ECHAIN_HOME")
    for name in ("XDG_CACHE_HOME", "PYTHONPATH", "VIRTUAL_ENV"):
        one.environment.pop(name, None)
    one.start()
    one.until_ready()
    assert one.get("/api/health")[1]["data"]["database"]["status"] == "ok"
    assert one.get("/api/v1/openapi.json")[1]["openapi"].startswith("3.1")
    assert (one.home / ".echain").is_dir()
    assert one.stop() == 0


def test_it_serves_the_api_on_an_external_database(
    python: Path, install: Callable[..., Installation], database_url: str, redis_url: str
) -> None:
    one = install(
        command=(str(python.with_name("echain")), "api"),
        ECHAIN_DATABASE_URL=database_url,
        ECHAIN_REDIS_URL=redis_url,
        ECHAIN_RPC_URL_84532="http://127.0.0.1:1",
        ECHAIN_DEVNET="true",
    )
    one.start()
    one.until_ready()
    health = one.get("/api/health")[1]["data"]
    assert (health["database"]["status"], health["chains"][0]["status"]) == ("ok", "down")
    assert one.stop() == 0
