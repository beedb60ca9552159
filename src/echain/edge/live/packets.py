"""Engine.IO 4 and Socket.IO 5 packets as text, read strictly and without side effects.

Sources: socketio/engine.io-protocol (revision 4) and socketio/socket.io-protocol (revision 5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast

import msgspec

from echain.edge.live.wire import RECORD_SEPARATOR

OPEN: Final = b"0"
CLOSE: Final = b"1"
PING: Final = b"2"
PONG: Final = b"3"
MESSAGE: Final = b"4"
UPGRADE: Final = b"5"
NOOP: Final = b"6"
PROBE: Final = b"2probe"
PROBED: Final = b"3probe"

CONNECT: Final = "0"
DISCONNECT: Final = "1"
EVENT: Final = "2"
ACK: Final = "3"
BINARY_EVENT: Final = "5"
BINARY_ACK: Final = "6"

MOST_ATTACHMENTS: Final = 10
MOST_PACKETS: Final = 100

_PACKET: Final = re.compile(
    r"(?P<kind>[0-6])(?:(?P<attachments>[0-9]{1,4})-)?(?P<namespace>/[^,]*,?)?(?P<ack>[0-9]{1,15})?(?P<data>.*)",
    re.DOTALL,
)
_RESERVED: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


class PacketMalformed(ValueError):
    """The peer does not speak the protocol; the connection must end."""


class Packet(msgspec.Struct, frozen=True, gc=False):
    """A Socket.IO packet. ``name`` and ``arguments`` are an event's; ``data`` is a connect's."""

    kind: str
    namespace: str = "/"
    ack: int | None = None
    name: str = ""
    arguments: tuple[object, ...] = ()
    data: Mapping[str, object] | None = None
    attachments: int = 0


def decode(text: bytes) -> Packet:
    """Return the Socket.IO packet that an Engine.IO message holds.

    Raises:
        PacketMalformed: it is none that a client may send.
    """
    try:
        match = _PACKET.fullmatch(text.decode())
    except UnicodeDecodeError as error:
        raise PacketMalformed("not UTF-8") from error
    if match is None:
        raise PacketMalformed("no packet type")
    kind = match["kind"]
    binary = kind in (BINARY_EVENT, BINARY_ACK)
    attachments = int(match["attachments"] or 0)
    if binary != (match["attachments"] is not None) or attachments > MOST_ATTACHMENTS:
        raise PacketMalformed("attachments do not fit the packet")
    namespace = (match["namespace"] or "/").split("?", 1)[0].rstrip(",")
    ack = None if match["ack"] is None else int(match["ack"])
    data = _json(match["data"])
    if kind == CONNECT:
        return _connect(namespace, ack, data)
    if kind in (EVENT, BINARY_EVENT):
        return _event(kind, namespace, ack, data, attachments)
    if kind in (ACK, BINARY_ACK) and ack is not None and isinstance(data, list):
        return Packet(kind, namespace, ack, attachments=attachments)
    if kind == DISCONNECT and ack is None and data is None:
        return Packet(kind, namespace)
    raise PacketMalformed("no packet of a client")


def _json(text: str) -> object:
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PacketMalformed("the payload is not JSON") from error


def _connect(namespace: str, ack: int | None, data: object) -> Packet:
    if ack is not None or not (data is None or isinstance(data, dict)):
        raise PacketMalformed("a connect packet holds an object or nothing")
    return Packet(CONNECT, namespace, data=cast("Mapping[str, object] | None", data))


def _event(kind: str, namespace: str, ack: int | None, data: object, attachments: int) -> Packet:
    if not isinstance(data, list):
        raise PacketMalformed("an event is an array")
    name, *arguments = cast("list[object]", data) or [None]
    if not isinstance(name, str) or name in _RESERVED:
        raise PacketMalformed("an event begins with its name")
    return Packet(kind, namespace, ack, name, tuple(arguments), attachments=attachments)


def split_payload(body: bytes) -> list[bytes]:
    """Return the packets of a polling request's body.

    Raises:
        PacketMalformed: there are none, too many, or an empty one.
    """
    packets = body.split(RECORD_SEPARATOR, MOST_PACKETS)
    if len(packets) > MOST_PACKETS or not all(packets):
        raise PacketMalformed("a payload is packets with separators between")
    return packets


def handshake(
    sid: str, *, upgrades: list[str], ping_interval: float, ping_timeout: float, max_payload: int
) -> bytes:
    """Return the packet that opens a session; durations are seconds here and milliseconds there."""
    return OPEN + msgspec.json.encode(
        {
            "sid": sid,
            "upgrades": upgrades,
            "pingInterval": round(ping_interval * 1000),
            "pingTimeout": round(ping_timeout * 1000),
            "maxPayload": max_payload,
        }
    )


def connected(sid: str) -> bytes:
    """Return the message that admits a client to the default namespace."""
    return b'40{"sid":"%b"}' % sid.encode()


def connect_error(namespace: str, message: str, code: str) -> bytes:
    """Return the message that refuses a client a namespace."""
    place = "" if namespace == "/" else f"{namespace},"
    return f"44{place}".encode() + msgspec.json.encode({"message": message, "data": {"code": code}})


def ack(number: int, answer: object) -> bytes:
    """Return the message that acknowledges an event with one argument."""
    return b"43%d[%b]" % (number, msgspec.json.encode(answer))
