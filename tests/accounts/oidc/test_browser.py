"""The dance in a real browser: its cookies, its redirects, its idea of which site is which."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright
from tests.accounts.oidc.world import NODE, ROOT, Front, serving

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64",
    reason="the package's browser is built for this system only",
)
BROWSER = ROOT / "tests" / "live" / "clients" / "browser.mjs"
FLAGS = ["--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage"]
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The browser from npm, unpacked."""
    done = subprocess.run(
        [NODE, BROWSER],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path_factory.mktemp("chromium"))},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
async def page(chromium: str) -> AsyncIterator[Page]:
    """An empty tab."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        yield page
        await browser.close()


async def test_staff_sign_in_with_a_real_browser_at_a_provider_of_another_site(
    database_url: str, tmp_path: Path, corp: Front, page: Page
) -> None:
    """On localhost we are another site than 127.0.0.1: the state's cookie must survive the way back (Lax)."""
    async with serving(database_url, tmp_path, corp, host="localhost") as site:
        await page.goto(f"{site.url}/api/v1/auth/oauth/corp/start?returnTo=/docs%3Fa%3Db%23top")
        assert page.url.startswith(corp.issuer)
        await page.fill("input[name=login]", "ada")
        await page.fill("input[name=password]", "anything")
        await page.click("button[type=submit]")
        await page.wait_for_selector("button[autofocus], button.login-submit")
        await page.click("button[type=submit]")
        await page.wait_for_url(f"{site.url}/docs?a=b#top")
        cookies = {one["name"]: one for one in await page.context.cookies(site.url)}
        assert cookies["echain_token"]["httpOnly"]
        assert cookies["echain_refresh"]["httpOnly"]
        assert await page.evaluate("document.cookie.includes('echain_token')") is False
        assert "code=" not in await page.evaluate("document.referrer")
        history = await page.evaluate("performance.getEntriesByType('navigation')[0].name")
        assert "code=" not in history
        await page.goto(f"{site.url}/api/v1/auth/me")
        me = json.loads(await page.inner_text("body"))
        assert me["success"], me
        assert me["data"]["address"] is None
