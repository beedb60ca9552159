"""EIP-4361 messages: what is one, what is none, and what is meant for us."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.accounts import siwe
from echain.accounts.siwe import SignInMessage, check, instant, parse, relying_party
from echain.accounts.types import (
    ChainNotAllowed,
    DomainMismatch,
    IssuedAtOutOfWindow,
    MessageExpired,
    MessageMalformed,
    MessageNotYetValid,
    SchemeMismatch,
    UriMismatch,
)
from echain.kernel.errors import EchainError
from echain.kernel.evm import Address, checksum

VIEM = json.loads((Path(__file__).parent / "vectors" / "viem.json").read_text())
SIWE = json.loads((Path(__file__).parent / "vectors" / "siwe.json").read_text())

NOW = datetime(2026, 1, 2, 3, 4, 10, tzinfo=UTC)
PARTY = relying_party("https://tickets.example", [84532, 1])

FULL = """\
https://tickets.example wants you to sign in with your Ethereum account:
0x7803ADF1f8E456107be7e13ddcBC5EF1E1A029a5

I accept the terms: https://tickets.example/terms

URI: https://tickets.example/in
Version: 1
Chain ID: 84532
Nonce: a1b2c3d4e5f60718
Issued At: 2026-01-02T03:04:05.678Z
Expiration Time: 2026-01-02T03:34:05.678Z
Not Before: 2026-01-02T03:00:00.000Z
Request ID: 1
Resources:
- https://tickets.example/1
- ipfs://bafy"""


def written(message: SignInMessage) -> str:
    """Return the text of a message, as EIP-4361 lays it out."""
    scheme = "" if message.scheme is None else f"{message.scheme}://"
    lines = [
        f"{scheme}{message.domain} wants you to sign in with your Ethereum account:",
        message.address,
        "",
        *(() if message.statement is None else (message.statement,)),
        "",
        f"URI: {message.uri}",
        f"Version: {message.version}",
        f"Chain ID: {message.chain_id}",
        f"Nonce: {message.nonce}",
        f"Issued At: {message.issued_at}",
    ]
    optional = (
        ("Expiration Time", message.expiration_time),
        ("Not Before", message.not_before),
        ("Request ID", message.request_id),
    )
    lines += [f"{name}: {value}" for name, value in optional if value is not None]
    if message.resources is not None:
        lines += ["Resources:", *(f"- {resource}" for resource in message.resources)]
    return "\n".join(lines)


ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
UNRESERVED = ALPHANUMERIC + "-._~"
SUB_DELIMS = "!$&'()*+,;="


def spelled(alphabet: str, **sizes: int) -> st.SearchStrategy[str]:
    encoded = st.sampled_from(["%20", "%aF", "%00"])
    return st.lists(st.sampled_from(alphabet) | encoded, **sizes).map("".join)


PCHARS = spelled(UNRESERVED + SUB_DELIMS + ":@", max_size=12)
SCHEMES = st.from_regex(r"[A-Za-z][A-Za-z0-9+\-.]{0,8}", fullmatch=True)
HOSTS = (
    spelled(UNRESERVED + SUB_DELIMS, min_size=1, max_size=20)
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map("[{}]".format)
    | st.just("[v1.a:b]")
)
AUTHORITIES = st.builds(
    "{}{}{}".format,
    st.just("") | spelled(UNRESERVED + SUB_DELIMS + ":", max_size=6).map("{}@".format),
    HOSTS,
    st.just("") | st.integers(0, 99999).map(":{}".format) | st.just(":"),
)
PATHS = st.lists(PCHARS, max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts))
TAILS = spelled(UNRESERVED + SUB_DELIMS + ":@/?", max_size=12)
URIS = st.builds(
    "{}:{}{}{}".format,
    SCHEMES,
    st.builds("//{}{}".format, AUTHORITIES, PATHS)
    | st.builds("{}{}".format, PCHARS.filter(bool), PATHS)
    | st.builds("/{}{}".format, PCHARS.filter(bool), PATHS)
    | st.sampled_from(["", "/"]),
    st.just("") | TAILS.map("?{}".format),
    st.just("") | TAILS.map("#{}".format),
)
MOMENTS = st.builds(
    "{}{}{}{}{}".format,
    st.dates().map(lambda day: f"{day.year:04d}-{day.month:02d}-{day.day:02d}"),
    st.sampled_from("Tt"),
    st.times().map(lambda clock: f"{clock:%H:%M:%S}"),
    st.just("") | st.integers(0, 10**12).map(".{}".format),
    st.sampled_from("Zz")
    | st.builds("{}{:02d}:{:02d}".format, st.sampled_from("+-"), st.integers(0, 23), st.integers(0, 59)),
)
ADDRESSES = st.binary(min_size=20, max_size=20).map(lambda raw: checksum(Address(raw)))
MESSAGES = st.builds(
    SignInMessage,
    scheme=st.none() | SCHEMES,
    domain=AUTHORITIES,
    address=ADDRESSES,
    statement=st.none() | st.text(UNRESERVED + SUB_DELIMS + ":/?#[]@ ", min_size=1, max_size=60),
    uri=URIS,
    version=st.just("1"),
    chain_id=st.integers(0, 2**256).map(str) | st.just("007"),
    nonce=st.text(ALPHANUMERIC, min_size=8, max_size=40),
    issued_at=MOMENTS,
    expiration_time=st.none() | MOMENTS,
    not_before=st.none() | MOMENTS,
    request_id=st.none() | PCHARS,
    resources=st.none() | st.lists(URIS, max_size=3).map(tuple),
)


