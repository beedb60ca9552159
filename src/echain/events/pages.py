"""Pages of events: what is on, and one event with its tickets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from echain.chain.chains import Chain
from echain.edge.html import LANGUAGES, Locale, Site, chosen_language, locale_of
from echain.edge.http import Call, Endpoint, Nothing, Raw, get
from echain.events import covers, listing, resource, service, store
from echain.events.listing import EventFilter, EventSearch
from echain.events.types import Event, EventNotFound, Status
from echain.infra.database import Database
from echain.media import service as media
from echain.media.types import Image
from echain.organizations.service import Reach

TAG: Final = "pages"
HTML: Final = "text/html; charset=utf-8"
PER_PAGE: Final = 24
_FEW: Final = 20
"""From so few tickets on people are told how many are left."""

_CATEGORIES: Final = ("music", "conference", "theatre", "art", "sport", "food", "meetup", "workshop")
_COVER: Final = (("cache-control", "public, max-age=31536000, immutable"),)
_IPFS: Final = "ipfs://"
_NOBODY: Final = Reach((), (), ())


class What(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What somebody looks for; what makes no sense is not looked for."""

    q: str = ""
    category: str = ""
    from_: str = ""
    to: str = ""
    page: str = ""


class EventPath(msgspec.Struct, frozen=True):
    """An event in a path."""

    id: UUID


class Card(msgspec.Struct, frozen=True):
    """An event on a list. ``price`` None: nothing is on sale."""

    event: Event
    image: Image | None
    price: str | None
    remaining: int


