"""Messages as bytes on each kind of wire, made once however many hear them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

import msgspec

_SHORT: Final = 126
_LONG: Final = 1 << 16
RECORD_SEPARATOR: Final = b"\x1e"


class Wire(IntEnum):
    """How a connection is spoken to."""

    WEBSOCKET = 0
    SOCKETIO = 1
    SOCKETIO_POLLING = 2
    SSE = 3


def text_frame(payload: bytes) -> bytes:
    """Return an unmasked, final text frame (RFC 6455, 5.2), as servers send them."""
    size = len(payload)
    if size < _SHORT:
        return b"\x81" + bytes((size,)) + payload
    if size < _LONG:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def chunk(payload: bytes) -> bytes:
    """Return one chunk of an HTTP/1.1 body (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def sse_event(payload: bytes, *, event_id: int | None = None) -> bytes:
    """Return a chunk with one server-sent event; ``payload`` is JSON without line breaks."""
    head = b"" if event_id is None else b"id: %d\n" % event_id
    return chunk(head + b"data: " + payload + b"\n\n")


def socketio_event(name: str, payload: bytes) -> bytes:
    """Return the Engine.IO message of a Socket.IO event with one JSON argument."""
    return b'42["%b",%b]' % (name.encode(), payload)


def told(
    kind: str, channel: str | None, position: int | None, timestamp_ms: int, data: Mapping[str, object]
) -> bytes:
    """Return a message of the realtime role itself, in the schema of all messages."""
    fields: dict[str, object] = {} if position is None else {"id": str(position)}
    fields["type"] = kind
    if channel is not None:
        fields["channel"] = channel
    return msgspec.json.encode(fields | {"timestamp": timestamp_ms, "data": data})


def spoken(wire: Wire, names: Sequence[str], payload: bytes, *, event_id: int | None = None) -> bytes:
    """Return a JSON message as this wire carries it; Socket.IO hears it under each of ``names``."""
    match wire:
        case Wire.WEBSOCKET:
            return text_frame(payload)
        case Wire.SOCKETIO:
            return b"".join(text_frame(socketio_event(name, payload)) for name in names)
        case Wire.SOCKETIO_POLLING:
            return RECORD_SEPARATOR.join(socketio_event(name, payload) for name in names)
        case Wire.SSE:
            return sse_event(payload, event_id=event_id)


class Entry:
    """A message of the feed, and its bytes on each wire where somebody asked for them."""

    __slots__ = ("_names", "_wires", "channel", "payload", "sequence")

    def __init__(
        self,
        sequence: int,
        channel: str,
        names: Sequence[str],
        data: bytes,
        timestamp_ms: int,
    ) -> None:
        """``names`` begins with the message's type; the others are its aliases. ``data`` is JSON."""
        if b"\n" in data or b"\r" in data:
            # Between JSON's tokens a line break is blank space; in a server-sent event it would end the line.
            data = data.replace(b"\n", b" ").replace(b"\r", b" ")
        self.sequence = sequence
        self.channel = channel
        self.payload = b'{"id":"%d","type":"%b","channel":"%b","timestamp":%d,"data":%b}' % (
            sequence,
            names[0].encode(),
            channel.encode(),
            timestamp_ms,
            data,
        )
        self._names = names
        self._wires: list[bytes | None] = [None] * len(Wire)

    def on(self, wire: Wire) -> bytes:
        """Return the message as ``wire`` carries it."""
        made = self._wires[wire]
        if made is None:
            made = spoken(wire, self._names, self.payload, event_id=self.sequence)
            self._wires[wire] = made
        return made

    @property
    def size(self) -> int:
        """Return about how many bytes this keeps in memory."""
        return 3 * len(self.payload) + 400