@given(MESSAGES)
def test_every_message_of_the_grammar_is_read_as_it_was_written(message: SignInMessage) -> None:
    assert parse(written(message)) == message


def altered(text: str) -> st.SearchStrategy[str]:
    """Texts that differ from ``text`` by one character: another, one more, one less, or two swapped."""
    character = (
        st.characters(max_codepoint=0x7F) | st.characters() | st.sampled_from(ALPHANUMERIC + "\n\r: /-")
    )
    place = st.integers(0, len(text) - 1)
    return st.one_of(
        st.builds(lambda at, new: text[:at] + new + text[at + 1 :], place, character),
        st.builds(lambda at, new: text[:at] + new + text[at:], st.integers(0, len(text)), character),
        st.builds(lambda at: text[:at] + text[at + 1 :], place),
        st.builds(lambda at: text[:at] + text[at : at + 2][::-1] + text[at + 2 :], place),
    ).filter(lambda other: other != text)


@given(st.data())
def test_no_character_can_change_without_a_field_changing_or_a_refusal(data: st.DataObject) -> None:
    text = written(data.draw(MESSAGES))
    other = data.draw(altered(text))
    try:
        message = parse(other)
    except MessageMalformed:
        return
    assert message != parse(text)
    assert written(message) == other


def test_each_replacement_of_each_character_changes_a_field_or_is_refused() -> None:
    original = parse(FULL)
    accepted = 0
    for at in range(len(FULL)):
        for new in map(chr, range(0x80)):
            other = FULL[:at] + new + FULL[at + 1 :]
            if other == FULL:
                continue
            try:
                message = parse(other)
            except MessageMalformed:
                continue
            accepted += 1
            assert message != original
            assert written(message) == other
    assert accepted > 1000, "many replacements are other messages"


@pytest.mark.parametrize("vector", [*VIEM, *SIWE["messages"]], ids=lambda vector: vector["name"])
def test_messages_of_other_libraries_are_read_field_by_field(vector: dict) -> None:
    message = parse(vector["message"])
    fields = vector["fields"]
    assert message.scheme == fields.get("scheme")
    assert message.domain == fields["domain"]
    assert message.address == fields["address"]
    assert message.statement == fields.get("statement")
    assert message.uri == fields["uri"]
    assert message.chain_id == str(fields["chainId"])
    assert message.nonce == fields["nonce"]
    assert message.issued_at == fields["issuedAt"]
    assert message.expiration_time == fields.get("expirationTime")
    assert message.not_before == fields.get("notBefore")
    assert message.request_id == fields.get("requestId")
    assert (None if message.resources is None else list(message.resources)) == fields.get("resources")


def taken(text: str) -> str:
    try:
        parse(text)
    except MessageMalformed:
        return "0"
    return "1"


