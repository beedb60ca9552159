"""The page of somebody's tickets: for them alone, and never an error for whoever is signed out."""

from __future__ import annotations

from datetime import timedelta

from tests.edge.http_client import Client
from tests.events.shop import Shop
from tests.pages.reading import text

from echain.kernel.time import rfc3339


def as_cookie(client: Client) -> dict[str, str]:
    """Return the headers of a browser that has this client's session in its cookie."""
    token = client.defaults["authorization"].partition(" ")[2]
    return {"cookie": f"__Host-echain_token={token}"}


async def test_tickets_are_shown_to_whoever_holds_them(shop: Shop, page: Client) -> None:
    ada, bo = await shop.person(), await shop.person()
    event, _ = await shop.published(ada, title="Harbour Lights")
    await shop.sold(event, bo, quantity=2)
    mine = await page("GET", "/tickets", headers=as_cookie(bo.client))
    assert mine.status == 200
    assert mine.header("cache-control") == "no-store"
    shown = mine.body.decode()
    assert shown.count("Harbour Lights") == 2
    assert event.ticket(1) in shown
    assert event.ticket(2) in shown
    assert "You hold no tickets yet" in await text(page, "/tickets", **as_cookie(ada.client))


async def test_whoever_is_signed_out_is_shown_how_to_sign_in(shop: Shop, page: Client) -> None:
    bo = await shop.person()
    event, _ = await shop.published(bo)
    await shop.sold(event, bo)
    cookie = as_cookie(bo.client)
    assert event.ticket(1) in await text(page, "/tickets", **cookie)
    assert (await bo.client("POST", "/api/v1/auth/logout")).status == 200
    ended = [{}, cookie, {"cookie": "__Host-echain_token=nonsense"}]
    for headers in ended:
        shown = await text(page, "/de/tickets", **headers)
        assert "Mit Wallet anmelden" in shown
        assert event.ticket(1) not in shown


async def test_a_ticket_offers_what_may_be_done_with_it(shop: Shop, page: Client) -> None:
    ada, bo = await shop.person(), await shop.person()

    async def shown() -> str:
        return await text(page, "/tickets", **as_cookie(bo.client))

    event, _ = await shop.published(ada)
    await shop.sold(event, bo)
    assert "data-give" in await shown()
    await shop.become(event, 1, "used")
    assert "data-give" not in await shown()
    second, _ = await shop.published(ada)
    await shop.sold(second, bo)
    await shop.cancelled(second)
    assert "data-refund" in await shown()
    await shop.become(second, 1, "refunded")
    assert "data-refund" not in await shown()
    third, _ = await shop.published(ada, rules={"giftPolicy": "forbidden"})
    await shop.sold(third, bo)
    assert "data-give" not in await shown()


async def test_what_is_over_stands_below_and_what_comes_first_stands_first(shop: Shop, page: Client) -> None:
    ada, bo = await shop.person(), await shop.person()
    for days, title in ((9, "Later"), (3, "Sooner")):
        start = shop.clock() + timedelta(days=days)
        event, _ = await shop.published(
            ada, title=title, startTime=rfc3339(start), endTime=rfc3339(start + timedelta(hours=2))
        )
        await shop.sold(event, bo)
    shown = await text(page, "/tickets", **as_cookie(bo.client))
    assert shown.index("Sooner") < shown.index("Later")
    assert "Past and cancelled" not in shown
    await shop.cancelled(event)
    shown = await text(page, "/tickets", **as_cookie(bo.client))
    assert shown.index("Later") < shown.index("Past and cancelled") < shown.index("Sooner")


async def test_somebody_without_a_wallet_holds_none(shop: Shop, page: Client) -> None:
    bo = await shop.person()
    await shop.database.execute("UPDATE sessions SET address = NULL")
    shop.authenticator.forget_all()
    assert "You hold no tickets yet" in await text(page, "/tickets", **as_cookie(bo.client))
