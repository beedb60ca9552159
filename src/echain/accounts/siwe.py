"""EIP-4361 messages: the exact grammar on the text as it was sent, and what a relying party must check.

Existing parsers walk an ABNF engine whose time grows faster than the text (4 KB take seconds, before anybody
has signed in), or let through what the grammar forbids. This one matches one anchored piece after the other;
every repetition is possessive, so no character is looked at more than a few times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import MAXYEAR, UTC, datetime, timedelta
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from urllib.parse import urlsplit

import msgspec

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
from echain.kernel.evm import Address, checksum

MAX_BYTES: Final = 4096
ISSUED_BEFORE: Final = timedelta(minutes=10)
"""How old a message may be: as long as its nonce lives."""
ISSUED_AFTER: Final = timedelta(seconds=60)
"""How far a wallet's clock may run ahead of ours."""

# RFC 3986, appendix A. No class overlaps with what may follow it, so possessive repetition loses no match.
# Only single characters are repeated so: until Python 3.11.4 a possessive group that failed midway kept what
# it had taken (CPython issue 106052). Hence % stands in the classes, and `parse` looks at what follows it.
_UNRESERVED: Final = r"A-Za-z0-9\-._~"
_SUB_DELIMS: Final = r"!$&'()*+,;="
_PCHARS: Final = rf"{_UNRESERVED}{_SUB_DELIMS}:@%"
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+\-.]*+"
_USERINFO: Final = rf"[{_UNRESERVED}{_SUB_DELIMS}:%]*+"
_IP_LITERAL: Final = rf"\[(?:[0-9A-Fa-f:.]++|v[0-9A-Fa-f]++\.[{_UNRESERVED}{_SUB_DELIMS}:]++)\]"
_REG_NAME: Final = rf"[{_UNRESERVED}{_SUB_DELIMS}%]*+"
_AUTHORITY: Final = rf"(?:{_USERINFO}@)?(?:{_IP_LITERAL}|{_REG_NAME})(?::[0-9]*+)?"
_SEGMENTS: Final = rf"(?:/[{_PCHARS}/]*+)?"
_URI: Final = (
    rf"{_SCHEME}:(?://{_AUTHORITY}{_SEGMENTS}|/?(?:[{_PCHARS}]++{_SEGMENTS})?)"
    rf"(?:\?[{_PCHARS}/?]*+)?(?:#[{_PCHARS}/?]*+)?"
)
# RFC 3339, section 5.6.
_DATE_TIME: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]++)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)

_WANTS: Final = " wants you to sign in with your Ethereum account:"

_PIECES: Final = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        (
            "domain",
            rf"(?:(?P<scheme>{_SCHEME})://)?(?P<domain>{_AUTHORITY}){_WANTS}\n",
        ),
        ("address", r"(?P<address>0x[0-9a-fA-F]{40})\n\n"),
        ("statement", rf"(?:(?P<statement>[{_UNRESERVED}{_SUB_DELIMS}:/?#\[\]@ ]++)\n)?\n"),
        ("URI", rf"URI: (?P<uri>{_URI})\n"),
        ("Version", r"Version: (?P<version>1)\n"),
        ("Chain ID", r"Chain ID: (?P<chain_id>[0-9]++)\n"),
        ("Nonce", r"Nonce: (?P<nonce>[A-Za-z0-9]{8,}+)\n"),
        ("Issued At", rf"Issued At: (?P<issued_at>{_DATE_TIME})"),
        ("Expiration Time", rf"(?:\nExpiration Time: (?P<expiration_time>{_DATE_TIME}))?"),
        ("Not Before", rf"(?:\nNot Before: (?P<not_before>{_DATE_TIME}))?"),
        ("Request ID", rf"(?:\nRequest ID: (?P<request_id>[{_PCHARS}]*+))?"),
        ("Resources", rf"(?:\nResources:(?P<resources>(?:\n- {_URI})*))?"),
        ("end", r"\Z"),
    )
)
_IPV6: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\]")
_LEAP_SECOND: Final = 60
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class SignInMessage(msgspec.Struct, frozen=True):
    """The pieces of a message, each as it is written; with the fixed words they are the whole text."""

    scheme: str | None
    domain: str
    address: str
    statement: str | None
    uri: str
    version: str
    chain_id: str
    nonce: str
    issued_at: str
    expiration_time: str | None
    not_before: str | None
    request_id: str | None
    resources: tuple[str, ...] | None

    @property
    def signer(self) -> Address:
        return Address(bytes.fromhex(self.address[2:]))


class RelyingParty(msgspec.Struct, frozen=True):
    """Who a message must be meant for: one public origin, and the chains that are configured."""

    scheme: str
    domain: str
    chain_ids: frozenset[str]

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.domain}"


def relying_party(public_url: str, chain_ids: Iterable[int]) -> RelyingParty:
    """Return the party at ``public_url``, its origin spelled as browsers spell it."""
    parts = urlsplit(public_url)
    domain = parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))
    return RelyingParty(parts.scheme, domain, frozenset(map(str, chain_ids)))


