"""What hostile, slow and broken peers may do: nothing to others, and not for long."""

from __future__ import annotations

import asyncio
import json
import socket as net
import struct
from contextlib import suppress

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.live.stage import EVENT, Stage, staged
from websockets.asyncio.client import connect

from echain.edge.live import packets
from echain.edge.live.access import Limits, Timing
from echain.edge.live.packets import PacketMalformed

UPGRADE = (
    b"GET /ws/events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def masked(payload: bytes, first: int = 0x81) -> bytes:
    """Return a client's frame, masked with zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes([first]) + length + bytes(4) + payload


async def raw(stage: Stage) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", stage.port)


async def upgraded(stage: Stage, rest: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await raw(stage)
    writer.write(UPGRADE + rest)
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def all_of(reader: asyncio.StreamReader, seconds: float = 5) -> bytes:
    """Return what comes until the server ends the connection."""
    async with asyncio.timeout(seconds):
        with suppress(ConnectionError):
            return await reader.read()
    return b""


async def test_a_frame_that_comes_with_the_upgrade_is_not_lost(stage: Stage) -> None:
    reader, writer = await upgraded(stage, masked(b'{"op":"ping"}'))
    async with asyncio.timeout(5):
        assert b'"pong"' in await reader.readuntil(b"}}")
    writer.close()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x02{}", 1002),
        (b"\x83" + masked(b"x")[1:], 1002),
        (b"\xc1" + masked(b"x")[1:], 1002),
        (b"\x09" + masked(b"x")[1:], 1002),
        (b"\x80" + masked(b"x")[1:], 1002),
        (b"\x01" + masked(b"x")[1:] + masked(b"y"), 1002),
        (b"\x81\xff" + struct.pack(">Q", 1 << 40) + bytes(4), 1009),
        (b"\x81\xff" + struct.pack(">Q", 1 << 63) + bytes(4), 1002),
        (b"\x88" + masked(b"\x00")[1:], 1002),
        (b"\x88" + masked(struct.pack(">H", 999))[1:], 1002),
    ],
)
async def test_a_frame_against_the_protocol_ends_with_its_code(stage: Stage, frame: bytes, code: int) -> None:
    reader, writer = await upgraded(stage)
    writer.write(masked(b'{"op":"subscribe","channels":["event:one"]}'))
    await stage.until(lambda: stage.desk.hub.hearers(EVENT) == 1)
    writer.write(frame)
    while stage.desk.hub.hearers(EVENT):
        stage.told.sold()
        await asyncio.sleep(0)
    said = await all_of(reader)
    close = said.rindex(b"\x88")
    assert int.from_bytes(said[close + 2 : close + 4], "big") == code
    assert close + 2 + said[close + 1] == len(said), "nothing follows a close frame"
    writer.close()
    await stage.until(lambda: not stage.desk.places.taken)


async def test_text_that_is_not_utf8_is_answered_and_no_more(stage: Stage) -> None:
    reader, writer = await upgraded(stage)
    writer.write(masked(b'{"op":"\xff\xfe"}'))
    async with asyncio.timeout(5):
        assert b"live.malformed" in await reader.readuntil(b"}}")
    writer.close()


async def test_a_slow_client_is_told_to_read_anew_and_slows_nobody() -> None:
    limits = Limits(backlog_bytes=20_000)
    async with staged(limits=limits) as stage:
        slow = await slow_socket(stage)
        async with connect(f"{stage.ws}/ws/events") as quick:
            await quick.send('{"op":"subscribe","channels":["event:one"]}')
            await quick.recv()
            for number in range(1, 1501):
                stage.told.say((EVENT, "ticket_sold", {"text": "x" * 900}))
                async with asyncio.timeout(2):
                    assert json.loads(await quick.recv())["id"] == str(number)
            assert stage.desk.hub.hearers(EVENT) == 1, "the slow one hears nothing now"
            said = await drained(slow)
            ids = [int(one["id"]) for one in said if one["type"] == "ticket_sold"]
            assert ids == list(range(1, len(ids) + 1)), "what it got is without a gap"
            assert len(ids) < 1500
            assert (said[-1]["type"], said[-1]["id"], said[-1]["data"]) == (
                "resync",
                "1500",
                {"reason": "slow"},
            )
            stage.told.say((EVENT, "ticket_sold", {}))
            assert json.loads(await quick.recv())["id"] == "1501"
            after = await drained(slow)
            assert [one["id"] for one in after] == ["1501"], "it hears on from there"
        slow.close()


async def test_a_client_that_stays_stuck_is_dropped() -> None:
    limits = Limits(backlog_bytes=20_000, stuck_seconds=0.2)
    async with staged(limits=limits) as stage:
        slow = await slow_socket(stage)
        for _ in range(1000):
            stage.told.say((EVENT, "ticket_sold", {"text": "x" * 900}))
            await asyncio.sleep(0)
        await stage.until(lambda: not stage.desk.sessions and not stage.desk.places.taken)
        slow.close()


async def test_one_message_larger_than_the_backlog_is_no_loss() -> None:
    limits = Limits(backlog_bytes=5_000)
    async with staged(limits=limits) as stage, connect(f"{stage.ws}/ws/events") as client:
        await client.send('{"op":"subscribe","channels":["event:one"]}')
        await client.recv()
        for number in range(1, 4):
            stage.told.say((EVENT, "ticket_sold", {"text": "x" * 900_000}))
            async with asyncio.timeout(5):
                assert json.loads(await client.recv())["id"] == str(number)


async def slow_socket(stage: Stage) -> net.socket:
    """Subscribe on a socket that takes little and is not read."""
    slow = net.socket()
    slow.setsockopt(net.SOL_SOCKET, net.SO_RCVBUF, 4096)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(slow, ("127.0.0.1", stage.port))
    await loop.sock_sendall(slow, UPGRADE + masked(b'{"op":"subscribe","channels":["event:one"]}'))
    await stage.until(lambda: stage.desk.hub.hearers(EVENT) == 1)
    return slow


async def drained(slow: net.socket) -> list[dict[str, object]]:
    """Read all there is and return its messages."""
    loop = asyncio.get_running_loop()
    data = b""
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.5):
                data += await loop.sock_recv(slow, 65_536)
    found = []
    decoder = json.JSONDecoder()
    text = data.decode("latin-1")
    at = 0
    while (at := text.find('{"', at)) >= 0:
        value, at = decoder.raw_decode(text, at)
        if value["type"] != "subscribed":
            found.append(value)
    return found


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(150)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 20_000, 431),
        (b"GET /" + b"a" * 20_000, 431),
        (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"x" * 150_000, 413),
        (b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 150_000, 413),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"GET /nowhere HTTP/1.0\r\n\r\n", 404),
        (b"GET /ws/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 426),
        (UPGRADE.replace(b": 13", b": 8"), 426),
        (UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), 400),
        (UPGRADE.replace(b"websocket", b"h2c"), 426),
        (UPGRADE.replace(b"GET", b"POST").replace(b"Host: x", b"Host: x\r\nContent-Length: 0"), 426),
        (UPGRADE.replace(b"Host: x", b"Host: x\r\nOrigin: https://evil.example"), 403),
        (
            UPGRADE.replace(
                b"Host: x", b"Host: x\r\nOrigin: https://tickets.example\r\nOrigin: https://evil.example"
            ),
            403,
        ),
    ],
)
async def test_a_request_that_is_wrong_is_refused_and_its_connection_ends(
    stage: Stage, request_bytes: bytes, status: int
) -> None:
    reader, writer = await raw(stage)
    writer.write(request_bytes)
    assert (await all_of(reader)).startswith(b"HTTP/1.1 %d " % status)
    writer.close()
    await stage.until(lambda: not stage.desk.places.taken)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET /sse/events?chan",
        b"GET / HTTP/1.1\r\nA: b\r\n",
        b"POST /socket.io/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
    ],
)
async def test_a_request_that_never_ends_is_not_waited_for(start: bytes) -> None:
    async with staged(timing=Timing(request=0.2, keep_alive=0.2, resolution=0.02, closing=0.2)) as stage:
        reader, writer = await raw(stage)
        writer.write(start)
        said = await all_of(reader, 3)
        assert said == b"" if not start else said.startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_request_in_drops_is_not_waited_for_either() -> None:
    async with staged(timing=Timing(request=0.3, resolution=0.02, closing=0.2)) as stage:
        reader, writer = await raw(stage)
        dripping = asyncio.create_task(drip(writer))
        assert (await all_of(reader, 3)).startswith(b"HTTP/1.1 408 ")
        dripping.cancel()
        writer.close()


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\n")
    with suppress(ConnectionError):
        while True:
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.02)


async def test_requests_one_after_the_other_share_a_connection_and_keep_their_order(stage: Stage) -> None:
    reader, writer = await raw(stage)
    one = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    other = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
    for _ in range(5):
        writer.write(one + other + one)
        async with asyncio.timeout(5):
            answers = [await reader.readuntil(b"}") for _ in range(2)]
            await reader.readuntil(b"}")
            answers.append(await reader.readuntil(b"}"))
        assert [answer.lstrip(b"}").split(b" ")[1] for answer in answers] == [b"200", b"404", b"200"]
    writer.write(one * 40)
    await all_of(reader)
    writer.close()


async def test_no_more_connections_than_may_be_are_taken_in() -> None:
    async with staged(limits=Limits(connections=3)) as stage, aiohttp.ClientSession() as http:
        held = [await upgraded(stage) for _ in range(3)]
        async with http.get(f"{stage.http}/health/live") as answer:
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        held[0][1].close()
        await stage.until(lambda: stage.desk.places.taken == 2)
        async with http.get(f"{stage.http}/health/live") as answer:
            assert answer.status == 200
        for _, writer in held:
            writer.close()


async def test_one_address_may_not_take_all_places() -> None:
    async with staged(limits=Limits(per_address=2, count_loopback=True)) as stage:
        held = [await upgraded(stage) for _ in range(2)]
        reader, writer = await raw(stage)
        writer.write(UPGRADE)
        assert (await all_of(reader)).startswith(b"HTTP/1.1 429 ")
        writer.close()
        for _, one in held:
            one.close()
        await stage.until(lambda: not stage.desk.places.taken)
        assert stage.desk.places._by_address == {}


PROXIED = Limits(per_address=2, count_loopback=True, proxies=("127.0.0.0/8", "10.0.0.0/8"))


async def knocked(stage: Stage, forwarded: str) -> tuple[bytes, asyncio.StreamWriter]:
    """Ask for a WebSocket as a proxy does for somebody; return the first line of the answer."""
    reader, writer = await raw(stage)
    writer.write(UPGRADE.replace(b"\r\n\r\n", f"\r\nX-Forwarded-For: {forwarded}\r\n\r\n".encode()))
    return await reader.readline(), writer


async def test_behind_a_trusted_proxy_each_address_has_its_own_places() -> None:
    async with staged(limits=PROXIED) as stage:
        held = []
        # What stands further left was written by the client itself.
        for forwarded in ("1.1.1.1, 198.51.100.1", "1.1.1.2, 198.51.100.1, 10.1.2.3", "198.51.100.2"):
            line, writer = await knocked(stage, forwarded)
            assert line.startswith(b"HTTP/1.1 101 ")
            held.append(writer)
        line, writer = await knocked(stage, "1.1.1.3, 198.51.100.1")
        assert line.startswith(b"HTTP/1.1 429 ")
        writer.close()
        held.pop(0).close()
        await stage.until(lambda: stage.desk.places._by_address == {"198.51.100.1": 1, "198.51.100.2": 1})
        line, writer = await knocked(stage, "198.51.100.1")
        assert line.startswith(b"HTTP/1.1 101 ")
        for one in [*held, writer]:
            one.close()
        await stage.until(lambda: not stage.desk.places.taken)
        assert stage.desk.places._by_address == {}


async def test_ports_brackets_and_repeated_lines_of_a_proxy_are_read_as_everywhere() -> None:
    async with staged(limits=PROXIED) as stage:
        held = []
        for forwarded in (
            "198.51.100.1:4711",
            "198.51.100.1:4712",
            "[2001:db8::1]:443",
            "1.1.1.1\r\nX-Forwarded-For: 198.51.100.2:80\r\nX-Forwarded-For: 10.0.0.2:80",
        ):
            line, writer = await knocked(stage, forwarded)
            assert line.startswith(b"HTTP/1.1 101 "), forwarded
            held.append(writer)
        line, writer = await knocked(stage, "198.51.100.1")
        assert line.startswith(b"HTTP/1.1 429 ")
        assert sorted(stage.desk.places._by_address.values()) == [1, 1, 2]
        for one in [*held, writer]:
            one.close()


async def test_a_header_from_no_proxy_of_ours_gives_nobody_more_places() -> None:
    limits = Limits(per_address=2, count_loopback=True, proxies=("10.0.0.0/8",))
    async with staged(limits=limits) as stage:
        answers = [await knocked(stage, f"198.51.100.{number}") for number in range(3)]
        assert [line.split()[1] for line, _ in answers] == [b"101", b"101", b"429"]
        for _, writer in answers:
            writer.close()


async def test_streams_and_sessions_that_poll_are_counted_behind_a_proxy_too() -> None:
    async with staged(limits=PROXIED) as stage, aiohttp.ClientSession() as http:
        first = {"X-Forwarded-For": "2001:db8::1"}
        async with http.get(f"{stage.http}/sse/events?channel=event:one", headers=first):
            # Requests that one connection carries for many hold no place once they are answered.
            for number in range(1, 5):
                other = {"X-Forwarded-For": f"2001:db8::{number:x}"}
                async with http.get(f"{stage.http}/health/live", headers=other) as answer:
                    assert answer.status == 200
                assert stage.desk.places._by_address == {"2001:db8::/64": 1}
            # Another connection of the proxy's, so that the session is the one that is held.
            polling = f"{stage.http}/socket.io/?EIO=4&transport=polling"
            async with http.get(polling, headers={"X-Forwarded-For": "198.51.100.1"}) as answer:
                assert answer.status == 200
            assert stage.desk.places._by_address == {"2001:db8::/64": 1, "198.51.100.1": 1}
            async with http.get(polling, headers={"X-Forwarded-For": "198.51.100.1"}) as answer:
                assert answer.status == 429, "its session, and this request's own connection"
        await stage.until(lambda: stage.desk.places._by_address == {"198.51.100.1": 1})


async def test_sessions_that_poll_take_places_too() -> None:
    async with staged(limits=Limits(connections=4)) as stage, aiohttp.ClientSession() as http:
        url = f"{stage.http}/socket.io/?EIO=4&transport=polling"
        statuses = []
        for _ in range(6):
            async with http.get(url) as answer:
                statuses.append(answer.status)
        assert statuses == [200, 200, 200, 503, 503, 503], "the client's own connection takes the fourth"


PIECES = st.sampled_from(
    [
        UPGRADE,
        b"GET /sse/events?channel=event:one HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        b"\r\n",
        masked(b'{"op":"ping"}'),
        masked(b'{"op":"subscribe","channels":["event:one"],"after":"0"}'),
        masked(b"\x03\xe8", 0x88),
        masked(b"", 0x89),
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(PIECES, st.binary(max_size=60)), max_size=6))
def test_no_bytes_at_all_break_the_server(parts: list[bytes]) -> None:
    """In a loop of its own: hypothesis is not asynchronous."""

    async def attack() -> None:
        async with staged() as stage:
            reader, writer = await raw(stage)
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0)
            stage.told.sold()
            with suppress(OSError):
                writer.write_eof()
            with suppress(TimeoutError):
                await all_of(reader, 0.2)
            writer.close()
            await stage.until(
                lambda: not any(s for s in stage.desk.sessions if not getattr(s, "polls", False))
            )
            assert stage.desk.hub.channels == 0

    asyncio.run(attack())


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(lambda text: b"2" + text.encode()),
        st.from_regex(rb"[0-6](\d-)?(/\w*,)?\d?\[?\{?\"?.{0,20}", fullmatch=True),
    )
)
def test_a_packet_is_read_or_refused_and_never_anything_else(data: bytes) -> None:
    with suppress(PacketMalformed):
        packet = packets.decode(data)
        assert packet.kind in "0123 56"
        assert packet.kind != packets.EVENT or packet.name
    with suppress(PacketMalformed):
        assert all(packets.split_payload(data))


@given(
    st.text(min_size=1, max_size=10).filter(lambda name: name not in packets._RESERVED),
    st.lists(
        st.one_of(st.none(), st.integers(-(2**53), 2**53), st.text(max_size=9), st.lists(st.booleans())),
        max_size=4,
    ),
    st.one_of(st.none(), st.integers(0, 10**9)),
)
def test_what_stock_clients_encode_is_understood(name: str, arguments: list[object], ack: int | None) -> None:
    text = f"2{'' if ack is None else ack}{json.dumps([name, *arguments])}"
    packet = packets.decode(text.encode())
    assert (packet.name, list(packet.arguments), packet.ack) == (name, arguments, ack)
