"""The page of an event's money: every movement with its transaction, beside what the contract says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from echain.chain.chains import Chain
from echain.chain.rpc import Rpc
from echain.edge.html import LANGUAGES, Locale, Site, locale_of
from echain.edge.http import Call, Endpoint, Nothing, Raw, get
from echain.events import service as events
from echain.events.types import EventNotFound
from echain.infra.database import Database
from echain.insights import service
from echain.insights.audit import Auditor
from echain.insights.types import EventPath, MovementFilter

TAG: Final = "pages"
HTML: Final = "text/html; charset=utf-8"


def endpoints(
    database: Database, site: Site, rpcs: Mapping[int, Rpc], chains: Mapping[int, Chain]
) -> list[Endpoint]:
    """Return the page in every language; ``rpcs`` and ``chains`` are those that are served, by id."""
    auditor = Auditor(rpcs, {chain_id: chain.unit_scale for chain_id, chain in chains.items()})
    return [_page(locale_of(code), database, site, auditor, chains) for code in LANGUAGES]


def _page(
    locale: Locale, database: Database, site: Site, auditor: Auditor, chains: Mapping[int, Chain]
) -> Endpoint:
    @get(
        f"{locale.prefix}/events/{{id}}/money",
        summary=f"Page of an event's money, in {locale.name}",
        tag=TAG,
        answer=Raw,
        media_type=HTML,
        path_params=EventPath,
        query=MovementFilter,
        errors=(EventNotFound,),
        listed=False,
    )
    async def money(call: Call[EventPath, MovementFilter, Nothing]) -> Raw:
        which = await events.published(database, call.path.id)
        if which.chain_id not in chains:
            raise EventNotFound
        chain = chains[which.chain_id]
        told = await service.event(database, auditor, chain, which, call.query)
        shown = await events.shown(database, [which.public_id], now=call.now)
        return site.page(
            "money.html.j2",
            locale,
            f"/events/{which.public_id}/money",
            event=shown[which.public_id],
            chain=chain,
            told=told,
            amount=partial(locale.coins, symbol=chain.native_symbol),
            first=not call.query.cursor,
        )

    return money
