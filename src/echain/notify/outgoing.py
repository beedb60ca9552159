"""Making deliveries: a mail or a push each, written down before and after it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from echain.infra.crypto import Unopenable
from echain.infra.database import Row
from echain.infra.jobs import Retry, Run
from echain.infra.mail import MailDeferred, Mailer, MailRefused, RecipientRefused
from echain.infra.metrics import Metrics
from echain.kernel.evm import Address
from echain.kernel.time import Clock
from echain.notify import addressstore, deliverystore, pushstore, rules, service, store
from echain.notify.composing import Composer
from echain.notify.facts import Facts, Told
from echain.notify.kinds import Delivery
from echain.notify.pushing import PushDeferred, Pusher, PushGone, PushRefused
from echain.notify.types import NoticeKind

HOLD: Final = timedelta(seconds=60)
"""How long a delivery that is being sent is left to whoever sends it; then it counts as lost."""

_SEND_SECONDS: Final = 45.0
"""Less than that, so that nobody sends what another has taken over."""

_URGENT: Final = frozenset({NoticeKind.SECURITY, NoticeKind.ALARM, NoticeKind.EVENT_CANCELLED})
_PUSH_LIFE: Final = timedelta(hours=24)
_DELAYS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400)

_SUSPENDED: Final = Told(
    "Your e-mail address does not work",
    "Mail to it came back three times, so no more is sent. Set it again, or set another one.",
    "email_suspended",
)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.notify")


class Outgoing:
    """Handles the jobs `notify.mail` and `notify.push`.

    A delivery is claimed in one transaction, sent outside of any, and ended in the job's effect. Killed in
    between it is sent again once the claim has run out, with the same Message-ID or topic.
    """

    def __init__(
        self, composer: Composer, mailer: Mailer | None, pusher: Pusher | None, metrics: Metrics, clock: Clock
    ) -> None:
        self._composer = composer
        self._mailer = mailer
        self._pusher = pusher
        self._clock = clock
        self._sent = metrics.counter(
            "echain_notifications_total", "deliveries by what became of them", ("channel", "kind", "outcome")
        )
        self._delay = metrics.histogram(
            "echain_notification_delay_seconds",
            "from the settled fact to the hand-over",
            ("channel",),
            buckets=_DELAYS,
        )

    async def mail(self, run: Run[Delivery]) -> None:
        """Send one mail."""
        claimed = await self._claimed(run)
        if claimed is None:
            return
        try:
            dropped = await self._mail(run, claimed)
        except MailDeferred as error:
            await self._postpone(run, claimed, "email", error.message)
            raise Retry(error.message) from None
        except MailRefused as error:
            await self._returned(run, claimed, error)
            return
        await self._end(run, claimed, "email", dropped)

    async def push(self, run: Run[Delivery]) -> None:
        """Send one push."""
        claimed = await self._claimed(run)
        if claimed is None:
            return
        try:
            dropped = await self._push(run, claimed)
        except PushDeferred as error:
            await self._postpone(run, claimed, "push", error.message)
            raise Retry(error.message, error.after_seconds) from None
        except (PushGone, PushRefused) as error:
            await self._unreachable(run, claimed, error)
            return
        await self._end(run, claimed, "push", dropped)

    async def _claimed(self, run: Run[Delivery]) -> Row | None:
        """Return the delivery once it is ours to make; None when it has been made."""
        now = self._clock()
        async with run.database.transaction() as tx:
            claimed = await deliverystore.claim(tx, run.payload.id, now=now, until=now + HOLD)
            held = None if claimed else await deliverystore.held_until(tx, run.payload.id)
        if held is not None:
            raise Retry("another worker has it, or had it when it ended", (held - now).total_seconds() + 0.1)
        return claimed

    async def _mail(self, run: Run[Delivery], claimed: Row) -> str | None:
        """Send a claimed mail; return why it is not wanted any more, if so."""
        if self._mailer is None:
            raise MailDeferred("no mail server is set")
        async with run.database.connection() as connection:
            address = await addressstore.address(connection, claimed["user_id"])
            if address is None or address["suspended_at"] is not None:
                return "no address"
            letter = await self._composer.letter(connection, claimed, address, now=self._clock())
        if isinstance(letter, str):
            return letter
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._mailer.send(letter.data, sender=letter.sender, recipient=letter.recipient)
        except TimeoutError:
            raise MailDeferred("the mail server took too long") from None
        return None

    async def _push(self, run: Run[Delivery], claimed: Row) -> str | None:
        """Send a claimed push; return why it is not wanted any more, if so."""
        if self._pusher is None:
            return "no push"
        now = self._clock()
        async with run.database.connection() as connection:
            sealed = await pushstore.subscription(connection, claimed["target"])
            row = await store.notification(connection, claimed["notification_id"])
            settings = (await store.settings_of(connection, [claimed["user_id"]]))[claimed["user_id"]]
        if sealed is None or row is None or row["undone_at"] is not None:
            return "nothing to send"
        if not rules.chosen(settings.choices, NoticeKind(row["kind"]), "push"):
            return "unsubscribed"
        try:
            plain = pushstore.SUBSCRIPTION.open(self._composer.keys, claimed["target"], sealed)
        except Unopenable:
            return "the subscription cannot be opened"
        shown = service.shown(row, settings, self._composer.templates)
        payload = {
            "id": str(shown.id),
            "kind": shown.kind,
            "title": shown.title[:200],
            "text": shown.text[:500],
            "eventId": None if shown.event_id is None else str(shown.event_id),
            "language": settings.language,
        }
        await self._pusher.push(
            msgspec.json.decode(plain, type=pushstore.Subscription),
            msgspec.json.encode(payload),
            topic=row["id"],
            life=_life(row["data"], now) if row["kind"] == NoticeKind.REMINDER else _PUSH_LIFE,
            now=now,
            urgency="high" if row["kind"] in _URGENT else "normal",
        )
        return None

    async def _postpone(self, run: Run[Delivery], claimed: Row, channel: str, reason: str) -> None:
        async with run.database.transaction() as tx:
            await deliverystore.postpone(tx, claimed["id"], reason)
        self._sent.labels(channel, claimed["kind"], "deferred").inc()

    async def _end(self, run: Run[Delivery], claimed: Row, channel: str, dropped: str | None) -> None:
        now = self._clock()
        async with run.effect() as tx:
            state = "sent" if dropped is None else "dropped"
            await deliverystore.end(tx, claimed["id"], state, now=now, reason=dropped)
            if dropped is None and channel == "email":
                await addressstore.arrived(tx, claimed["user_id"])
            elif dropped is None:
                await pushstore.reached(tx, claimed["target"], now=now)
        self._sent.labels(channel, claimed["kind"], state).inc()
        if dropped is None:
            self._delay.labels(channel).observe(max(0.0, (now - claimed["created_at"]).total_seconds()))

    async def _returned(self, run: Run[Delivery], claimed: Row, error: MailRefused) -> None:
        """Note a mail that no try will deliver; an address whose mail keeps coming back gets no more."""
        now = self._clock()
        async with run.effect() as tx:
            await deliverystore.end(tx, claimed["id"], "failed", now=now, reason=error.message)
            if isinstance(error, RecipientRefused) and await addressstore.bounced(
                tx, claimed["user_id"], limit=rules.BOUNCES_UNTIL_SUSPENDED, now=now
            ):
                row = await store.notification(tx, claimed["notification_id"])
                if row is not None:
                    await service.warn(
                        tx,
                        Address(row["address"]),
                        _SUSPENDED,
                        self._composer.templates,
                        now=now,
                        occasion=f"email suspended {now.isoformat()}",
                    )
        self._sent.labels("email", claimed["kind"], "failed").inc()
        _log.warning("notify.mail_refused", delivery=str(claimed["id"]), reason=error.message)

    async def _unreachable(self, run: Run[Delivery], claimed: Row, error: PushGone | PushRefused) -> None:
        now = self._clock()
        async with run.effect() as tx:
            await deliverystore.end(tx, claimed["id"], "failed", now=now, reason=error.message)
            if isinstance(error, PushGone):
                await pushstore.remove(tx, claimed["target"])
        self._sent.labels("push", claimed["kind"], "failed").inc()


def _life(data: Mapping[str, object], now: datetime) -> timedelta:
    """Return how long a reminder is worth showing: until the event begins."""
    event = msgspec.convert(data, Facts).event
    return _PUSH_LIFE if event is None else max(event.starts_at - now, timedelta(0))
