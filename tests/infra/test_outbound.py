"""Requests to places that strangers named: each way inwards is tried, and each way to hold us up."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.infra import receivers
from tests.infra.receivers import Behaviour, answering, receiving

from echain.infra import outbound
from echain.infra.outbound import Outbound, Rules, TargetRefused, TargetUnreachable, checked_url, is_public

OPEN = Rules(http=True, private=True)
HTTP = Rules(http=True)


class Names(AbstractResolver):
    """A name server that says what the test wants, another thing at each question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 -- the interface's
    ) -> list[ResolveResult]:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=one,
                port=port,
                family=socket.AF_INET6 if ":" in one else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for one in found
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def anywhere() -> AsyncIterator[Outbound]:
    async with Outbound(OPEN, user_agent="echain-test") as client:
        yield client


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1"),
        *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
        *("255.255.255.255", "168.63.129.16", "192.88.99.1"),
        *("::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "fe80::1", "fe80::1%eth0", "fc00::1"),
        *("fd00:ec2::254", "fec0::1", "ff02::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "100::1"),
        *("3fff::1", "5f00::1"),
    ],
)
def test_an_address_that_is_not_public_is_known(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1",
        "8.8.8.8",
        "172.15.0.1",
        "172.32.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_a_public_address_is_known(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//x"),
        *("https://", "https:///x", "https://user@example.com/", "https://user:pass@example.com/", "x"),
        *("https://example.com@127.0.0.1/", "https://@example.com/", "https://example.com/#part"),
        *("https://example.com:22/", "https://example.com:6379/", "https://example.com:80/", "https://a:0/"),
        *("https://127.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://0.0.0.0/"),
        *("https://[::ffff:7f00:1]/", "https://[64:ff9b::7f00:1]/", "https://169.254.169.254/latest/meta-data/"),
        *("https://127.1/", "https://2130706433/", "https://0x7f.1/", "https://0x7f000001/", "https://0177.0.0.1/"),
        *("https://127.0.0.1./", "https://[fe80::1%25eth0]/", "https://[::1%25lo]/", "https://1.2.3/"),
        *("https://exa mple.com/", "https://example.com/\r\nX: y", "https://example.com\\@127.0.0.1/"),
        *("https://example.com:99999/", "https://[::1", "https://exämple.com/", "https://\uff11\uff12\uff17.0.0.1/"),
        "https://example.com/" + "a" * 2_000,
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_a_receiver_is_refused_by_its_text(url: str) -> None:
    with pytest.raises(TargetRefused):
        checked_url(url, Rules())


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?a=b",
        "https://example.com:8443/",
        "https://1.1.1.1/",
        "https://xn--exmple-cua.com/",
    ],
)
def test_a_usual_receiver_passes(url: str) -> None:
    assert str(checked_url(url, Rules())) == url


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["1.1.1.1", "127.0.0.1"],
        ["0.0.0.0"],
    ],
)
async def test_a_name_that_stands_for_a_private_address_is_never_connected_to(addresses: list[str]) -> None:
    async with receiving(answering(200)) as receiver:
        names = Names(addresses)
        async with Outbound(HTTP, user_agent="x", resolver=names) as client:
            with pytest.raises(TargetRefused):
                await client.post("http://hook.example:8080/", b"{}", {})
        assert (receiver.connections, names.asked) == (0, 1)


async def test_names_of_the_machine_itself_are_refused_by_the_systems_resolver() -> None:
    async with Outbound(HTTP, user_agent="x") as client:
        with pytest.raises(TargetRefused):
            await client.post("http://localhost:8080/", b"{}", {})


