"""Nobody is kept out: every page, in both colours and on a phone, before the rules of WCAG 2.2 AA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser
from tests.browser.world import SECONDS, World

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_pages_have_no_known_barrier(browser: Browser, world: World, colours: Any) -> None:
    event = await world.event(
        category="music", place={"name": "Harbour", "address": "Quay 1", "latitude": 53.5, "longitude": 9.9}
    )
    for viewport in (PHONE, DESK):
        context = await browser.new_context(color_scheme=colours, viewport=viewport, bypass_csp=True)  # type: ignore[arg-type]
        page = await context.new_page()
        page.set_default_timeout(SECONDS)
        for path in (
            "/events",
            "/events?q=nothingatall",
            f"/events/{event['id']}",
            f"/ar/events/{event['id']}",
            f"/events/{event['id']}/money",
            "/tickets",
        ):
            await page.goto(world.url + path)
            await page.add_script_tag(path=AXE)
            found = await page.evaluate("(rules) => axe.run(document, { runOnly: rules })", RULES)
            shown = [
                (one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]
            ]
            assert not shown, (path, viewport, shown)
            wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{path} scrolls sideways by {wide} pixels"
        await context.close()


async def test_a_purchase_can_be_made_by_keyboard_alone(browser: Browser, world: World) -> None:
    event = await world.event()
    context = await browser.new_context()
    await world.wallet(context)
    page = await context.new_page()
    page.set_default_timeout(SECONDS)
    await page.goto(f"{world.url}/events/{event['id']}")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.className") == "skip"
    await page.keyboard.press("Enter")
    for _ in range(20):
        if await page.evaluate("document.activeElement.matches('.tickets button')"):
            break
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.get_by_text("The tickets are yours").wait_for()
    await page.keyboard.press("Escape")
    assert await page.evaluate("document.activeElement.matches('.tickets button')"), "back where they were"
