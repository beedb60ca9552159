"""Buying in a browser, with a wallet that signs for real: how it goes, and each way it can stop."""

from __future__ import annotations

import asyncio
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, expect
from tests.browser.world import SECONDS, WalletError, World

expect.set_options(timeout=SECONDS)


async def opened(context: BrowserContext, world: World, event: dict[str, Any]) -> Page:
    page = await context.new_page()
    page.set_default_timeout(SECONDS)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None
    )
    await page.goto(f"{world.url}/events/{event['id']}")
    assert not problems
    return page


async def buy(page: Page, quantity: int = 1) -> None:
    await page.get_by_label("Quantity").select_option(str(quantity))
    await page.get_by_role("button", name="Buy").click()


async def says(page: Page, text: str) -> None:
    await expect(page.locator("#progress [data-say]")).to_contain_text(text)


async def test_a_wallet_signs_in_pays_and_has_the_tickets_while_others_watch(
    browser: Browser, world: World
) -> None:
    event = await world.event()
    buying, watching = await browser.new_context(), await browser.new_context()
    wallet = await world.wallet(buying)
    page, other = await opened(buying, world, event), await opened(watching, world, event)
    await expect(other.locator(".state")).to_have_text("50 left")
    await buy(page, 2)
    await says(page, "The tickets are yours")
    assert [ticket["eventId"] for ticket in await world.tickets_of(wallet.account.address)] == [
        event["id"]
    ] * 2
    await expect(page.locator(".state")).to_have_text("48 left")
    await expect(other.locator(".state")).to_have_text("48 left")
    assert wallet.asked == [
        *("eth_requestAccounts", "personal_sign", "eth_chainId", "eth_getBalance", "eth_sendTransaction")
    ]
    await page.get_by_role("button", name="Close").click()
    await buy(page)
    await says(page, "The tickets are yours")
    assert wallet.asked.count("personal_sign") == 1, "whoever is signed in is not asked again"
    hidden = {one.get("name") for one in await buying.cookies() if one.get("httpOnly")}
    assert {"echain_token", "echain_refresh"} <= hidden
    assert "echain_token" not in await page.evaluate("document.cookie + JSON.stringify({ ...localStorage })")


async def test_a_purchase_that_is_declined_pays_nothing(browser: Browser, world: World) -> None:
    event = await world.event()
    for method in ("eth_requestAccounts", "personal_sign", "eth_sendTransaction"):
        context = await browser.new_context()
        wallet = await world.wallet(context)

        async def declined() -> None:
            raise WalletError(4001, "User rejected the request.")

        wallet.before[method] = declined
        page = await opened(context, world, event)
        await buy(page)
        await says(page, "You declined in your wallet")
        assert wallet.asked[-1] == method
        del wallet.before[method]
        await page.get_by_role("button", name="Close").click()
        await buy(page)
        await says(page, "The tickets are yours")
        await context.close()


async def test_somebody_is_faster_while_the_wallet_asks(browser: Browser, world: World) -> None:
    event = await world.event(tiers=[{"name": "Last", "priceWei": "1000", "supply": 2}])
    context = await browser.new_context()
    wallet, rival = await world.wallet(context), await world.person("rival")

    async def bought() -> None:
        await world.buy(rival, event, 2)

    wallet.before["eth_sendTransaction"] = bought
    page = await opened(context, world, event)
    await buy(page)
    await says(page, "Somebody was faster")
    assert await world.tickets_of(wallet.account.address) == []
    await expect(page.locator(".state")).to_have_text("Sold out")
    await page.get_by_role("button", name="Close").click()
    await expect(page.get_by_role("button", name="Buy")).to_be_hidden()


async def test_a_wallet_with_too_little_is_told_before_it_signs(browser: Browser, world: World) -> None:
    event = await world.event(tiers=[{"name": "Dear", "priceWei": str(50 * 10**18), "supply": 5}])
    context = await browser.new_context()
    wallet = await world.wallet(context, ether=1)
    page = await opened(context, world, event)
    await buy(page)
    await says(page, "There is too little in this wallet")
    assert "eth_sendTransaction" not in wallet.asked


async def test_a_wallet_on_another_chain_is_asked_to_switch(browser: Browser, world: World) -> None:
    event = await world.event()
    context = await browser.new_context()
    wallet = await world.wallet(context, chain_id=1)
    page = await opened(context, world, event)
    await buy(page)
    await says(page, "does not know this event's network")
    wallet.knows.add(world.chain_id)
    await page.get_by_role("button", name="Close").click()
    await buy(page)
    await says(page, "The tickets are yours")


async def test_without_a_wallet_people_are_told_what_to_do(browser: Browser, world: World) -> None:
    page = await opened(await browser.new_context(), world, await world.event())
    await buy(page)
    await says(page, "No wallet was found")


async def test_of_several_wallets_one_is_chosen_and_offered_first_from_then_on(
    browser: Browser, world: World
) -> None:
    event = await world.event()
    context = await browser.new_context()
    one = await world.wallet(context, name="Alpha")
    two = await world.wallet(context, name="Beta")
    page = await opened(context, world, event)
    await buy(page)
    await page.get_by_role("button", name="Beta").click()
    await says(page, "The tickets are yours")
    assert one.asked == []
    assert two.asked
    await page.get_by_role("button", name="Close").click()
    await buy(page)
    await expect(page.locator("[data-wallets] button").first).to_have_text("Beta")


async def test_the_platform_goes_away_and_the_page_says_so(browser: Browser, world: World) -> None:
    event = await world.event()
    context = await browser.new_context()
    await world.wallet(context)
    page = await opened(context, world, event)
    await context.set_offline(True)
    await buy(page)
    await says(page, "We cannot be reached right now")
    await context.set_offline(False)
    await page.get_by_role("button", name="Close").click()
    await buy(page)
    await says(page, "The tickets are yours")


async def test_the_session_renews_itself_when_its_token_has_expired(browser: Browser, world: World) -> None:
    event = await world.event()
    context = await browser.new_context()
    wallet = await world.wallet(context)
    page = await opened(context, world, event)
    await buy(page)
    await says(page, "The tickets are yours")
    await context.clear_cookies(name="echain_token")
    await page.get_by_role("button", name="Close").click()
    await buy(page)
    await says(page, "The tickets are yours")
    assert wallet.asked.count("personal_sign") == 1


async def test_everything_can_be_read_without_scripts(browser: Browser, world: World) -> None:
    event = await world.event()
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{world.url}/events?q=harbour")
    await page.get_by_role("link", name="Harbour Lights").first.click()
    await expect(page.get_by_role("heading", name="Harbour Lights")).to_be_visible()
    assert await page.get_by_role("button", name="Buy").count() == 0
    assert "Buying needs a wallet in the browser" in await page.content()
    assert event["title"] in await page.title()


async def test_a_page_that_slept_shows_what_is_left_now(browser: Browser, world: World) -> None:
    event = await world.event()
    context = await browser.new_context()
    page = await opened(context, world, event)
    await expect(page.locator(".state")).to_have_text("50 left")
    rival = await world.person("rival")
    await asyncio.gather(world.buy(rival, event, 3), page.reload())
    await expect(page.locator(".state")).to_have_text("47 left")