async def test_a_name_that_changes_its_mind_after_the_check_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: what was checked is what is connected to, because nobody asks a second time."""
    tried: list[str] = []
    make = Outbound._socket

    def watched(self: Outbound, info: outbound._AddressInfo) -> socket.socket:
        tried.append(info[4][0])
        make(self, info).close()
        raise OSError("nowhere to go from this test")

    monkeypatch.setattr(Outbound, "_socket", watched)
    names = Names(["1.2.3.4"], ["127.0.0.1"])
    async with receiving(answering(200)) as receiver:
        async with Outbound(HTTP, user_agent="x", resolver=names) as client:
            with pytest.raises(TargetUnreachable):
                await client.post("http://hook.example:8080/", b"{}", {})
            assert (tried, names.asked) == (["1.2.3.4"], 1)
            with pytest.raises(TargetRefused):
                await client.post("http://hook.example:8080/", b"{}", {})
        assert receiver.connections == 0


async def test_the_socket_itself_refuses_what_slipped_past_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unchecked(
        self: outbound._Checked, host: str, port: int, family: socket.AddressFamily
    ) -> list[ResolveResult]:
        return await self._resolver.resolve(host, port, family)

    monkeypatch.setattr(outbound._Checked, "resolve", unchecked)
    async with receiving(answering(200)) as receiver:
        monkeypatch.setattr(outbound, "_HTTP_PORTS", {receiver.port})
        async with Outbound(HTTP, user_agent="x", resolver=Names(["127.0.0.1"])) as client:
            with pytest.raises(TargetUnreachable):
                await client.post(f"http://hook.example:{receiver.port}/", b"{}", {})
        async with Outbound(OPEN, user_agent="x", resolver=Names(["127.0.0.1"])) as client:
            assert (await client.post(f"http://hook.example:{receiver.port}/", b"{}", {})).status == 200
        assert receiver.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_not_followed(anywhere: Outbound, status: int) -> None:
    async with (
        receiving(answering(200)) as inside,
        receiving(answering(status, f"Location: {inside.url}")) as receiver,
    ):
        assert (await anywhere.post(receiver.url, b"{}", {})).status == status
        assert inside.connections == 0


async def test_the_request_is_what_was_given_and_nothing_of_ours(anywhere: Outbound) -> None:
    async with receiving(answering(200, "Set-Cookie: a=b", "Retry-After: 7", body=b"thanks")) as receiver:
        for _ in range(2):
            answer = await anywhere.post(receiver.url, b'{"a": 1}', {"content-type": "application/json"})
        assert (answer.status, answer.retry_after, answer.excerpt) == (200, "7", b"thanks")
    one, two = receiver.requests
    assert one.body == b'{"a": 1}'
    assert one.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "user-agent": "echain-test",
        "accept-encoding": "identity",
        "accept": "*/*",
        "content-type": "application/json",
        "content-length": "8",
        "connection": "close",
    }
    assert two.headers == one.headers
    assert receiver.connections == 2


@pytest.mark.parametrize("behave", [receivers.flooding, receivers.dripping])
async def test_an_answer_that_never_ends_costs_little(
    anywhere: Outbound, behave: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "EXCERPT_SECONDS", 0.3)
    async with receiving(behave) as receiver:
        began = time.monotonic()
        answer = await anywhere.post(receiver.url, b"{}", {})
        assert answer.status == 200
        assert 0 < len(answer.excerpt) <= outbound.EXCERPT_BYTES
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (receivers.hanging, "no answer within"),
        (receivers.resetting, "broke before an answer"),
        (receivers.babbling, "not HTTP"),
        (receivers.flooding_headers, "not HTTP"),
    ],
)
async def test_a_receiver_that_does_not_answer_is_given_up_with_a_reason(
    anywhere: Outbound, behave: Behaviour, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.5)
    async with receiving(behave) as receiver:
        began = time.monotonic()
        with pytest.raises(TargetUnreachable, match=reason):
            await anywhere.post(receiver.url, b"{}", {})
        assert time.monotonic() - began < 2


async def test_nobody_there_is_said_plainly(anywhere: Outbound) -> None:
    async with receiving(answering(200)) as receiver:
        pass
    with pytest.raises(TargetUnreachable, match="refused"):
        await anywhere.post(receiver.url, b"{}", {})


async def test_a_name_server_that_hangs_holds_up_its_own_request_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.5)
    hung = asyncio.Event()

    class Hanging(Names):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            if host == "slow.example":
                await hung.wait()
            return await super().resolve(host, port, family)

    async with (
        receiving(answering(200)) as receiver,
        Outbound(OPEN, user_agent="x", resolver=Hanging(["127.0.0.1"])) as client,
    ):
        slow = asyncio.create_task(client.post("http://slow.example:8080/", b"{}", {}))
        await asyncio.sleep(0)
        assert (await client.post(f"http://ok.example:{receiver.port}/", b"{}", {})).status == 200
        with pytest.raises(TargetUnreachable, match="no answer within"):
            await slow


# --- Whole documents ---


async def test_a_document_comes_whole_with_its_kind(anywhere: Outbound) -> None:
    kind = "Content-Type: Application/JSON; charset=utf-8"
    async with receiving(answering(404, kind, body=b"x" * outbound.DOCUMENT_BYTES)) as receiver:
        got = await anywhere.fetch(receiver.url, {"accept": "application/json"})
        assert (got.status, got.content_type) == (404, "application/json")
        assert got.body == b"x" * outbound.DOCUMENT_BYTES
        await anywhere.fetch(receiver.url, {}, body=b"a=b")
    read, posted = receiver.requests
    assert (read.line, read.body) == ("GET /hook HTTP/1.1", b"")
    assert (posted.line, posted.body) == ("POST /hook HTTP/1.1", b"a=b")


async def test_a_redirected_document_is_not_followed(anywhere: Outbound) -> None:
    async with (
        receiving(answering(200)) as inside,
        receiving(answering(302, f"Location: {inside.url}")) as receiver,
    ):
        assert (await anywhere.fetch(receiver.url, {})).status == 302
        assert inside.connections == 0


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (receivers.flooding, "larger than 256 KiB"),
        (answering(200, body=b"x" * (outbound.DOCUMENT_BYTES + 1)), "larger than 256 KiB"),
        (receivers.dripping, "no answer within"),
        (receivers.hanging, "no answer within"),
        (receivers.resetting, "broke before an answer"),
    ],
)
async def test_a_document_that_does_not_end_in_time_and_size_is_given_up(
    anywhere: Outbound, behave: Behaviour, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason.startswith("no answer"):
        monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.5)
    async with receiving(behave) as receiver:
        with pytest.raises(TargetUnreachable, match=reason):
            await anywhere.fetch(receiver.url, {})


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "169.254.169.254"]])
async def test_a_document_is_not_fetched_from_a_private_address(addresses: list[str]) -> None:
    async with receiving(answering(200)) as receiver:
        async with Outbound(HTTP, user_agent="x", resolver=Names(addresses)) as client:
            with pytest.raises(TargetRefused):
                await client.fetch("http://idp.example:8080/", {})
            with pytest.raises(TargetRefused):
                await client.fetch(receiver.url, {})
        assert receiver.connections == 0


# --- TLS ---


def certified(folder: Path, *, name: str, ends: timedelta = timedelta(days=1)) -> tuple[ssl.SSLContext, Path]:
    """Return what a server of ``name`` serves with, and the file of who signed for it: itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, SHA256())
    )
    file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key_file)
    return context, file


@pytest.mark.parametrize(
    ("trusted", "name", "ends", "fine"),
    [
        (True, "hook.example", timedelta(days=1), True),
        (False, "hook.example", timedelta(days=1), False),
        (True, "other.example", timedelta(days=1), False),
        (True, "hook.example", timedelta(days=-1), False),
    ],
)
async def test_a_receiver_must_be_who_its_name_says(
    tmp_path: Path, trusted: bool, name: str, ends: timedelta, fine: bool
) -> None:
    served, file = certified(tmp_path, name=name, ends=ends)
    trust = ssl.create_default_context(cafile=str(file)) if trusted else None
    async with (
        receiving(answering(200), tls=served) as receiver,
        Outbound(OPEN, user_agent="x", resolver=Names(["127.0.0.1"]), tls=trust) as client,
    ):
        url = f"https://hook.example:{receiver.port}/"
        if fine:
            assert (await client.post(url, b"{}", {})).status == 200
        else:
            with pytest.raises(TargetUnreachable, match="certificate is not valid"):
                await client.post(url, b"{}", {})
        assert len(receiver.requests) == int(fine)