def test_another_parser_takes_and_refuses_the_same_of_thousands_of_altered_messages() -> None:
    """The npm package siwe judged each: a character replaced or left out, lines swapped."""
    altered = SIWE["altered"]
    base: str = altered["base"]
    places = range(len(base))
    for character, verdicts in altered["replaced"].items():
        ours = "".join(taken(base[:place] + character + base[place + 1 :]) for place in places)
        assert ours == verdicts, repr(character)
    assert "".join(taken(base[:place] + base[place + 1 :]) for place in places) == altered["left_out"]
    lines = base.split("\n")
    swapped: list[str] = []
    for one, other in combinations(range(len(lines)), 2):
        order = list(lines)
        order[one], order[other] = lines[other], lines[one]
        swapped.append(taken("\n".join(order)))
    assert "".join(swapped) == altered["swapped_lines"]
    judged = [*altered["replaced"].values(), altered["left_out"], altered["swapped_lines"]]
    assert min(sum(text.count(verdict) for text in judged) for verdict in "01") > 1000


ACCEPTED = {
    "leap second": ("2026-01-02T03:04:05.678Z", "2016-12-31T23:59:60Z"),
    "lower-case t and z": ("2026-01-02T03:04:05.678Z", "2026-01-02t03:04:05z"),
    "offset": ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678+14:00"),
    "many fraction digits": ("05.678Z", "05.67890123456789012345Z"),
    "empty request id": ("Request ID: 1", "Request ID: "),
    "no resource under the heading": ("Resources:\n- https://tickets.example/1\n- ipfs://bafy", "Resources:"),
    "user information": ("https://tickets.example wants", "https://me@tickets.example wants"),
    "IPv6": ("https://tickets.example wants", "https://[2001:db8::1]:8000 wants"),
    "IPv4 inside IPv6": ("URI: https://tickets.example/in", "URI: https://[::ffff:192.0.2.1]/"),
    "URI without authority": ("URI: https://tickets.example/in", "URI: did:key:z6Mk"),
    "leading zero of a chain id": ("Chain ID: 84532", "Chain ID: 084532"),
    "a statement that looks like a field": (
        "I accept the terms: https://tickets.example/terms",
        "URI: https://x",
    ),
}


@pytest.mark.parametrize(("old", "new"), ACCEPTED.values(), ids=ACCEPTED)
def test_the_whole_grammar_is_understood(old: str, new: str) -> None:
    assert old in FULL
    text = FULL.replace(old, new, 1)
    assert written(parse(text)) == text


