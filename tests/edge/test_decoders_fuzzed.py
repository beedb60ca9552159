"""Whatever strangers send, what reads it refuses by its own errors, soon, and without much memory.

Hypothesis rather than a fuzzer that watches coverage: atheris has no wheels for this Python. Good inputs of
each reader are what it begins from; a run of minutes is `make soak`.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.accounts.people import Clock, Wallet
from tests.edge.example import NewThing
from tests.webhooks import signing

from echain.accounts import siwe
from echain.accounts.accesstokens import AccessTokens
from echain.accounts.signature import parse_signature
from echain.admission import codes
from echain.admission.codes import CodeKey
from echain.edge.http.body import Body
from echain.edge.http.parameters import Parameters
from echain.edge.live import packets
from echain.infra.secret import Secret
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address
from echain.webhooks import coinbase

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LONGEST = 65_536
"""As much as the edge lets through, where nothing lets through less."""

SECONDS = 2.0
"""Of one input's own time, however large; a tenth of it is usual on a slow machine."""
MOST_BYTES = 16 * 1024 * 1024

TOKENS = AccessTokens([Secret("22" * 32)], issuer="https://tickets.example")
CODE_KEY = CodeKey.from_seed("a seed")
WEBHOOKS = coinbase.Secrets([Secret(signing.COMMERCE_SECRET)], [Secret(signing.CDP_SECRET)])
BODY = Body(NewThing)
PARTY = siwe.relying_party("https://tickets.example", [84532])


@dataclass(frozen=True)
class Reader:
    """Something that reads what strangers send, with inputs that it takes."""

    read: Callable[[bytes], Any]
    good: tuple[bytes, ...]
    refuses: tuple[type[Exception], ...] = (EchainError,)
    words: tuple[bytes, ...] = field(default=())


def text(data: bytes) -> str:
    """Return bytes as a JSON string may hold them: any characters, lone surrogates not among them."""
    return data.decode(errors="replace")


def sign_in(data: bytes) -> None:
    siwe.check(siwe.parse(text(data)), PARTY, now=NOW)


def token(data: bytes) -> None:
    TOKENS.read(data.decode("latin-1"), now=NOW)


def signed_claims(data: bytes) -> None:
    """Read claims that our own key signed: what a bug elsewhere, or a thief of the key, could write."""
    signer: Ed25519PrivateKey = TOKENS._signer
    body = f"{TOKENS._header}.{_base64(data)}"
    TOKENS.read(f"{body}.{_base64(signer.sign(body.encode()))}", now=NOW)


def _base64(data: bytes) -> str:
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(data).decode().rstrip("=")


def code(data: bytes) -> None:
    codes.read(CODE_KEY, text(data), now=NOW)


def commerce(data: bytes) -> None:
    coinbase.content_of("coinbase_commerce", data)
    coinbase.opened(signing.commerce(data), data, WEBHOOKS, NOW)


def webhook_header(data: bytes) -> None:
    value = data.decode("latin-1")
    for name in (coinbase.COMMERCE_HEADER, coinbase.CDP_HEADER):
        headers: Mapping[str, str] = {name: value, "x-event-id": "a", "x-event-type": "b"}
        try:
            coinbase.opened(headers, b"{}", WEBHOOKS, NOW)
        except EchainError:
            continue


def packet(data: bytes) -> None:
    for part in packets.split_payload(data):
        packets.decode(part)


class Query(msgspec.Struct):
    page: int = 1
    tags: list[str] = []
    at: datetime | None = None
    id: UUID | None = None
    ratio: float | None = None


def _message() -> bytes:
    return Wallet(Clock()).message("a1b2c3d4e5f60718").encode()


def _token() -> bytes:
    return TOKENS.issue(
        UUID(int=1), UUID(int=2), jti="x", issued_at=NOW, expires_at=NOW + timedelta(minutes=5)
    ).encode()


def _code() -> bytes:
    holder = Address(bytes(20))
    return codes.issue(
        CODE_KEY, chain_id=1, ticket_contract=holder, token_id=7, holder=holder, now=NOW
    ).text.encode()


THING = json.dumps(
    {"title": "a", "startsAt": "2026-01-01T00:00:00Z", "tiers": [{"priceWei": "1", "supply": 1}]}
).encode()
CLAIMS = json.dumps({"iss": "https://tickets.example", "exp": 1, "sub": str(UUID(int=1))}).encode()

