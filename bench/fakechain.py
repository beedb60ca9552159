"""A node of 50 events and 100,000 transfers, encoded beforehand and served over real HTTP.

It stands for a real node where repeatability matters: the same arguments give the same chain, and its own
share of the machine is small. It knows only what a backfill asks: chain id, headers, logs by range or hash;
and ``bench_fork``, after which its last blocks are others than before.

    python bench/fakechain.py [--blocks 3000] [--age-hours 0]
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import random
import sys
import time
from typing import Any, Final

import msgspec
from aiohttp import web
from eth_abi.abi import encode

from echain.chain import bloom
from echain.chain.contracts import contract
from echain.chain.types import Log
from echain.kernel.evm import Address, Hash32, keccak

CHAIN_ID: Final = 99_001
FACTORY: Final = b"\xfa" * 20
POAP: Final = b"\x90" * 20
NOISE: Final = b"\x57" * 20
EVENTS: Final = 50
MINTED: Final = 22
MOVED: Final = 12
ATTENDEES: Final = 5_000
BLOCK_SECONDS: Final = 2
FORKED: Final = 64
_ZERO: Final = bytes(20)


def _signature(name: str, event: str) -> bytes:
    item = next(item for item in contract(name).abi if item["type"] == "event" and item["name"] == event)
    return bytes(keccak(f"{event}({','.join(_type(part) for part in item['inputs'])})".encode()))


def _type(item: Any) -> str:
    if item["type"] == "tuple":
        return f"({','.join(_type(part) for part in item['components'])})"
    return item["type"]


TRANSFER: Final = _signature("EventTicket", "Transfer")
PURCHASED: Final = _signature("EventTicket", "TicketsPurchased")
TIER_ADDED: Final = _signature("EventTicket", "TierAdded")
CREATED: Final = _signature("EventFactory", "EventCreated")

_TIER: Final = "(uint96,uint32,uint40,uint40,uint8,uint8,bytes32)"
_RULES: Final = "(uint8,uint8,bool,uint16,uint16)"


def _word(value: bytes | int) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def _attendee(number: int) -> bytes:
    return keccak(b"attendee" + number.to_bytes(4, "big"))[12:]


class Generator:
    """Grows the chain block by block; about 22 tickets are sold and 12 moved in each."""

    def __init__(self, seed: int = 7) -> None:
        self._rng = random.Random(seed)
        self._attendees = [_attendee(number) for number in range(ATTENDEES)]
        self.clones: list[bytes] = []
        self._owners: list[list[bytes]] = []

    def forked(self, salt: int) -> Generator:
        """Return a generator that goes on from here in a way of its own."""
        forked = copy.deepcopy(self)
        forked.choose_anew(salt)
        return forked

    def choose_anew(self, salt: int) -> None:
        self._rng.seed(salt)

    def block(self, number: int, every: int) -> list[tuple[bytes, list[bytes], bytes]]:
        """Return the logs of a block as (address, topics, data)."""
        if number == 0:
            return []
        if len(self.clones) < EVENTS and (number - 1) % every == 0:
            return self._create(number)
        logs = self._sales()
        logs += self._moves()
        if number % 10 == 0:
            logs += [(NOISE, [TRANSFER, _word(0), _word(1), _word(token)], b"") for token in range(20)]
        return logs

    def _create(self, number: int) -> list[tuple[bytes, list[bytes], bytes]]:
        event_id = len(self.clones) + 1
        clone = keccak(b"clone" + bytes([event_id]))[12:]
        self.clones.append(clone)
        self._owners.append([])
        tier = encode([_TIER], [(10**16, 1_000_000, 0, 0, 50, 0, bytes(32))])
        created = encode(
            ["string", "string", *["uint256"] * 4, "bytes32", "uint16", _RULES],
            [
                f"Event {event_id}",
                f"ipfs://{number}",
                10**16,
                10**6,
                1,
                2,
                bytes(32),
                250,
                (0, 0, True, 0, 0),
            ],
        )
        topics = [CREATED, _word(event_id), _word(self._attendees[0]), _word(clone)]
        return [(clone, [TIER_ADDED, _word(0)], tier), (FACTORY, topics, created)]

    def _sales(self) -> list[tuple[bytes, list[bytes], bytes]]:
        logs: list[tuple[bytes, list[bytes], bytes]] = []
        left = self._rng.randint(MINTED // 2, MINTED * 3 // 2)
        while left > 0:
            quantity, at = min(left, self._rng.randint(1, 6)), self._rng.randrange(len(self.clones))
            left -= quantity
            clone, owners, buyer = self.clones[at], self._owners[at], self._rng.choice(self._attendees)
            first = len(owners) + 1
            tokens = range(first, first + quantity)
            owners += [buyer] * quantity
            logs += [(clone, [TRANSFER, _word(0), _word(buyer), _word(token)], b"") for token in tokens]
            words = (quantity, 128, 0, 10**16, quantity, *tokens)
            logs.append(
                (clone, [PURCHASED, _word(buyer), _word(at + 1)], b"".join(_word(word) for word in words))
            )
        return logs

    def _moves(self) -> list[tuple[bytes, list[bytes], bytes]]:
        logs: list[tuple[bytes, list[bytes], bytes]] = []
        for _ in range(self._rng.randint(MOVED // 2, MOVED * 3 // 2)):
            at = self._rng.randrange(len(self.clones))
            owners = self._owners[at]
            if owners:
                token, to = self._rng.randrange(len(owners)), self._rng.choice(self._attendees)
                topics = [TRANSFER, _word(owners[token]), _word(to), _word(token + 1)]
                logs.append((self.clones[at], topics, b""))
                owners[token] = to
        return logs


class Chain:
    """The encoded chain, and the answers a node gives of it."""

    def __init__(self, blocks: int, first_time: int) -> None:
        self.transfers = 0
        self.logs = 0
        self.headers: list[bytes] = []
        self._of_block: list[list[tuple[bytes, bytes]]] = []
        self._by_hash: dict[str, int] = {}
        self._first_time = first_time
        self._every = max(1, blocks // (EVENTS * 2))
        generator = Generator()
        self._grow(generator, max(0, blocks - FORKED), b"")
        self._before_fork = generator.forked(0)
        self._grow(generator, blocks, b"")

    def fork(self, salt: int) -> None:
        """Have the last `FORKED` blocks be others, for each ``salt`` other ones."""
        head = len(self.headers) - 1
        del self.headers[head - FORKED + 1 :], self._of_block[head - FORKED + 1 :]
        self._grow(self._before_fork.forked(salt), head, salt.to_bytes(8, "big"))

    def _grow(self, generator: Generator, upto: int, salt: bytes) -> None:
        parent = bytes(32)
        if self.headers:
            parent = bytes.fromhex(msgspec.json.decode(self.headers[-1])["hash"][2:])
        for number in range(len(self.headers), upto + 1):
            logs = generator.block(number, self._every)
            parent = self._add(number, parent, logs, self._first_time + number * BLOCK_SECONDS, salt)

    def _add(
        self,
        number: int,
        parent: bytes,
        words: list[tuple[bytes, list[bytes], bytes]],
        time_: int,
        salt: bytes,
    ) -> bytes:
        block_hash = keccak(parent + salt + number.to_bytes(8, "big"))
        logs = [
            Log(
                number, index, keccak(block_hash + bytes([index // 8])), index // 8, Address(address),
                tuple(topics), data, Hash32(block_hash),
            )
            for index, (address, topics, data) in enumerate(words)
        ]  # fmt: skip
        self.transfers += sum(log.topics[0] == TRANSFER and log.address != NOISE for log in logs)
        self.logs += sum(log.address != NOISE for log in logs)
        self._of_block.append([(log.address, _log_json(log)) for log in logs])
        self._by_hash["0x" + block_hash.hex()] = number
        self.headers.append(
            msgspec.json.encode(
                {
                    "number": hex(number),
                    "hash": "0x" + block_hash.hex(),
                    "parentHash": "0x" + parent.hex(),
                    "timestamp": hex(time_),
                    "logsBloom": f"0x{bloom.of_logs(logs):0512x}",
                }
            )
        )
        return block_hash

    def answer(self, method: str, params: list[Any]) -> bytes:
        if method == "eth_chainId":
            return msgspec.json.encode(hex(CHAIN_ID))
        if method == "bench_fork":
            self.fork(params[0])
            return b"null"
        if method == "eth_getBlockByNumber":
            number = len(self.headers) - 1 if params[0] == "latest" else int(params[0], 16)
            return self.headers[number] if number < len(self.headers) else b"null"
        query = params[0]
        if "blockHash" in query:
            first = last = self._by_hash[query["blockHash"]]
        else:
            first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        asked = {bytes.fromhex(address[2:]) for address in query.get("address", ())}
        parts = [
            text
            for logs in self._of_block[first : last + 1]
            for address, text in logs
            if not asked or address in asked
        ]
        return b"[" + b",".join(parts) + b"]"


def _log_json(log: Log) -> bytes:
    return msgspec.json.encode(
        {
            "address": "0x" + log.address.hex(),
            "topics": ["0x" + topic.hex() for topic in log.topics],
            "data": "0x" + log.data.hex(),
            "blockHash": "0x" + log.block_hash.hex(),
            "blockNumber": hex(log.block_number),
            "transactionHash": "0x" + log.tx_hash.hex(),
            "transactionIndex": hex(log.tx_index),
            "logIndex": hex(log.log_index),
            "removed": False,
        }
    )


async def serve(chain: Chain) -> None:
    """Answer on a free port, said on the first line of the output, until the input closes."""

    def one(call: dict[str, Any]) -> bytes:
        result = chain.answer(call["method"], call.get("params", []))
        return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (call["id"], result)

    async def handle(request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read())
        answer = b"[" + b",".join(map(one, body)) + b"]" if isinstance(body, list) else one(body)
        return web.Response(body=answer, content_type="application/json")

    application = web.Application(client_max_size=1 << 24)
    application.router.add_post("/", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    print(f"{port} {chain.transfers} {chain.logs} {len(chain.headers) - 1}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, default=3_000)
    parser.add_argument("--age-hours", type=float, default=0)
    arguments = parser.parse_args()
    first_time = int(time.time() - arguments.age_hours * 3600) - arguments.blocks * BLOCK_SECONDS
    asyncio.run(serve(Chain(arguments.blocks, first_time)))


if __name__ == "__main__":
    main()