class Pages:
    """Renders pages of events for everybody; nobody's name is on them."""

    def __init__(self, database: Database, site: Site, chains: Mapping[int, Chain]) -> None:
        self._database = database
        self._site = site
        self._chains = chains

    async def discover(self, what: What, locale: Locale, now: datetime) -> Raw:
        """Return the page of what is on."""
        number = max(1, int(what.page)) if what.page.isdecimal() and len(what.page) < 5 else 1  # noqa: PLR2004
        events, total = await self._found(what, number, now)
        images = await self._images(event.image for event in events)
        return self._site.page(
            "discover.html.j2",
            locale,
            "/events",
            what=what,
            cards=[self._card(event, images, locale) for event in events],
            total=total,
            number=number,
            pages=-(-total // PER_PAGE),
            categories=_CATEGORIES,
            page_of=partial(_query, what),
        )

    async def event(self, event_id: UUID, locale: Locale, now: datetime) -> Raw:
        """Return the page of a published event.

        Raises:
            EventNotFound: there is none, or it is a draft.
        """
        row = await store.event(self._database, event_id)
        if row is None:
            raise EventNotFound
        event = resource.event_of(row, now)
        if event.status == "draft":
            raise EventNotFound
        offer = await service.availability(self._database, event_id, now=now)
        images = await self._images([event.image])
        chain = self._chains.get(event.chain_id)
        return self._site.page(
            "event.html.j2",
            locale,
            f"/events/{event.id}",
            event=event,
            image=_image_of(event, images),
            tiers=offer.tiers,
            remaining=offer.remaining,
            price=partial(self._price, chain_id=event.chain_id, locale=locale),
            few=_FEW,
            chain=chain,
            links=_links(event, chain),
            now=now,
        )

    async def _found(self, what: What, number: int, now: datetime) -> tuple[list[Event], int]:
        offset = (number - 1) * PER_PAGE
        begin, end = _day(what.from_), _day(what.to)
        until = None if end is None else end + timedelta(days=1)
        category = what.category if what.category in _CATEGORIES else None
        status: Status = "upcoming"
        if words := what.q.strip()[:200]:
            search = EventSearch(q=words, from_=begin, to=until, status=status, category=category)
            rows, total = await listing.search(self._database, search, now=now, limit=PER_PAGE, offset=offset)
        else:
            query = EventFilter(from_=begin, to=until, status=status, category=category)
            rows, total = await listing.page_of(
                self._database, query, reach=_NOBODY, now=now, limit=PER_PAGE, offset=offset
            )
        return [resource.event_of(row, now) for row in rows], total

    async def _images(self, uris: Iterable[str | None]) -> dict[str, Image]:
        cids = {uri.removeprefix(_IPFS) for uri in uris if uri is not None and uri.startswith(_IPFS)}
        return await media.images(self._database, cids)

    def _card(self, event: Event, images: Mapping[str, Image], locale: Locale) -> Card:
        prices = [int(tier.price_wei) for tier in event.tiers if tier.remaining]
        price = self._price(min(prices), event.chain_id, locale) if prices else None
        return Card(event, _image_of(event, images), price, sum(tier.remaining for tier in event.tiers))

    def _price(self, wei: int | str, chain_id: int, locale: Locale) -> str | None:
        """Return an amount in the chain's coin; an empty text when it costs nothing."""
        if not int(wei):
            return ""
        chain = self._chains.get(chain_id)
        return locale.coins(int(wei), "ETH" if chain is None else chain.native_symbol)


def endpoints(database: Database, site: Site, chains: Mapping[int, Chain]) -> list[Endpoint]:
    """Return the pages of events in every language, and the covers of events without a picture."""
    pages = Pages(database, site, chains)
    listed = [one for code in LANGUAGES for one in _in(locale_of(code), pages)]
    return [*listed, _cover_endpoint(), _root(pages)]


def _in(locale: Locale, pages: Pages) -> list[Endpoint]:
    @get(
        f"{locale.prefix}/events/{{id}}",
        summary=f"Page of an event, in {locale.name}",
        tag=TAG,
        answer=Raw,
        media_type=HTML,
        path_params=EventPath,
        errors=(EventNotFound,),
        listed=False,
    )
    async def event(call: Call[EventPath, Nothing, Nothing]) -> Raw:
        return await pages.event(call.path.id, locale, call.now)

    @get(
        f"{locale.prefix}/events",
        summary=f"What is on, in {locale.name}",
        tag=TAG,
        answer=Raw,
        media_type=HTML,
        query=What,
        listed=False,
    )
    async def discover(call: Call[Nothing, What, Nothing]) -> Raw:
        return await pages.discover(call.query, locale, call.now)

    return [event, discover]


def _root(pages: Pages) -> Endpoint:
    @get("/", summary="What is on", tag=TAG, answer=Raw, media_type=HTML, query=What, listed=False)
    async def root(call: Call[Nothing, What, Nothing]) -> Raw:
        code = chosen_language(call.headers.get("accept-language", ""))
        return await pages.discover(call.query, locale_of(code), call.now)

    return root


def _cover_endpoint() -> Endpoint:
    @get(
        "/covers/{id}",
        summary="The cover of an event without a picture",
        tag=TAG,
        answer=Raw,
        media_type="image/svg+xml",
        path_params=EventPath,
        listed=False,
    )
    async def cover(call: Call[EventPath, Nothing, Nothing]) -> Raw:
        return Raw(covers.cover_of(call.path.id), "image/svg+xml", headers=_COVER)

    return cover


def _image_of(event: Event, images: Mapping[str, Image]) -> Image | None:
    return None if event.image is None else images.get(event.image.removeprefix(_IPFS))


def _day(text: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        return None


def _query(what: What, page: int) -> str:
    fields = {"q": what.q, "category": what.category, "from": what.from_, "to": what.to}
    kept = {name: value for name, value in fields.items() if value}
    return "?" + urlencode({**kept, "page": page})


def _links(event: Event, chain: Chain | None) -> dict[str, str]:
    """Return where the chain's explorer shows an event's contract and the transaction that made it."""
    if chain is None or chain.explorer_url is None:
        return {}
    return {
        "contract": f"{chain.explorer_url}/address/{event.ticket_contract}",
        "transaction": f"{chain.explorer_url}/tx/{event.transaction_hash}",
    }
