"""HTTP to places that strangers named: public addresses only, checked on the very address connected to.

Nothing is looked up twice between check and use, nothing is redirected, and every answer is bounded in size
and time, so that neither a name that resolves differently the second time nor a receiver that never ends
reaches what lies behind us.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from echain.kernel.errors import EchainError, Kind

MAX_URL_CHARACTERS: Final = 2_000
CONNECT_SECONDS: Final = 5.0
TOTAL_SECONDS: Final = 10.0
"""From the name's look-up to the answer's headers."""
EXCERPT_SECONDS: Final = 1.0
EXCERPT_BYTES: Final = 1_024
"""What is read of an answer's body, and how long; its status has been decided by then."""
DOCUMENT_BYTES: Final = 262_144
"""The largest document that `Outbound.fetch` takes."""

_HTTPS_PORTS: Final = frozenset({443, 8443})
_HTTP_PORTS: Final = frozenset({80, 8080})
_LOOK_UPS: Final = 64
"""Threads that wait for name servers: one that never answers must not keep the others waiting."""

_Address: TypeAlias = IPv4Address | IPv6Address
_AddressInfo: TypeAlias = tuple[
    int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]
]

_NAT64: Final = ip_network("64:ff9b::/96")
_NEVER: Final = tuple(
    map(
        ip_network,
        (
            "168.63.129.16/32",  # metadata of Azure, on an address that is public by its number
            "192.0.0.0/24",  # protocol assignments, metadata of Oracle among them
            "192.88.99.0/24",  # 6to4 relays
            "::/96",  # IPv4-compatible
            "64:ff9b:1::/48",  # NAT64 of a local network
            "2001::/23",  # protocol assignments, Teredo among them
            "2002::/16",  # 6to4: an IPv4 address inside
            "3fff::/20",  # documentation
            "5f00::/16",  # segment routing
            "fec0::/10",  # site-local, before there were unique local addresses
        ),
    )
)
"""Refused beyond what `ipaddress` knows not to be global; its list depends on Python's version."""


class TargetRefused(EchainError):
    """This URL cannot be a receiver: https, a public host, a usual port and no credentials are needed."""

    kind = Kind.INVALID
    code = "outbound.refused"


class TargetUnreachable(EchainError):
    """The receiver did not answer."""

    kind = Kind.UNAVAILABLE
    code = "outbound.unreachable"


class Document(msgspec.Struct, frozen=True):
    """A whole answer; ``content_type`` without parameters, in lower case."""

    status: int
    content_type: str
    body: bytes


class Rules(msgspec.Struct, frozen=True):
    """What may be connected to. ``private`` lets any address and port pass, for receivers in development."""

    http: bool = False
    private: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What a receiver said; ``excerpt`` is the beginning of its body, maybe empty."""

    status: int
    retry_after: str | None
    excerpt: bytes


def is_public(address: _Address) -> bool:
    """Return whether an address is one of the public internet, whatever other address is hidden in it."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address.scope_id is not None:
            return False
    if any(address in network for network in _NEVER if _same_family(address, network)):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _same_family(address: _Address, network: object) -> bool:
    return isinstance(address, IPv6Address) == isinstance(network, IPv6Network)


def checked_url(text: str, rules: Rules) -> URL:
    """Return the URL of a receiver, as it will be connected to.

    Raises:
        TargetRefused: not one that these rules let pass, as far as its text tells.
    """
    if len(text) > MAX_URL_CHARACTERS or not text.isascii() or any(c <= " " or c in "\\\x7f" for c in text):
        raise TargetRefused("a URL has up to 2,000 visible ASCII characters and no backslash")
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        raise TargetRefused("this is no URL") from None
    if url.scheme != "https" and not (rules.http and url.scheme == "http"):
        raise TargetRefused("a receiver's URL starts with https://")
    if not host or port is None:
        raise TargetRefused("this URL has no host")
    if url.raw_user is not None or url.raw_password is not None or "@" in urlsplit(text).netloc:
        raise TargetRefused("a receiver's URL carries no credentials; the signature is what to check")
    if url.raw_fragment:
        raise TargetRefused("a receiver's URL has no #fragment")
    if not rules.private and port not in (_HTTPS_PORTS if url.scheme == "https" else _HTTP_PORTS):
        raise TargetRefused("a receiver listens on port 443 or 8443")
    _check_host(host, rules)
    return url


def _check_host(host: str, rules: Rules) -> None:
    try:
        address = ip_address(host)
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2].lower()
        # 127.1, 2130706433 and 0x7f000001 are IPv4 addresses to many a resolver.
        if last.isdigit() or last.startswith("0x") or ":" in host or "%" in host:
            raise TargetRefused("an address is spelled in full, like 203.0.113.7") from None
        return
    if not rules.private and not is_public(address):
        raise TargetRefused("this address is not one of the public internet")


