"""Hands e-mail to a submission server and tells which failures pass, which stay, and whose fault they are."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from time import monotonic
from typing import Final

import aiosmtplib
from aiosmtplib import SMTP

from echain.infra.mailserver import MailServer
from echain.kernel.errors import EchainError, Kind

SECONDS: Final = 30.0
"""How long one answer of the server may take."""

_CONNECTIONS: Final = 8
_IDLE_SECONDS: Final = 10.0
"""Far below any server's patience: RFC 5321 4.5.3.2.7 asks for five minutes."""

_PERMANENT: Final = range(500, 600)
_NO_SUCH_MAILBOX: Final = (550, 551, 553)
_ENVELOPE: Final = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")
"""ASCII that is printable and no bracket: an address that cannot end its command."""

_ENHANCED: Final = re.compile(r"^[245]\.\d{1,3}\.\d{1,3}\b")


class MailDeferred(EchainError):
    """The mail server does not take the message now, or its answer got lost; try again later."""

    kind = Kind.UNAVAILABLE
    code = "mail.deferred"


class MailRefused(EchainError):
    """The mail server refuses this message for good; see its status."""

    kind = Kind.CONFLICT
    code = "mail.refused"


class RecipientRefused(MailRefused):
    """The mail server says that there is no such mailbox."""

    code = "mail.recipient_refused"


class Mailer:
    """Sends over at most eight connections, each kept for ten seconds after its last message.

    Nothing it raises or logs has an address in it: of a server's answer only the status is told.
    """

    def __init__(self, server: MailServer, *, seconds: float = SECONDS) -> None:
        self._server = server
        self._seconds = seconds
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._idle: deque[tuple[SMTP, float]] = deque()
        self._tls: ssl.SSLContext | None = None

    async def send(self, message: bytes, *, sender: str, recipient: str) -> None:
        """Hand one message over; when this returns the server has taken responsibility for it.

        Raises:
            MailDeferred: no connection, no login, a refused sender, a 4xx, or no answer: in that case it may
                or may not have been taken.
            RecipientRefused: there is no such mailbox (5xx on RCPT).
            MailRefused: any other 5xx.
            ValueError: an address holds what an envelope cannot; nothing was said to the server.
        """
        if not _ENVELOPE.fullmatch(sender) or not _ENVELOPE.fullmatch(recipient):
            raise ValueError("an address of the envelope holds more than an address")
        async with self._free:
            connection = await self._envelope(sender, recipient)
            try:
                await connection.data(message)
            except aiosmtplib.SMTPResponseException as error:
                connection.close()
                raise _refusal(error) from None
            except (aiosmtplib.SMTPException, OSError) as error:
                connection.close()
                raise MailDeferred(f"no answer to the message ({type(error).__name__})") from None
            except BaseException:
                connection.close()
                raise
            self._idle.append((connection, monotonic()))

    async def check(self) -> None:
        """Connect, log in and say hello; send nothing.

        Raises:
            MailDeferred: the server does not let us; the text says at which step.
        """
        connection = await self._connected()
        connection.close()

    async def close(self) -> None:
        """Leave politely; a server that does not answer is left anyway."""
        while self._idle:
            await _quit(self._idle.popleft()[0])

    async def _envelope(self, sender: str, recipient: str) -> SMTP:
        """Return a connection that waits for the message.

        A kept connection may have died meanwhile. Nothing was handed over then, so the same is said again on
        a new one.
        """
        kept = await self._kept()
        if kept is not None:
            try:
                return await _said(kept, sender, recipient)
            except MailDeferred:
                pass
        return await _said(await self._connected(), sender, recipient)

    async def _kept(self) -> SMTP | None:
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_connected and monotonic() - since < _IDLE_SECONDS:
                return connection
            await _quit(connection)
        return None

    async def _connected(self) -> SMTP:
        server = self._server
        connection = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password.reveal() if server.password else None,
            use_tls=server.tls == "implicit",
            start_tls=server.tls == "starttls",
            tls_context=self._context() if server.tls != "none" else None,
            timeout=self._seconds,
        )
        try:
            await connection.connect()
        except aiosmtplib.SMTPAuthenticationError as error:
            connection.close()
            raise MailDeferred(f"the server refuses the login ({error.code})") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            connection.close()
            raise MailDeferred(f"no connection ({type(error).__name__})") from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._server.authority)
        return self._tls


async def _said(connection: SMTP, sender: str, recipient: str) -> SMTP:
    """Name sender and recipient; the connection is closed when it cannot be used any more."""
    try:
        await connection.mail(sender)
        await connection.rcpt(recipient)
    except aiosmtplib.SMTPRecipientRefused as error:
        connection.close()
        if error.code in _NO_SUCH_MAILBOX and not _is_policy(error.message):
            raise RecipientRefused(f"the mailbox is refused ({_status(error)})") from None
        raise _refusal(error) from None
    except aiosmtplib.SMTPSenderRefused as error:
        connection.close()
        # Ours to mend, and no fault of the message: it waits until the sender may send.
        raise MailDeferred(f"the sender is refused ({_status(error)})") from None
    except aiosmtplib.SMTPResponseException as error:
        connection.close()
        raise _refusal(error) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        connection.close()
        raise MailDeferred(f"no answer to the envelope ({type(error).__name__})") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _refusal(error: aiosmtplib.SMTPResponseException) -> EchainError:
    if error.code in _PERMANENT:
        return MailRefused(f"the message is refused ({_status(error)})")
    return MailDeferred(f"the message is deferred ({_status(error)})")


def _is_policy(text: str) -> bool:
    """Whether a 550 is about us and not about the mailbox: X.7.Z is security or policy (RFC 3463 3.8)."""
    found = _ENHANCED.match(text)
    return found is not None and found[0].split(".")[1] == "7"


def _status(error: aiosmtplib.SMTPResponseException) -> str:
    """Return the numbers of an answer; its words may name the recipient."""
    found = _ENHANCED.match(error.message)
    return f"{error.code} {found[0]}" if found else str(error.code)


async def _quit(connection: SMTP) -> None:
    try:
        await connection.quit(timeout=1.0)
    except (aiosmtplib.SMTPException, OSError):
        connection.close()
