"""Mail is handed to a real server once, over TLS where that is asked for, and each failure is told apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.infra.postoffice import PostOffice, certificate, post_office

from echain.infra.mail import MailDeferred, Mailer, MailRefused, RecipientRefused
from echain.infra.mailserver import MailServer

LETTER = b"From: t@x.example\r\nTo: ada@x.example\r\nSubject: Hi\r\n\r\n.a line with a dot\r\n"
ADA = "ada@x.example"


@asynccontextmanager
async def mailer(
    office: PostOffice, url: str = "smtp://127.0.0.1", **options: float
) -> AsyncGenerator[Mailer]:
    scheme, _, rest = url.partition("://")
    host, mark, query = rest.partition("?")
    sender = Mailer(MailServer.of(f"{scheme}://{host}:{office.port}{mark}{query}"), **options)
    yield sender
    await sender.close()


async def send(sender: Mailer, recipient: str = ADA) -> None:
    await sender.send(LETTER, sender="t@x.example", recipient=recipient)


async def test_many_letters_go_over_few_connections_byte_for_byte() -> None:
    async with post_office() as office, mailer(office) as sender:
        await asyncio.gather(*(send(sender, f"p{number}@x.example") for number in range(40)))
        assert sorted(letter.recipient for letter in office.letters) == sorted(
            f"p{number}@x.example" for number in range(40)
        )
        assert {letter.data for letter in office.letters} == {LETTER}
        assert office.connections <= 8


async def test_starttls_with_a_login_is_used(tmp_path: Path) -> None:
    context, authority = certificate(tmp_path)
    async with post_office(tls=context, require_starttls=True, login=("ada", "s:e/c@ret")) as office:
        url = f"smtp://ada:s%3Ae%2Fc%40ret@127.0.0.1?tls=starttls&ca={authority}"
        async with mailer(office, url) as sender:
            await send(sender)
    assert (office.letters[0].encrypted, office.letters[0].user) == (True, "ada")


async def test_tls_from_the_first_byte_is_used(tmp_path: Path) -> None:
    context, authority = certificate(tmp_path)
    url = f"smtps://127.0.0.1?ca={authority}"
    async with post_office(tls=context, implicit=True) as office, mailer(office, url) as sender:
        await send(sender)
    assert office.letters[0].encrypted


async def test_a_server_without_starttls_gets_nothing_when_it_is_required() -> None:
    """Whoever stands between could have taken the offer away."""
    async with post_office() as office, mailer(office, "smtp://127.0.0.1?tls=starttls") as sender:
        with pytest.raises(MailDeferred):
            await send(sender)
    assert office.letters == []


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_certificate_of_a_stranger_or_another_name_is_refused(tmp_path: Path, trusted: bool) -> None:
    context, authority = certificate(tmp_path, "mail.elsewhere.example")
    option = f"?ca={authority}" if trusted else ""
    url = f"smtps://127.0.0.1{option}"
    async with post_office(tls=context, implicit=True) as office, mailer(office, url) as sender:
        with pytest.raises(MailDeferred):
            await send(sender)
    assert office.letters == []


async def test_a_wrong_password_is_our_fault_and_shows_nothing() -> None:
    url = "smtp://ada:wrong@127.0.0.1"
    async with post_office(login=("ada", "right")) as office, mailer(office, url) as sender:
        with pytest.raises(MailDeferred) as caught:
            await send(sender)
    assert "wrong" not in caught.value.message
    assert office.letters == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("451 4.3.0 try later", MailDeferred),
        ("554 5.6.0 no", MailRefused),
        ("550 5.7.1 looks like spam to ada@x.example", MailRefused),
    ],
)
async def test_what_the_server_says_of_the_message(answer: str, error: type[Exception]) -> None:
    async with post_office() as office, mailer(office) as sender:
        office.answers = [answer]
        with pytest.raises(error) as caught:
            await send(sender)
        assert type(caught.value) is error
        assert ADA not in str(caught.value)
        await send(sender)
    assert len(office.letters) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("550 5.1.1 <ada@x.example>: no such user", RecipientRefused),
        ("551 not local", RecipientRefused),
        ("550 5.7.1 our lists say no", MailRefused),
        ("452 4.2.2 mailbox full", MailDeferred),
        ("552 5.2.2 over quota", MailRefused),
    ],
)
async def test_what_the_server_says_of_the_mailbox(answer: str, error: type[Exception]) -> None:
    async with post_office() as office, mailer(office) as sender:
        office.mailboxes[ADA] = answer
        with pytest.raises(error) as caught:
            await send(sender)
        assert type(caught.value) is error
        assert ADA not in str(caught.value)
    assert office.letters == []


async def test_a_sender_that_may_not_send_yet_is_ours_to_mend() -> None:
    async with post_office() as office, mailer(office) as sender:
        office.senders["t@x.example"] = "550 5.7.60 not yours"
        with pytest.raises(MailDeferred, match="sender is refused"):
            await send(sender)
        office.senders.clear()
        await send(sender)
    assert len(office.letters) == 1


async def test_a_server_that_falls_silent_is_left_after_its_time() -> None:
    async with post_office() as office, mailer(office, seconds=0.3) as sender:
        office.silent = asyncio.Event()
        with pytest.raises(MailDeferred):
            await send(sender)
        office.silent = None
        await send(sender)
    assert len(office.letters) == 1


async def test_a_kept_connection_that_died_is_replaced() -> None:
    async with post_office() as office, mailer(office) as sender:
        await send(sender)
        office.hang_up()
        await send(sender)
        assert (len(office.letters), office.connections) == (2, 2)


async def test_no_server_is_a_reason_to_try_again() -> None:
    sender = Mailer(MailServer.of("smtp://127.0.0.1:1"))
    with pytest.raises(MailDeferred):
        await send(sender)


@pytest.mark.parametrize("recipient", ["ada@x.example>\r\nRCPT TO:<eve@x.example", "ada@x.example\nDATA"])
async def test_a_recipient_cannot_speak_to_the_server(recipient: str) -> None:
    async with post_office() as office, mailer(office) as sender:
        with pytest.raises(ValueError):
            await send(sender, recipient)
        assert office.connections == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example", ("mail.example", 587, "starttls")),
        ("smtp://mail.example:25?tls=none", ("mail.example", 25, "none")),
        ("smtp://127.0.0.1:2525", ("127.0.0.1", 2525, "none")),
        ("smtp://[::1]:2525", ("::1", 2525, "none")),
        ("smtp://localhost?tls=starttls", ("localhost", 587, "starttls")),
        ("smtps://mail.example", ("mail.example", 465, "implicit")),
    ],
)
def test_a_url_says_how_to_encrypt(url: str, expected: tuple[str, int, str]) -> None:
    server = MailServer.of(url)
    assert (server.host, server.port, server.tls) == expected


@pytest.mark.parametrize(
    "url",
    [
        "smtp://",
        "imap://x",
        "smtp://user@mail.example",
        "smtp://mail.example/path",
        "smtp://mail.example?tls=maybe",
        "smtps://mail.example?tls=none",
        "smtp://mail.example:99999",
        "smtp://mail.example?x",
    ],
)
def test_a_url_that_says_something_else_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        MailServer.of(url)
