"""Request bodies: read within bounds of size and time, decoded strictly into Structs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, inspect

from echain.edge.http.errors import (
    BodyTooLarge,
    FieldError,
    Malformed,
    SlowBody,
    Truncated,
    WrongMediaType,
    invalid_fields,
)
from echain.edge.http.parameters import INT64, LINE_BREAK, loosely_ended, without_none
from echain.edge.http.structs import bare, holds_any_integer, structs_in

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BODY_SECONDS = 10.0
"""How long a body may take to arrive, from its headers on."""
MAX_DEPTH = 32
MAX_FIELD_ERRORS = 20
EXACT_FLOATS = 1 << 53
"""From here on a float stands for several integers, or is far beyond what a column holds."""

_PLAIN_JSON = b"application/json"
_JSON_TYPE = re.compile(rb'application/(?:[a-z0-9.-]+\+)?json\s*(?:;\s*charset="?utf-8"?\s*)?', re.IGNORECASE)
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"\s*(:?)', re.DOTALL)
"""Strings of a valid JSON text, and whether each is a key."""
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_SUSPICIOUS = (b"\\u0000", b'\\n"', b'\\u000a"', b'\\u000A"')
_AT = re.compile(r" - at `(?:key` in `)?\$\.?(.*)`$")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")


class Disconnected(Exception):
    """The client left before its body was whole; nobody waits for an answer."""


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], max_bytes: int) -> bytes:
    """Return the whole body.

    Raises:
        BodyTooLarge: over ``max_bytes``; no more than that is held.
        SlowBody: not whole after 10 s.
        Truncated: what is in front of us passed on another number of bytes than was announced.
        Disconnected: the client is gone.
    """
    length = headers.get(b"content-length", b"")
    announced = int(length) if length.isdigit() else None
    if announced is not None and announced > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _collect(receive, max_bytes)
    except TimeoutError:
        raise SlowBody(f"The body was not complete after {BODY_SECONDS:.0f} s.") from None
    if announced is not None and announced != len(body):
        raise Truncated(f"The body has {len(body)} bytes, not the {announced} of its Content-Length.")
    return body


async def _collect(receive: Receive, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes} bytes.", maxBytes=max_bytes)


class RawBody(msgspec.Struct, frozen=True):
    """The body of an endpoint that judges it byte for byte, as signatures over it demand.

    An endpoint that declares it as its ``body`` reads it itself, whatever its Content-Type says; nothing of
    it is held before.
    """

    receive: Receive
    headers: Mapping[bytes, bytes]
    max_bytes: int

    async def read(self) -> bytes:
        """Return the bytes as they came; call it once.

        Raises:
            BodyTooLarge, SlowBody, Truncated, Disconnected: see `read_body`.
        """
        return await read_body(self.receive, self.headers, self.max_bytes)


class Body:
    """A decoder of JSON bodies into one Struct type.

    Refused beyond what msgspec refuses: duplicate keys, NUL characters, integers beyond 64 bits, nesting
    beyond 32. The Struct and those inside refuse unknown fields themselves.
    """

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self._struct = struct
        self._decoder = msgspec.json.Decoder(struct)
        self._kind = inspect.type_info(struct)
        self._free_integers = holds_any_integer(self._kind)
        self.optional = all(
            field.default is not NODEFAULT or field.default_factory is not NODEFAULT
            for field in msgspec.structs.fields(struct)
        )
        for part in structs_in(self._kind):
            if not part.forbid_unknown_fields:
                name = part.cls.__name__
                raise ValueError(f"{name} is part of a body: it says forbid_unknown_fields=True")

    def decode(self, body: bytes, headers: Mapping[bytes, bytes]) -> msgspec.Struct:
        """Return the Struct that the body spells; an empty one counts as ``{}`` where no field is required.

        Raises:
            WrongMediaType: not declared as JSON in UTF-8, or compressed.
            Malformed: no JSON, not UTF-8, nested too deep.
            Invalid: with the wrong fields.
        """
        if not body:
            if self.optional:
                return self._struct()
            raise Malformed("The body is empty; send a JSON object.")
        content_type = headers.get(b"content-type", b"")
        if content_type != _PLAIN_JSON and not _JSON_TYPE.fullmatch(content_type.strip()):
            raise WrongMediaType
        if b"content-encoding" in headers:
            raise WrongMediaType
        check_depth(body)
        try:
            decoded = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            decoded = self._second_look(body, error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _malformed(error) from None
        _check_duplicates(body)
        if (self._free_integers and _LONG_NUMBER.search(body)) or any(part in body for part in _SUSPICIOUS):
            raw = msgspec.json.decode(body)
            wrong = [*_unstorable(raw, ""), *_loose_ends(raw, self._kind, "")][:MAX_FIELD_ERRORS]
            if wrong:
                raise invalid_fields(wrong)
        return decoded

    def _second_look(self, body: bytes, error: msgspec.ValidationError) -> msgspec.Struct:
        """Return the Struct of a body whose only fault is to write integers as ``7.0``, which is JSON for 7.

        Raises:
            Invalid: with every wrong field that can be told; msgspec itself stops at the first.
        """
        try:
            raw = _whole_numbers(msgspec.json.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
            raise _malformed(broken) from None
        with suppress(msgspec.ValidationError):
            return msgspec.convert(raw, self._struct)
        wrong = [
            field
            for field, _ in zip(_wrong_fields(raw, self._struct, ""), range(MAX_FIELD_ERRORS), strict=False)
        ]
        raise invalid_fields(wrong or [_field_error(error, "")])


def _malformed(error: Exception) -> Malformed:
    if isinstance(error, UnicodeDecodeError):
        return Malformed("The body is not UTF-8.")
    if isinstance(error, RecursionError):
        return Malformed(f"The body is nested deeper than {MAX_DEPTH} levels.")
    return Malformed(f"The body is not JSON: {str(error).removeprefix('JSON is malformed: ')}.")


def check_depth(body: bytes) -> None:
    """Refuse JSON that a decoder may go too deep into: it recurses, and a stack ends.

    Raises:
        Malformed: nested deeper than 32 levels.
    """
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for byte in _STRINGS.sub(b"", body):
        if byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Malformed(f"The body is nested deeper than {MAX_DEPTH} levels.")
        elif byte in b"]}":
            depth -= 1


def _check_duplicates(body: bytes) -> None:
    """Refuse an object that names a key twice: parsers differ in which one counts.

    A decoder keeps one of equal keys, so keys are missing then: as many in the text as in what it decodes to
    means that none is given twice.
    """
    if _STRINGS.findall(body).count(b":") == _key_count(msgspec.json.decode(body)):
        return

    def distinct(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise invalid_fields([{"path": key, "reason": "given more than once"}])
            seen.add(key)

    json.loads(body, object_pairs_hook=distinct)


def _key_count(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_key_count, value.values()))
    return sum(map(_key_count, value)) if isinstance(value, list) else 0


def _whole_numbers(value: Any) -> Any:
    """Return a JSON value with integers in place of the floats that equal them, where floats are exact."""
    if isinstance(value, float) and abs(value) < EXACT_FLOATS and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    return value


def _unstorable(value: object, path: str) -> Iterator[FieldError]:
    if isinstance(value, str):
        if "\x00" in value:
            yield {"path": path, "reason": "a NUL character cannot be stored"}
    elif isinstance(value, int):
        if not -INT64 <= value < INT64:
            yield {
                "path": path,
                "reason": "an integer has at most 64 bits; larger amounts are decimal strings",
            }
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unstorable(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unstorable(key, path)
            yield from _unstorable(item, _child(path, key))


def _loose_ends(raw: object, kind: inspect.Type, path: str) -> Iterator[FieldError]:
    """Yield texts that passed their pattern only because ``$`` also matches before a last line break."""
    kind = bare(kind)
    if isinstance(kind, inspect.UnionType):
        for alternative in kind.types:
            yield from _loose_ends(raw, alternative, path)
    elif isinstance(raw, str) and loosely_ended(raw, kind):
        yield {"path": path, "reason": LINE_BREAK}
    elif isinstance(raw, list) and isinstance(kind, inspect.CollectionType):
        for index, item in enumerate(raw):
            yield from _loose_ends(item, kind.item_type, f"{path}[{index}]")
    elif isinstance(raw, dict) and isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield from _loose_ends(raw.get(field.encode_name), field.type, _child(path, field.encode_name))


def _wrong_fields(raw: object, annotation: Any, path: str) -> Iterator[FieldError]:
    """Yield what is wrong with a JSON value that should be of this type, going into Structs and lists."""
    inner = without_none(annotation)
    while hasattr(inner, "__metadata__"):
        inner = inner.__origin__
    found = False
    if isinstance(raw, dict) and isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        for field in _wrong_in_object(raw, inner, path):
            found = True
            yield field
    elif isinstance(raw, list) and get_origin(inner) is list:
        for index, item in enumerate(raw):
            for field in _wrong_fields(item, get_args(inner)[0], f"{path}[{index}]"):
                found = True
                yield field
    if found:
        return
    try:
        msgspec.convert(raw, annotation)
    except msgspec.ValidationError as error:
        yield _field_error(error, path)


def _wrong_in_object(raw: dict[str, object], struct: type[msgspec.Struct], path: str) -> Iterator[FieldError]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    tag = struct.__struct_config__.tag_field
    for name in raw:
        if name not in fields and name != tag:
            yield {"path": _child(path, name), "reason": "unknown field"}
    for name, field in fields.items():
        if name in raw:
            yield from _wrong_fields(raw[name], field.type, _child(path, name))
        elif field.default is NODEFAULT and field.default_factory is NODEFAULT:
            yield {"path": _child(path, name), "reason": "required"}


def _child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _field_error(error: msgspec.ValidationError, path: str) -> FieldError:
    """Return msgspec's message as path and reason; ``path`` is where the value stood that it was about."""
    message = str(error)
    at = _AT.search(message)
    if at:
        message = message[: at.start()]
        path = path + at[1] if at[1].startswith("[") or not path else _child(path, at[1]) if at[1] else path
    for pattern, reason in ((_MISSING, "required"), (_UNKNOWN, "unknown field")):
        named = pattern.fullmatch(message)
        if named:
            return {"path": _child(path, named[1]), "reason": reason}
    return {"path": path, "reason": message}
