"""A real SMTP server to send to, which takes mail, refuses it, puts it off, falls silent or hangs up."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Letter:
    """One message as the server took it."""

    sender: str
    recipient: str
    data: bytes
    encrypted: bool
    user: str | None

    @property
    def parsed(self) -> EmailMessage:
        parsed = message_from_bytes(self.data, policy=policy.SMTP)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def part(self, content_type: str) -> str:
        found = [one for one in self.parsed.walk() if one.get_content_type() == content_type]
        assert len(found) == 1, [one.get_content_type() for one in self.parsed.walk()]
        return found[0].get_content()


@dataclass
class PostOffice:
    """What arrived, and what the server answers.

    ``answers`` are used up one a message, at the end of DATA; ``mailboxes`` maps recipients to what RCPT
    answers. ``port`` is the server's.
    """

    port: int = 0
    letters: list[Letter] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    mailboxes: dict[str, str] = field(default_factory=dict)
    connections: int = 0
    senders: dict[str, str] = field(default_factory=dict)
    silent: asyncio.Event | None = None
    accept: Callable[[str, str], bool] = lambda _user, _password: True
    hang_up: Callable[[], None] = lambda: None
    before_answer: Callable[[], Any] | None = None

    async def handle_MAIL(  # noqa: N802 -- aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.senders.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return answer

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        answer = self.mailboxes.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.silent is not None:
            await self.silent.wait()
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            user = getattr(session.auth_data, "login", None)
            self.letters.append(
                Letter(
                    envelope.mail_from or "",
                    envelope.rcpt_tos[0],
                    envelope.content,
                    server.transport.get_extra_info("ssl_object") is not None,
                    None if user is None else user.decode(),
                )
            )
        if self.before_answer is not None:
            self.before_answer()
        return answer

    async def until(self, count: int) -> list[Letter]:
        """Return the letters once there are ``count``."""
        async with asyncio.timeout(20):
            while len(self.letters) < count:
                await asyncio.sleep(0.01)
        return self.letters


@asynccontextmanager
async def post_office(
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    require_starttls: bool = False,
    login: tuple[str, str] | None = None,
) -> AsyncGenerator[PostOffice, None]:
    """Serve SMTP on a port of its own."""
    office = PostOffice()
    transports: list[asyncio.BaseTransport] = []

    def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: object) -> Any:
        assert isinstance(data, LoginPassword)
        good = login == (data.login.decode(), data.password.decode())
        return AuthResult(success=good, handled=good, auth_data=data)

    class Server(SMTP):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            if self.session is None:
                office.connections += 1
            transports.append(transport)
            super().connection_made(transport)

    def server() -> SMTP:
        with warnings.catch_warnings(action="ignore"):  # it warns of logins without TLS, which are a test's
            return Server(
                office,
                hostname="post.example",
                ident="post",
                tls_context=None if implicit else tls,
                require_starttls=require_starttls,
                auth_required=login is not None,
                auth_require_tls=False,
                authenticator=authenticate if login else None,
                loop=asyncio.get_running_loop(),
            )

    listening = await asyncio.get_running_loop().create_server(
        server, "127.0.0.1", 0, ssl=tls if implicit else None
    )
    office.port = listening.sockets[0].getsockname()[1]

    def hang_up() -> None:
        while transports:
            transport = transports.pop()
            # One that has ended by itself may have let go of its TLS already.
            if not transport.is_closing():
                transport.abort()  # pyright: ignore[reportAttributeAccessIssue] -- sockets' have it

    office.hang_up = hang_up
    try:
        yield office
    finally:
        listening.close()
        hang_up()
        await asyncio.sleep(0)


def certificate(folder: Path, name: str = "127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context with its own certificate, and the file to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "post.example")])
    now = datetime.now(UTC)
    try:
        names: list[x509.GeneralName] = [x509.IPAddress(ip_address(name))]
    except ValueError:
        names = [x509.DNSName(name)]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority, private = folder / f"{name}.pem", folder / f"{name}.key"
    authority.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    return context, authority
