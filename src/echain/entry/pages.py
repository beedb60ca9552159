"""The pages for people, with what they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echain.chain.chains import Chain
from echain.edge.html import Site
from echain.edge.http import Endpoint
from echain.entry.connections import Services
from echain.events import pages as events_pages
from echain.infra.config import Config
from echain.insights import pages as insights_pages
from echain.tickets import pages as tickets_pages

_BRAND: Final = "echain"


def site_of(config: Config) -> Site:
    """Return the web app of this installation."""
    return Site(brand=_BRAND, public_url=config.public_url, live_url=config.realtime_url)


def page_endpoints(
    site: Site, parts: Services, chains: Mapping[int, Chain], authenticate: tickets_pages.Authenticate
) -> list[Endpoint]:
    """Return every slice's pages, and the files that they load."""
    return [
        *site.endpoints(),
        *events_pages.endpoints(parts.database, site, chains),
        *tickets_pages.endpoints(parts.database, site, authenticate),
        *insights_pages.endpoints(parts.database, site, parts.rpcs, chains),
    ]