def parse(text: str) -> SignInMessage:
    """Return the pieces of an EIP-4361 message, in time linear in its length.

    The address must be in its EIP-55 spelling. Lines end with LF; nothing follows the last piece.

    Raises:
        MessageMalformed: longer than 4096 bytes, or not of the grammar; the field's reason names the first
            piece that is wrong.
    """
    if len(text) > MAX_BYTES:
        raise MessageMalformed.because(f"longer than {MAX_BYTES} bytes")
    pieces: dict[str, str | None] = {}
    position = 0
    for name, pattern in _PIECES:
        match = pattern.match(text, position)
        if match is None or _BROKEN_ESCAPE.search(match.group()):
            raise MessageMalformed.because(
                f"not of the EIP-4361 grammar at line {_line(text, position)} ({name})"
            )
        pieces.update(match.groupdict())
        position = match.end()
    resources = pieces.pop("resources")
    message = SignInMessage(
        **pieces,  # pyright: ignore[reportArgumentType] -- the pattern leaves only optional groups None
        resources=None if resources is None else tuple(resources.split("\n- ")[1:]),
    )
    _refuse_what_the_pattern_cannot_see(message)
    return message


def worded(
    party: RelyingParty,
    address: str,
    *,
    statement: str,
    chain_id: str,
    nonce: str,
    issued_at: str,
    expiration_time: str,
    request_id: str,
) -> str:
    """Return a message of ours for a wallet to sign; `parse` takes it, and a test sees to it."""
    return (
        f"{party.domain}{_WANTS}\n{address}\n\n{statement}\n\n"
        f"URI: {party.origin}\nVersion: 1\nChain ID: {chain_id}\nNonce: {nonce}\n"
        f"Issued At: {issued_at}\nExpiration Time: {expiration_time}\nRequest ID: {request_id}"
    )


def check(message: SignInMessage, party: RelyingParty, *, now: datetime) -> None:
    """Check that a message is meant for this party, for a configured chain and for now.

    Raises:
        DomainMismatch, SchemeMismatch, UriMismatch: it is meant for somebody else.
        ChainNotAllowed: its chain is not configured here.
        IssuedAtOutOfWindow: issued over 10 minutes ago or over 60 s in the future.
        MessageExpired, MessageNotYetValid: outside the time that it names itself.
    """
    if message.domain != party.domain:
        raise DomainMismatch(expected=party.domain, found=message.domain)
    if message.scheme not in (None, party.scheme):
        raise SchemeMismatch(expected=party.scheme, found=message.scheme)
    if message.uri != party.origin and not message.uri.startswith(party.origin + "/"):
        raise UriMismatch(expected=party.origin, found=message.uri)
    if message.chain_id not in party.chain_ids:
        raise ChainNotAllowed(expected=sorted(party.chain_ids), found=message.chain_id)
    if message.expiration_time is not None and instant(message.expiration_time) <= now:
        raise MessageExpired
    if message.not_before is not None and instant(message.not_before) > now:
        raise MessageNotYetValid
    if not now - ISSUED_BEFORE <= instant(message.issued_at) <= now + ISSUED_AFTER:
        raise IssuedAtOutOfWindow


def instant(text: str) -> datetime:
    """Return the moment that an RFC 3339 date-time names, cut to microseconds, held to the years 1 to 9999.

    A leap second counts as the second after it.

    Raises:
        ValueError: the calendar or the clock has no such moment.
    """
    clock, offset = (text[:-1], "Z") if text[-1] in "Zz" else (text[:-6], text[-6:])
    second = int(clock[17:19])
    leap = second == _LEAP_SECOND
    whole = datetime(
        int(clock[0:4]),
        int(clock[5:7]),
        int(clock[8:10]),
        int(clock[11:13]),
        int(clock[14:16]),
        second - leap,
        int(clock[20:26].ljust(6, "0")),
        tzinfo=UTC,
    )
    try:
        return whole + timedelta(seconds=int(leap)) - _offset(offset)
    except OverflowError:
        return _LAST if whole.year == MAXYEAR else _FIRST


def _offset(text: str) -> timedelta:
    if text == "Z":
        return timedelta()
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 23 or minutes > 59:  # noqa: PLR2004 -- RFC 3339: time-hour 00-23, time-minute 00-59
        raise ValueError("there is no such offset")
    return timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1)


def _refuse_what_the_pattern_cannot_see(message: SignInMessage) -> None:
    if not message.domain:
        raise MessageMalformed.because("the domain is empty")
    if message.address != checksum(message.signer):
        raise MessageMalformed.because("the address is not in its EIP-55 spelling")
    for moment in (message.issued_at, message.expiration_time, message.not_before):
        try:
            _ = moment and instant(moment)
        except ValueError as error:
            raise MessageMalformed.because(f"{moment} is no moment") from error
    for uri in (message.domain, message.uri, *(message.resources or ())):
        for literal in _IPV6.findall(uri):
            try:
                IPv6Address(literal)
            except AddressValueError as error:
                raise MessageMalformed.because(f"[{literal}] is no IPv6 address") from error


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
