"""What the relay's messages set off: in the app at once, mail and push once no reorg can take the fact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from echain.events import service as events
from echain.infra.database import Tx
from echain.infra.jobs import enqueue
from echain.infra.relay import Relayed
from echain.notify import service, store
from echain.notify.heard import Heard, hear, with_event
from echain.notify.kinds import ANNOUNCE
from echain.notify.rendering import Templates
from echain.notify.service import Reach
from echain.notify.types import Notice

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.notify")


class Listener:
    """Hears messages in the relay's transactions: a few set-based statements a batch, no mail is written."""

    def __init__(self, templates: Templates, reach: Reach, clock: Callable[[], datetime]) -> None:
        self._templates = templates
        self._reach = reach
        self._clock = clock

    async def seen(self, tx: Tx, messages: Sequence[Relayed]) -> None:
        """Tell in the app what was just said; take back what a reorg took."""
        heard = self._heard(messages, settled=False)
        now = self._clock()
        if heard.undone:
            await store.undo(tx, heard.undone, now=now)
        await service.tell(tx, await _described(tx, heard), self._templates, now=now)
        await enqueue(tx, ANNOUNCE, heard.announcements)

    async def settled(self, tx: Tx, messages: Sequence[Relayed]) -> None:
        """Mail and push what no reorg can take back; tell it in the app where that has not happened yet."""
        heard = self._heard(messages, settled=True)
        now = self._clock()
        known = await service.tell(tx, await _described(tx, heard), self._templates, now=now)
        await service.settle(tx, known, self._reach, now=now)
        await enqueue(tx, ANNOUNCE, heard.announcements)

    def _heard(self, messages: Sequence[Relayed], *, settled: bool) -> Heard:
        """Return what messages ask for. One that cannot be read is a bug, and must not stop the others."""
        heard: list[Heard] = []
        for message in messages:
            try:
                heard.append(hear(message, settled=settled))
            except Exception:  # noqa: BLE001 -- logged whole, and the next one is heard
                _log.exception("notify.unreadable", type=message.type, sequence=message.sequence)
        return Heard(
            [notice for one in heard for notice in one.notices],
            [announcement for one in heard for announcement in one.announcements],
            [source for one in heard for source in one.undone],
        )


async def _described(tx: Tx, heard: Heard) -> list[Notice]:
    """Return the notices of people we know with their events; those whose event a reorg took are left out."""
    notices = [notice for _, notice in await service.with_users(tx, heard.notices)]
    known = await events.described(tx, {notice.event_id for notice in notices if notice.event_id})
    return [
        with_event(notice, known.get(notice.event_id) if notice.event_id else None)
        for notice in notices
        if notice.event_id is None or notice.event_id in known
    ]