class Outbound:
    """Posts to receivers, fetches documents; each request has a connection of its own. Close it when done."""

    def __init__(
        self,
        rules: Rules,
        *,
        user_agent: str,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``resolver`` and ``tls`` stand for the system's where they are given."""
        self._rules = rules
        self._headers = {"user-agent": user_agent, "accept-encoding": "identity"}
        self._resolver = _Checked(resolver or _Resolver(), rules)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is under way."""
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post ``body`` and return the answer, whatever its status; a redirect is an answer like others.

        Raises:
            TargetRefused: the URL, or an address that its host stands for now, may not be connected to.
            TargetUnreachable: no answer within 10 s, for a reason that its text tells.
        """
        target = checked_url(url, self._rules)
        try:
            async with asyncio.timeout(TOTAL_SECONDS) as patience:
                async with self._opened().post(
                    target, data=body, headers=headers, allow_redirects=False
                ) as response:
                    patience.reschedule(None)
                    excerpt = await _excerpt(response.content)
                    response.close()
                    return Answer(response.status, response.headers.get("Retry-After"), excerpt)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise TargetUnreachable(_reason(error)) from error

    async def fetch(self, url: str, headers: Mapping[str, str], *, body: bytes | None = None) -> Document:
        """Return the whole answer to a GET, or to a POST of ``body``, whatever its status.

        Raises:
            TargetRefused: the URL, or an address that its host stands for now, may not be connected to.
            TargetUnreachable: no end of it within 10 s or 256 KiB, or none at all, as its text tells.
        """
        target = checked_url(url, self._rules)
        method = "GET" if body is None else "POST"
        try:
            async with (
                asyncio.timeout(TOTAL_SECONDS),
                self._opened().request(
                    method, target, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                whole = await _whole(response.content)
                return Document(response.status, response.content_type.lower(), whole)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise TargetUnreachable(_reason(error)) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._open()
        return self._session

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            socket_factory=self._socket,
            ssl=True if self._tls is None else self._tls,
            use_dns_cache=False,
            force_close=True,
            limit=0,
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=EXCERPT_BYTES,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )

    def _socket(self, info: _AddressInfo) -> socket.socket:
        """Make the socket of one attempt to connect: the last place, past which no address is unchecked."""
        family, kind, protocol, _, name = info
        if not self._rules.private and not is_public(ip_address(name[0])):
            raise OSError(errno.EACCES, "not an address of the public internet")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


async def _excerpt(content: aiohttp.StreamReader) -> bytes:
    """Return the beginning of a body; what breaks or takes too long ends it there."""
    parts = bytearray()
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(EXCERPT_SECONDS):
            while len(parts) < EXCERPT_BYTES and (part := await content.read(EXCERPT_BYTES - len(parts))):
                parts += part
    return bytes(parts)


async def _whole(content: aiohttp.StreamReader) -> bytes:
    """Return a body, of which no more is ever held than may come.

    Raises:
        TargetUnreachable: it is larger; the connection is closed with its rest unread.
    """
    whole = bytearray()
    while part := await content.read(DOCUMENT_BYTES + 1 - len(whole)):
        whole += part
        if len(whole) > DOCUMENT_BYTES:
            raise TargetUnreachable(f"the answer is larger than {DOCUMENT_BYTES // 1024} KiB")
    return bytes(whole)


def _reason(error: Exception) -> str:
    """Return what went wrong without names and numbers of our own network."""
    match error:
        case TimeoutError():
            return f"no answer within {TOTAL_SECONDS:.0f} s"
        case aiohttp.ClientConnectorDNSError():
            return "the host's name does not resolve"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "the receiver's certificate is not valid"
        case aiohttp.ClientConnectorError():
            return "the connection was refused"
        case aiohttp.ClientOSError() | aiohttp.ServerDisconnectedError() | OSError():
            return "the connection broke before an answer"
        case _:
            return "the answer is not HTTP"


class _Checked(AbstractResolver):
    """Resolves a name and refuses it when any of its addresses is not public: a mixture is an attack."""

    def __init__(self, resolver: AbstractResolver, rules: Rules) -> None:
        self._resolver = resolver
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not self._rules.private and not all(is_public(ip_address(one["host"])) for one in found):
            raise TargetRefused("the host's name stands for an address that is not public")
        return found

    async def close(self) -> None:
        await self._resolver.close()


class _Resolver(AbstractResolver):
    """The system's resolver in threads of its own: the event loop's few are for everybody."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="look-up")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            )
        except UnicodeError as error:  # a label that is empty or too long for a name
            raise OSError(errno.ENOENT, "not a name") from error
        return [
            ResolveResult(hostname=host, host=str(name[0]), port=port, family=kind, proto=protocol, flags=0)
            for kind, _, protocol, _, name in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