REFUSED = {
    "nothing": (FULL, ""),
    "CRLF": ("\n", "\r\n"),
    "a space before": ("https://tickets.example wants", " https://tickets.example wants"),
    "no domain": ("https://tickets.example wants", " wants"),
    "scheme without domain": ("https://tickets.example wants", "https:// wants"),
    "two schemes": ("https://tickets.example wants", "https://https://tickets.example wants"),
    "path after the domain": ("https://tickets.example wants", "https://tickets.example/ wants"),
    "scheme that starts with a digit": ("https://tickets.example wants", "1https://tickets.example wants"),
    "two users": ("https://tickets.example wants", "https://a@b@tickets.example wants"),
    "domain in another script": ("https://tickets.example wants", "https://t\u0456ckets.example wants"),
    "capital in the fixed words": ("wants you", "Wants you"),
    "another chain's fixed words": ("Ethereum account", "Solana account"),
    "lower-case address": (
        "0x7803ADF1f8E456107be7e13ddcBC5EF1E1A029a5",
        "0x7803adf1f8e456107be7e13ddcbc5ef1e1a029a5",
    ),
    "upper-case address": (
        "0x7803ADF1f8E456107be7e13ddcBC5EF1E1A029a5",
        "0x7803ADF1F8E456107BE7E13DDCBC5EF1E1A029A5",
    ),
    "one letter of the address in the other case": ("F1E1A029a5", "f1E1A029a5"),
    "short address": ("F1E1A029a5", "F1E1A029a"),
    "statement of two lines": ("the terms: ", "the terms:\n"),
    "quotes in the statement": ("the terms", 'the "terms"'),
    "angle brackets in the statement": ("the terms", "the <b>terms</b>"),
    "percent in the statement": ("the terms", "100% of the terms"),
    "non-ASCII in the statement": ("the terms", "thé terms"),
    "NUL in the statement": ("the terms", "the\x00terms"),
    "empty statement": ("I accept the terms: https://tickets.example/terms", ""),
    "missing empty line": ("terms\n\nURI", "terms\nURI"),
    "one empty line more": ("terms\n\nURI", "terms\n\n\nURI"),
    "no URI": ("URI: https://tickets.example/in\n", ""),
    "empty URI": ("URI: https://tickets.example/in", "URI: "),
    "relative URI": ("URI: https://tickets.example/in", "URI: /in"),
    "space in the URI": ("tickets.example/in", "tickets.example/i n"),
    "broken escape in the URI": ("tickets.example/in", "tickets.example/%2"),
    "two fragments": ("tickets.example/in", "tickets.example/in#a#b"),
    "IPv6 of nine groups": ("URI: https://tickets.example/in", "URI: https://[1:2:3:4:5:6:7:8:9]/"),
    "IPv6 with two gaps": ("URI: https://tickets.example/in", "URI: https://[1::2::3]/"),
    "IPv4 octet of 256": ("URI: https://tickets.example/in", "URI: https://[::0.0.0.256]/"),
    "bare bracket": ("URI: https://tickets.example/in", "URI: https://[::1/"),
    "version 2": ("Version: 1", "Version: 2"),
    "version 11": ("Version: 1", "Version: 11"),
    "chain id in hex": ("Chain ID: 84532", "Chain ID: 0x14a34"),
    "negative chain id": ("Chain ID: 84532", "Chain ID: -1"),
    "no chain id": ("Chain ID: 84532\n", ""),
    "chain id in other digits": ("Chain ID: 84532", "Chain ID: ٨٤٥٣٢"),
    "nonce of seven": ("Nonce: a1b2c3d4e5f60718", "Nonce: a1b2c3d"),
    "nonce with a hyphen": ("Nonce: a1b2c3d4e5f60718", "Nonce: a1b2c3d4-e5f60718"),
    "no nonce": ("Nonce: a1b2c3d4e5f60718\n", ""),
    "date in words": ("Issued At: 2026-01-02T03:04:05.678Z", "Issued At: Fri Jan 02 2026 03:04:05 GMT"),
    "date alone": ("Issued At: 2026-01-02T03:04:05.678Z", "Issued At: 2026-01-02"),
    "no zone": ("03:04:05.678Z", "03:04:05.678"),
    "30 February": ("Issued At: 2026-01-02", "Issued At: 2026-02-30"),
    "hour 24": ("T03:04:05.678Z", "T24:04:05.678Z"),
    "second 61": ("T03:04:05.678Z", "T03:04:61Z"),
    "offset of 24 hours": ("T03:04:05.678Z", "T03:04:05+24:00"),
    "offset of 60 minutes": ("T03:04:05.678Z", "T03:04:05+00:60"),
    "point without digits": ("05.678Z", "05.Z"),
    "year 0": ("Issued At: 2026", "Issued At: 0000"),
    "bad expiration": ("Expiration Time: 2026", "Expiration Time: never"),
    "30 February as expiration": ("Expiration Time: 2026-01-02", "Expiration Time: 2026-02-30"),
    "not-before before expiration": (
        "Expiration Time: 2026-01-02T03:34:05.678Z\nNot Before: 2026-01-02T03:00:00.000Z",
        "Not Before: 2026-01-02T03:00:00.000Z\nExpiration Time: 2026-01-02T03:34:05.678Z",
    ),
    "a field twice": ("Request ID: 1", "Request ID: 1\nRequest ID: 1"),
    "an unknown field": ("Request ID: 1", "Request ID: 1\nColour: red"),
    "slash in the request id": ("Request ID: 1", "Request ID: a/b"),
    "resource without dash": ("- ipfs://bafy", "ipfs://bafy"),
    "resource that is no URI": ("- ipfs://bafy", "- bafy"),
    "two resources in one line": ("- ipfs://bafy", "- ipfs://bafy - ipfs://bafy"),
    "line feed at the end": ("- ipfs://bafy", "- ipfs://bafy\n"),
    "something at the end": ("- ipfs://bafy", "- ipfs://bafy\n\nand all your tokens"),
    "a lone surrogate": ("the terms", "the \ud800terms"),
}


