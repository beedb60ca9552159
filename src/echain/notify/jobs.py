"""Background work of notifications: who handles which kind, and what the clock asks for."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import structlog

from echain.infra.jobs import Handler, JobKind, Retry, Run, Schedule
from echain.infra.mail import MailDeferred, Mailer, MailRefused
from echain.infra.metrics import Metrics
from echain.kernel.time import Clock
from echain.notify import addressstore
from echain.notify.addresses import farewell_context, token_context
from echain.notify.addressstore import ASKED
from echain.notify.announcing import Announcer
from echain.notify.composing import Composer, Letter
from echain.notify.kinds import (
    ANNOUNCE,
    DIGESTS,
    FAREWELL,
    MAIL,
    PUSH,
    REMIND,
    SWEEP,
    VERIFY,
    AskAddress,
    Farewell,
    Tick,
)
from echain.notify.outgoing import Outgoing
from echain.notify.pushing import Pusher
from echain.notify.rendering import words
from echain.notify.service import Reach
from echain.notify.wording import clean
from echain.organizations import inviting
from echain.organizations.kinds import INVITE, InvitationMail

REMIND_SECONDS: Final = 60.0
DIGEST_SECONDS: Final = 300.0
SWEEP_SECONDS: Final = 86_400.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.notify")


class Tools(msgspec.Struct, frozen=True):
    """What the handlers work with. Without ``mailer`` no mail is sent, without ``pusher`` no push."""

    composer: Composer
    mailer: Mailer | None
    pusher: Pusher | None
    metrics: Metrics
    clock: Clock

    @property
    def reach(self) -> Reach:
        return Reach(email=self.mailer is not None, push=self.pusher is not None)


def handlers(tools: Tools) -> dict[JobKind[Any], Handler[Any]]:
    """Return the handler of each kind."""
    outgoing = Outgoing(tools.composer, tools.mailer, tools.pusher, tools.metrics, tools.clock)
    announcer = Announcer(tools.composer.templates, tools.reach, tools.clock)
    asking = _Asking(tools.composer, tools.mailer, tools.clock)
    return {
        MAIL: outgoing.mail,
        PUSH: outgoing.push,
        ANNOUNCE: announcer.announce,
        VERIFY: asking.verify,
        FAREWELL: asking.farewell,
        INVITE: asking.invite,
        REMIND: announcer.remind,
        DIGESTS: announcer.digests,
        SWEEP: announcer.sweep,
    }


def schedules() -> list[Schedule[Any]]:
    """Return what the clock asks for."""
    return [
        Schedule(REMIND, Tick(), every_seconds=REMIND_SECONDS),
        Schedule(DIGESTS, Tick(), every_seconds=DIGEST_SECONDS),
        Schedule(SWEEP, Tick(), every_seconds=SWEEP_SECONDS),
    ]


class _Asking:
    """Sends the mails that are no notifications: to addresses that are not, or no longer, somebody's own.

    Repeated after a crash they have the same Message-ID.
    """

    def __init__(self, composer: Composer, mailer: Mailer | None, clock: Clock) -> None:
        self._composer = composer
        self._mailer = mailer
        self._clock = clock

    async def verify(self, run: Run[AskAddress]) -> None:
        """Ask an address, unless its owner has answered or another mail has replaced this one."""
        asked = run.payload
        now = self._clock()
        async with run.database.connection() as connection:
            row = await addressstore.open_verification(connection, asked.verification_id, now=now)
        if row is None:
            return
        keys = self._composer.keys
        token = keys.open(asked.token, context=token_context(asked.verification_id)).decode()
        letter = self._composer.plain(
            "verify",
            asked.language,
            ASKED.open(keys, asked.verification_id, row["sealed"]).decode(),
            message_id=asked.verification_id,
            now=now,
            footer="footer_verify",
            action=("confirm", f"{self._composer.brand.public_url}/email/verify?token={token}"),
            wallet=asked.wallet,
        )
        await self._send(letter, "verify")

    async def farewell(self, run: Run[Farewell]) -> None:
        """Take leave of an address."""
        said = run.payload
        address = self._composer.keys.open(said.sealed, context=farewell_context(said.id)).decode()
        letter = self._composer.plain(
            "farewell",
            said.language,
            address,
            message_id=said.id,
            now=self._clock(),
            footer="footer_farewell",
            wallet=said.wallet,
        )
        await self._send(letter, "farewell")

    async def invite(self, run: Run[InvitationMail]) -> None:
        """Tell an address of an invitation, unless that has ended meanwhile."""
        now, language = self._clock(), run.payload.language
        brand = self._composer.brand
        async with run.database.connection() as connection:
            mail = await inviting.mail_of(
                connection, run.payload, self._composer.keys, public_url=brand.public_url, now=now
            )
        if mail is None:
            return
        letter = self._composer.plain(
            "invitation",
            language,
            mail.email,
            message_id=mail.id,
            now=now,
            footer="footer_invitation",
            action=("look_at_invitation", mail.link),
            organization=clean(mail.organization),
            role=words(language)[f"role_{mail.role}"],
        )
        await self._send(letter, "invitation")

    async def _send(self, letter: Letter, kind: str) -> None:
        if self._mailer is None:
            raise Retry("no mail server is set")
        try:
            await self._mailer.send(letter.data, sender=letter.sender, recipient=letter.recipient)
        except MailDeferred as error:
            raise Retry(error.message) from None
        except MailRefused as error:
            # Nobody is told: who set the address sees that it stays unconfirmed.
            _log.warning("notify.mail_refused", kind=kind, reason=error.message)
