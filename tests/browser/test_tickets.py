"""Somebody's tickets in a browser: signing in and out, giving away, taking money back."""

from __future__ import annotations

from playwright.async_api import Browser, Page, expect
from tests.browser.world import SECONDS, World

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