@pytest.mark.parametrize(("old", "new"), REFUSED.values(), ids=REFUSED)
def test_what_the_grammar_forbids_is_refused(old: str, new: str) -> None:
    assert old in FULL
    with pytest.raises(MessageMalformed) as refusal:
        parse(FULL.replace(old, new, 1))
    assert refusal.value.details["fields"] == [{"path": "message", "reason": refusal.value.message[9:]}]


def test_the_reason_names_the_line_and_the_piece() -> None:
    with pytest.raises(MessageMalformed, match=re.escape("at line 8 (Chain ID)")):
        parse(FULL.replace("Chain ID: 84532", "Chain ID: Base"))


def test_4096_bytes_are_read_and_one_more_is_not() -> None:
    room = siwe.MAX_BYTES - len(FULL)
    longest = FULL.replace("I accept", "I accept" + " a" * (room // 2) + "a" * (room % 2))
    assert len(longest) == siwe.MAX_BYTES
    parse(longest)
    with pytest.raises(MessageMalformed, match="longer than 4096 bytes"):
        parse(longest + "a")


def hostile() -> Iterator[tuple[str, str]]:
    """Texts of 4 KiB that make parsers walk back and forth: long runs of what almost fits, anywhere."""
    size = siwe.MAX_BYTES
    runs = (
        "a",
        "a.",
        "a@",
        ":",
        "a:",
        "://",
        "a://",
        "//",
        "/a",
        "%41",
        "%4",
        "?",
        "#",
        "[",
        "[::",
        "]",
        " ",
        "\n",
        "\n- ",
        "\n- a:",
        "0",
        "-",
        "\n\n",
    )
    for run in runs:
        yield f"only {run!r}", (run * size)[:size]
    for run in runs:
        for name, start in (
            ("domain", ""),
            ("scheme", "https://"),
            ("address", FULL[: FULL.index("0x")]),
            ("statement", FULL[: FULL.index("I accept")]),
            ("uri", FULL[: FULL.index("https://tickets.example/in")]),
            ("uri authority", FULL[: FULL.index("tickets.example/in")]),
            ("chain id", FULL[: FULL.index("84532")]),
            ("nonce", FULL[: FULL.index("a1b2")]),
            ("fraction", FULL[: FULL.index("678Z")]),
            ("request id", FULL[: FULL.index("1\nResources")]),
            ("resources", FULL[: FULL.index("\n- ")]),
            ("resource", FULL + "/"),
        ):
            yield f"{name} {run!r}", (start + run * size)[:size]


def test_hostile_texts_of_4_kib_take_under_5_ms() -> None:
    slow = {}
    for name, text in hostile():
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            with suppress(MessageMalformed):
                parse(text)
            seconds.append(time.perf_counter() - started)
        if min(seconds) > 0.005:
            slow[name] = min(seconds)
    assert not slow


@given(st.text(max_size=300) | st.text("[]%:/@#?-\n aZ09.T", max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        message = parse(text)
    except MessageMalformed:
        return
    assert written(message) == text


def changed(**fields: str | None) -> SignInMessage:
    return msgspec.structs.replace(parse(FULL), **fields)


def test_a_message_that_is_meant_for_us_passes() -> None:
    check(parse(FULL), PARTY, now=NOW)
    check(changed(scheme=None), PARTY, now=NOW)
    check(changed(uri="https://tickets.example"), PARTY, now=NOW)
    check(changed(chain_id="1"), PARTY, now=NOW)
    check(changed(expiration_time=None, not_before=None), PARTY, now=NOW)


MEANT_FOR_OTHERS: dict[str, tuple[dict[str, str], type[EchainError]]] = {
    "another domain": ({"domain": "evil.example"}, DomainMismatch),
    "our domain as a user": ({"domain": "tickets.example@evil.example"}, DomainMismatch),
    "a user before our domain": ({"domain": "evil.example@tickets.example"}, DomainMismatch),
    "trailing dot": ({"domain": "tickets.example."}, DomainMismatch),
    "our port spelled out": ({"domain": "tickets.example:443"}, DomainMismatch),
    "another port": ({"domain": "tickets.example:8443"}, DomainMismatch),
    "subdomain": ({"domain": "a.tickets.example"}, DomainMismatch),
    "our name as a subdomain": ({"domain": "tickets.example.evil.example"}, DomainMismatch),
    "capitals": ({"domain": "Tickets.example"}, DomainMismatch),
    "escaped letter": ({"domain": "tickets.exampl%65"}, DomainMismatch),
    "punycode twin": ({"domain": "xn--tckets-4jd.example"}, DomainMismatch),
    "http": ({"scheme": "http"}, SchemeMismatch),
    "a wallet's scheme": ({"scheme": "metamask"}, SchemeMismatch),
    "URI elsewhere": ({"uri": "https://evil.example/"}, UriMismatch),
    "URI that starts as ours": ({"uri": "https://tickets.example.evil.example/"}, UriMismatch),
    "URI with us as its user": ({"uri": "https://tickets.example@evil.example/"}, UriMismatch),
    "URI over http": ({"uri": "http://tickets.example/"}, UriMismatch),
    "URI at another port": ({"uri": "https://tickets.example:8443/"}, UriMismatch),
    "a chain that is not ours": ({"chain_id": "10"}, ChainNotAllowed),
    "our chain with a zero before it": ({"chain_id": "01"}, ChainNotAllowed),
    "expired a moment ago": ({"expiration_time": "2026-01-02T03:04:09.999Z"}, MessageExpired),
    "expired this moment": ({"expiration_time": "2026-01-02T03:04:10Z"}, MessageExpired),
    "expired, said with an offset": ({"expiration_time": "2026-01-02T05:04:09+02:00"}, MessageExpired),
    "not yet valid": ({"not_before": "2026-01-02T03:04:10.001Z"}, MessageNotYetValid),
    "issued over ten minutes ago": ({"issued_at": "2026-01-02T02:54:09.999Z"}, IssuedAtOutOfWindow),
    "issued over a minute ahead": ({"issued_at": "2026-01-02T03:05:10.001Z"}, IssuedAtOutOfWindow),
}


@pytest.mark.parametrize(("fields", "error"), MEANT_FOR_OTHERS.values(), ids=MEANT_FOR_OTHERS)
def test_a_message_for_somebody_or_some_time_else_is_refused(fields: dict, error: type[EchainError]) -> None:
    with pytest.raises(error):
        check(changed(**fields), PARTY, now=NOW)


@given(st.timedeltas(min_value=timedelta(minutes=-20), max_value=timedelta(minutes=20)))
def test_a_message_lives_from_a_minute_before_to_ten_minutes_after_its_issue(age: timedelta) -> None:
    message = changed(issued_at="2026-01-02T03:04:10Z", expiration_time=None, not_before=None)
    if timedelta(seconds=-60) <= age <= timedelta(minutes=10):
        check(message, PARTY, now=NOW + age)
    else:
        with pytest.raises(IssuedAtOutOfWindow):
            check(message, PARTY, now=NOW + age)


@pytest.mark.parametrize(
    ("public_url", "scheme", "domain"),
    [
        ("https://tickets.example", "https", "tickets.example"),
        ("https://Tickets.Example/", "https", "tickets.example"),
        ("https://tickets.example:443/app", "https", "tickets.example"),
        ("https://tickets.example:8443", "https", "tickets.example:8443"),
        ("http://127.0.0.1:8000", "http", "127.0.0.1:8000"),
        ("http://localhost:80/", "http", "localhost"),
        ("http://[::1]:8000/", "http", "[::1]:8000"),
    ],
)
def test_our_origin_is_spelled_as_browsers_spell_it(public_url: str, scheme: str, domain: str) -> None:
    party = relying_party(public_url, [1])
    assert (party.scheme, party.domain, party.origin) == (scheme, domain, f"{scheme}://{domain}")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02t03:04:05.6z", datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2026-01-02T03:04:05+05:30", datetime(2026, 1, 1, 21, 34, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05-05:30", datetime(2026, 1, 2, 8, 34, 5, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59-00:01", datetime.max.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:60Z", datetime.max.replace(tzinfo=UTC)),
        ("0001-01-01T00:00:00+00:01", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_moments_are_read_as_rfc_3339_says(text: str, moment: datetime) -> None:
    assert instant(text) == moment


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_are_what_python_reads(moment: datetime) -> None:
    assert instant(moment.isoformat().replace("+00:00", "Z")) == moment
