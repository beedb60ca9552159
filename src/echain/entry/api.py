"""The `api` role: everything that answers HTTP, wired by hand."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Final

import structlog
import uvicorn
import uvloop

from echain.accounts import service as accounts
from echain.accounts.accesstokens import AccessTokens
from echain.edge.http.server import BoundedProtocol
from echain.entry.addressbook import AddressBook
from echain.entry.connections import expose, services
from echain.entry.security import administrators
from echain.entry.stopping import limit_stopping
from echain.entry.warming import warm_transactions
from echain.entry.wiring import application_of, fees_of
from echain.infra.config import Config
from echain.kernel.errors import EchainError, Kind
from echain.kernel.time import utc_now
from echain.security.refusals import Refusals

_BACKLOG: Final = 2048
_GRACE_SECONDS: Final = 5
_STATEMENT_SECONDS: Final = 15.0
"""Nobody waits longer for an answer; what takes longer belongs into a job."""

_KEEP_ALIVE_SECONDS: Final = 65
"""Longer than the 60 s after which common proxies let a connection go, so that they end it, not we."""

_log = structlog.get_logger(__name__)


class CannotListen(EchainError):
    """The address cannot be listened on; set another ECHAIN_HOST or ECHAIN_PORT."""

    kind = Kind.CONFLICT
    code = "api.cannot_listen"


class _Server(uvicorn.Server):
    """Ends quietly: the parent's own would raise the signal again after a graceful end."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        yield

    def _stop(self, number: int) -> None:
        limit_stopping()
        self.handle_exit(number, None)


def serve(config: Config) -> None:
    """Serve until SIGINT or SIGTERM; requests under way have 5 s to end.

    Starts also when database, Redis or nodes are away, and then says so under ``/api/health``.

    Raises:
        CannotListen: the address is taken or not ours.
    """
    listening = _listen(config.host, config.port)
    uvloop.run(_serve(config, listening))


async def _serve(config: Config, listening: socket.socket) -> None:
    async with AsyncExitStack() as stack:
        # It competes with requests for the interpreter, so nobody is sent here before it is over.
        warming = asyncio.create_task(warm_transactions())
        stack.callback(warming.cancel)
        parts = await services(config, stack, name="echain api", statement_seconds=_STATEMENT_SECONDS)
        await expose(config, parts, stack)
        book = AddressBook(config, parts.database)
        reading = asyncio.create_task(book.keep_reading())
        stack.callback(reading.cancel)
        users = accounts.authenticator(
            parts.database,
            utc_now,
            AccessTokens(config.token_keys, issuer=config.public_url),
            administrators(config),
        )
        assert config.database_url is not None, "services has checked it"
        hearing = asyncio.create_task(users.follow(config.database_url))
        stack.callback(hearing.cancel)
        refusals = Refusals(parts.database, utc_now)
        counting = asyncio.create_task(refusals.run())
        stack.callback(counting.cancel)
        fees = fees_of(config, parts, stack)
        application = application_of(
            config, parts, book, fees, users, warm=warming.done, on_refused=refusals.note
        )
        server = _Server(
            uvicorn.Config(
                application,
                http=BoundedProtocol,
                ws="none",
                interface="asgi3",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )
        _log.info("api.listening", host=config.host, port=config.port)
        await server.serve(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise CannotListen(
            f"{host}:{port} cannot be listened on ({error.strerror}); set ECHAIN_PORT"
        ) from error
