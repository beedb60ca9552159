"""The shop with its pages."""

from __future__ import annotations

import pytest
from tests.edge.http_client import Client
from tests.events.conftest import shop, shop_node, shop_url
from tests.events.shop import CHAIN_ID, DEVNET, KEYS, PUBLIC_URL, Shop
from tests.pages.reading import SITE

from echain.edge.http import StoredIdempotency, application
from echain.events import pages as events_pages
from echain.media import rest as media_rest
from echain.media.pressing import Presses
from echain.notify.calendarpage import calendar_endpoint
from echain.notify.composing import Composer
from echain.notify.letters import Brand
from echain.notify.rendering import Templates
from echain.tickets import pages as tickets_pages

__all__ = ["page", "shop", "shop_node", "shop_url"]


@pytest.fixture
def page(shop: Shop) -> Client:
    composer = Composer(Templates(), KEYS, Brand.of("echain <tickets@tickets.example>", PUBLIC_URL), {})
    app = application(
        [
            *SITE.endpoints(),
            *events_pages.endpoints(shop.database, SITE, {CHAIN_ID: DEVNET}),
            *tickets_pages.endpoints(shop.database, SITE, shop.authenticator),
            calendar_endpoint(shop.database, composer),
            *media_rest.endpoints(shop.database, Presses()),
        ],
        authenticate=shop.authenticator,
        clock=shop.clock,
        idempotency=StoredIdempotency(shop.database),
        title="echain",
        version="1",
        refusal_page=SITE.refusal,
    )
    return Client(app)