READERS: dict[str, Reader] = {
    "sign-in message": Reader(sign_in, (_message(),), words=(b"\n", b"URI: ", b"Nonce: ", b"- ", b"%41")),
    "wallet's signature": Reader(
        lambda data: parse_signature(text(data)), (b"0x" + b"ab" * 65, b"0x" + b"ab" * 64)
    ),
    "access token": Reader(token, (_token(),), words=(b".", b"=", b"eyJhbGciOiJub25lIn0")),
    "claims that are signed": Reader(signed_claims, (CLAIMS,), words=(b'"exp":', b"1e999", b"-1", b"null")),
    "ticket's code": Reader(code, (_code(),)),
    "signed webhook": Reader(
        commerce,
        (signing.charge_event("charge:confirmed"),),
        words=(b'{"event":', b"[", b"1e400"),
    ),
    "webhook's signature": Reader(
        webhook_header, (b"t=1,h=x-a,v1=" + b"ab" * 32,), words=(b"t=", b",", b"h=")
    ),
    "JSON body": Reader(
        lambda data: BODY.decode(data, {b"content-type": b"application/json"}),
        (THING,),
        words=(b"[", b'{"a":', b'"title":', b"7.0", b"1e5", b"\\u0000", b"\\ud800", b"\xff"),
    ),
    "query": Reader(
        Parameters(Query).query, (b"page=1&tags=a&tags=b",), words=(b"&", b"=", b"%", b"%00", b"page=")
    ),
    "live packet": Reader(
        packet,
        (b'2["join-event","1"]', b'0{"token":"x"}', b'51-["a",{"_placeholder":true,"num":0}]'),
        refuses=(packets.PacketMalformed,),
        words=(b"\x1e", b"[", b'42["', b"/ns,", b"999999999999"),
    ),
}


@st.composite
def inputs(draw: st.DrawFn, reader: Reader) -> bytes:
    """Return noise, a good input with some of it replaced, or a piece said very often."""
    words = st.sampled_from([*reader.words, *reader.good, b"\x00", b"A", b"0", b" "])
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(st.binary(max_size=500))
    if kind == 1:
        piece = draw(words | st.binary(min_size=1, max_size=4))
        before, after = draw(words), draw(words | st.just(b""))
        times = draw(st.integers(1, LONGEST // len(piece)))
        return (before + piece * times + after)[:LONGEST]
    data = bytearray(draw(st.sampled_from(reader.good)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.integers(0, 12)))
        data[at:until] = draw(words | st.binary(max_size=8))
    return bytes(data[:LONGEST])


def judge(reader: Reader, data: bytes) -> None:
    """Read one input: it is taken, or refused by a declared error that blames the sender; in bounds."""
    refusal: Exception | None = None
    began = time.process_time()
    try:
        reader.read(data)
    except reader.refuses as error:
        refusal = error
    took = time.process_time() - began
    if refusal is not None:
        assert getattr(refusal, "kind", None) is not Kind.INTERNAL, refusal
        assert len(str(refusal)) < 2_000, "an error repeats what it was sent"
    assert took < SECONDS, f"{took:.1f} s for {len(data)} bytes"


@pytest.mark.parametrize("name", READERS)
def test_good_inputs_reach_what_is_fuzzed(name: str) -> None:
    """Else all that follows would be refused at the door."""
    reader = READERS[name]
    for data in reader.good:
        if name in ("claims that are signed", "sign-in message", "webhook's signature"):
            judge(reader, data)
        else:
            reader.read(data)


@pytest.mark.parametrize("name", READERS)
def test_no_input_breaks_a_reader(name: str) -> None:
    fuzz(name, 150)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", READERS)
def test_no_input_breaks_a_reader_in_a_long_run(name: str) -> None:
    fuzz(name, 20_000)


def fuzz(name: str, examples: int) -> None:
    reader = READERS[name]

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=inputs(reader))
    def run(data: bytes) -> None:
        judge(reader, data)

    run()


@pytest.mark.parametrize("name", READERS)
def test_no_long_input_takes_much_memory(name: str) -> None:
    """Each word of the grammar, over and over, as long as the edge lets anything be."""
    reader = READERS[name]
    tracemalloc.start()
    try:
        for word in (*reader.words, *reader.good, b"[", b"{", b"\x00", b"A", b"%", b"\xff"):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            judge(reader, (word * (LONGEST // len(word)))[:LONGEST])
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < MOST_BYTES, f"{word[:20]!r}: {peak} bytes"
    finally:
        tracemalloc.stop()
