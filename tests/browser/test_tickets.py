"""Somebody's tickets in a browser: signing in and out, giving away, taking money back."""

from __future__ import annotations

from io import BytesIO

import zxingcpp
from PIL import Image
from playwright.async_api import Browser, Page, expect
from tests.browser.world import SECONDS, World

from echain.entry.wallet import Client

expect.set_options(timeout=SECONDS)
OTHER = "0x000000000000000000000000000000000000dEaD"


async def opened(browser: Browser, world: World) -> tuple[Page, str]:
    context = await browser.new_context()
    wallet = await world.wallet(context)
    page = await context.new_page()
    page.set_default_timeout(SECONDS)
    await page.goto(f"{world.url}/tickets")
    return page, wallet.account.address


async def sign_in(page: Page) -> None:
    await page.get_by_role("button", name="Sign in with a wallet").click()
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()


async def says(page: Page, text: str) -> None:
    await expect(page.locator("#progress [data-say]")).to_contain_text(text)


async def test_a_wallet_signs_in_sees_its_tickets_and_signs_out(browser: Browser, world: World) -> None:
    event = await world.event(title="Mine to see")
    page, address = await opened(browser, world)
    await world.given(event, address, 2)
    await sign_in(page)
    await expect(page.get_by_role("link", name="Mine to see")).to_have_count(2)
    await page.context.clear_cookies(name="echain_token")
    await page.reload()
    await expect(page.get_by_role("link", name="Mine to see")).to_have_count(2)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("button", name="Sign in with a wallet")).to_be_visible()
    await expect(page.get_by_role("link", name="Mine to see")).to_have_count(0)
    assert not [one for one in await page.context.cookies() if one.get("name") == "echain_refresh"]


async def test_a_ticket_is_given_away_and_is_then_somebody_elses(browser: Browser, world: World) -> None:
    event = await world.event(title="A present")
    page, address = await opened(browser, world)
    await world.given(event, address, 1)
    await sign_in(page)
    await page.get_by_role("button", name="Give away").click()
    await page.get_by_role("button", name="Keep it").click()
    assert len(await world.tickets_of(address)) == 1
    await page.get_by_role("button", name="Give away").click()
    await page.get_by_label("Address of the new holder").fill(OTHER)
    await page.get_by_role("button", name="Give it away").click()
    await says(page, "Done.")
    await page.get_by_role("button", name="Close").click()
    await expect(page.get_by_role("link", name="A present")).to_have_count(0)
    assert [one["eventId"] for one in await world.tickets_of(OTHER)].count(event["id"]) == 1


async def test_the_money_of_a_cancelled_event_comes_back(browser: Browser, world: World) -> None:
    event = await world.event(title="Rained off")
    page, address = await opened(browser, world)
    await world.given(event, address, 1)
    organizer = world.organizer
    await organizer.send(await organizer.client.call("DELETE", f"/events/{event['id']}"))
    await sign_in(page)
    before = int(await world.rpc.call("eth_getBalance", [address, "latest"]), 16)
    await page.get_by_role("button", name="Take the money back").click()
    await says(page, "Done.")
    assert int(await world.rpc.call("eth_getBalance", [address, "latest"]), 16) > before
    await page.get_by_role("button", name="Close").click()
    await expect(page.get_by_text("Refunded")).to_be_visible()


async def code_on(page: Page) -> str:
    """Return what a scanner reads off the screen, in the size of a phone."""
    await expect(page.locator("#code")).to_have_attribute("data-state", "shown")
    (found,) = zxingcpp.read_barcodes(Image.open(BytesIO(await page.screenshot())))
    return str(found.text)


async def test_the_code_on_a_phone_admits_once_and_is_gone_when_closed(
    browser: Browser, world: World
) -> None:
    event = await world.event(title="At the door")
    page, address = await opened(browser, world)
    await page.set_viewport_size({"width": 390, "height": 844})
    await world.given(event, address, 1)
    gate = await world.organizer.client.post("/gates", {"eventId": event["id"], "name": "Main door"})
    door = Client(world.http, world.url, gate["secret"])
    await sign_in(page)
    await page.get_by_role("button", name="Show the code").click()
    scan = f"/gates/{gate['id']}/scan"
    assert (await door.post(scan, {"code": await code_on(page)}))["verdict"] == "admitted"
    assert (await door.post(scan, {"code": await code_on(page)}))["verdict"] == "already_admitted"
    await page.get_by_role("button", name="Close").click()
    assert await page.locator("#code canvas").evaluate("canvas => canvas.width") == 0


async def test_without_network_the_code_says_so_and_comes_back_by_itself(
    browser: Browser, world: World
) -> None:
    event = await world.event(title="In a cellar")
    page, address = await opened(browser, world)
    await world.given(event, address, 1)
    await sign_in(page)
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Show the code").click()
    await expect(page.locator("#code [data-say]")).to_contain_text("We cannot be reached right now")
    await page.context.set_offline(False)
    assert await code_on(page)
