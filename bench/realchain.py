"""A real chain of 50 events and 100,000 transfers on anvil, made once and kept for the next run.

Our own contracts: clones of the factory, tickets handed out in batches, single transfers between holders. The
chain is written to ``.echain/bench`` under a name that says what made it, so that another contract or another
shape makes another chain.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
import tempfile
import urllib.request
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from echain.chain.chains import chain
from echain.chain.contracts import contract
from echain.chain.deploy import Deployment, deploy
from echain.chain.keys import DEVNET_KEY, Key
from echain.chain.rpc import Rpc
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.postgres import Postgres
from echain.kernel.evm import Address, checksum, keccak
from echain.kernel.time import utc_now

HOME: Final = Path(".echain").absolute()
"""Where the node's program and the kept chains are."""

BLOCKS: Final = 1_500
EVENTS: Final = 50
MINTED: Final = 56
"""Tickets that a block hands out; a quarter of them goes to accounts that pass them on."""
MOVED: Final = 12
STRANGERS: Final = 5_000
_SHAPE: Final = f"{BLOCKS}-{EVENTS}-{MINTED}-{MOVED}-{STRANGERS}-5"
_BEGAN_AT: Final = 1_750_000_000
"""The chain is old news, whenever it is read: nobody is told of what it says."""
_STARTS_AT: Final = _BEGAN_AT + 9 * 365 * 86_400
_GAS_MINT: Final = 12_000_000
_GAS_MOVE: Final = 200_000
_TRANSFER: Final = "0x" + keccak(b"Transfer(address,address,uint256)").hex()


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What is on the chain: where it begins, who may mint, and how far each clone's tickets count."""

    deployment: Deployment
    organizer: str
    tickets: tuple[Address, ...]
    minted: tuple[int, ...]
    transfers: int
    head: int

    def last_ticket(self, anvil: Anvil) -> tuple[Address, int]:
        """Return the contract and the token of the ticket that the chain handed out last."""
        place = {"fromBlock": hex(self.head), "toBlock": hex(self.head)}
        logs = anvil.rpc("eth_getLogs", place | {"topics": [_TRANSFER, "0x" + "00" * 32]})
        return Address(bytes.fromhex(logs[-1]["address"][2:])), int(logs[-1]["topics"][3], 16)


@asynccontextmanager
async def served() -> AsyncGenerator[tuple[Anvil, Made]]:
    """Run a node with the chain, which it has for itself; what is mined on it is forgotten.

    The first time takes some minutes, in which the chain grows.
    """
    code = contract("EventFactory").bytecode + contract("EventTicket").bytecode
    kept = HOME / "bench" / f"chain-{keccak(_SHAPE.encode() + code).hex()[:12]}"
    if not (kept / "made.json").exists():
        await _make(kept)
    made = msgspec.json.decode((kept / "made.json").read_bytes(), type=Made)
    with (
        tempfile.TemporaryDirectory() as folder,
        Anvil(
            Path(folder), home=HOME, keep=False, options=("--load-state", str(kept / "state.json"))
        ) as anvil,
    ):
        anvil.rpc("evm_setAutomine", False)
        assert int(anvil.rpc("eth_blockNumber"), 16) == made.head, "the node did not take the kept chain"
        yield anvil, made


def mint(made: Made, number: int, quantity: int, minted: Sequence[int]) -> Mapping[str, str]:
    """Return the transaction that hands out ``quantity`` tickets of the clone ``number`` to strangers."""
    recipients = [_stranger(number * 31 + place) for place in range(quantity)]
    return _mint(made.organizer, made.tickets[number], recipients, minted[number] + 1)


async def _make(kept: Path) -> None:
    draft = kept.with_suffix(".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    # Old states are asked for by nobody, and each would be a copy of all accounts.
    options = ("--prune-history", "4", "--timestamp", str(_BEGAN_AT))
    with (
        tempfile.TemporaryDirectory() as folder,
        Anvil(Path(folder), home=HOME, keep=False, options=options) as anvil,
    ):
        made = _grown(anvil, await _deployed(anvil))
        state = gzip.decompress(bytes.fromhex(anvil.rpc("anvil_dumpState")[2:]))
    (draft / "state.json").write_bytes(state)
    (draft / "made.json").write_bytes(msgspec.json.encode(made))
    shutil.rmtree(kept, ignore_errors=True)
    draft.rename(kept)


async def _deployed(anvil: Anvil) -> Deployment:
    from bench.scan import migrated

    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder)) as postgres:
        await migrated(postgres.url("postgres"), postgres.url())
        database = await Database.connect(postgres.url(), size=2, name="bench")
        rpc = Rpc([anvil.url], chain_id=anvil.chain_id)
        try:
            return await deploy(
                rpc,
                database,
                Key(DEVNET_KEY),
                chain(anvil.chain_id, devnet=True),
                fee_bps=250,
                now=utc_now(),
            )
        finally:
            await rpc.close()
            await database.close()


class _Growing:
    """A chain that grows block by block: mostly one batch handed out and some tickets passed on."""

    def __init__(self, anvil: Anvil, factory: Address) -> None:
        self._url = anvil.url
        self._factory = checksum(factory)
        self._rng = random.Random(7)
        self._accounts: list[str] = [
            checksum(Address(bytes.fromhex(one[2:]))) for one in anvil.rpc("eth_accounts")
        ]
        self.organizer = self._accounts[0]
        self.tickets: list[Address] = []
        self.minted: list[int] = []
        self.transfers = 0
        self._held: list[list[tuple[int, str]]] = []

    def block(self, number: int) -> None:
        if len(self.tickets) < EVENTS and number % (BLOCKS // EVENTS // 2) == 0:
            self._create()
        else:
            self._mine([self._sale(), *self._moves()])

    def _create(self) -> None:
        arguments = [
            f"Event {len(self.tickets)}",
            "ipfs://bench",
            10**15,
            10**6,
            _STARTS_AT,
            _STARTS_AT + 1,
        ]
        data = contract("EventFactory").encode(
            "createEvent(string,string,uint256,uint256,uint256,uint256)", arguments
        )
        self._mine([_sent(self.organizer, self._factory, data, _GAS_MINT)])
        read = contract("EventFactory").encode("getEvent(uint256)", [len(self.tickets) + 1])
        (answer,) = called(
            self._url, [("eth_call", [{"to": self._factory, "data": "0x" + read.hex()}, "latest"])]
        )
        self.tickets.append(Address(bytes.fromhex(answer[26:66])))
        self.minted.append(0)
        self._held.append([])

    def _sale(self) -> Mapping[str, str]:
        at = self._rng.randrange(len(self.tickets))
        first = self.minted[at] + 1
        recipients: list[str] = []
        for token in range(first, first + MINTED):
            if self._rng.random() < 0.25:
                recipients.append(self._rng.choice(self._accounts))
                self._held[at].append((token, recipients[-1]))
            else:
                recipients.append(_stranger(self._rng.randrange(STRANGERS)))
        self.minted[at] += MINTED
        self.transfers += MINTED
        return _mint(self.organizer, self.tickets[at], recipients, first)

    def _moves(self) -> list[Mapping[str, str]]:
        at = self._rng.randrange(len(self.tickets))
        held = self._held[at]
        moves: list[Mapping[str, str]] = []
        # The block's own batch may come after its transfers: those take tickets of earlier blocks.
        for place in self._rng.sample(
            range(max(0, len(held) - MINTED)), min(MOVED, max(0, len(held) - MINTED))
        ):
            token, owner = held[place]
            to = self._rng.choice([one for one in self._accounts if one != owner])
            data = contract("EventTicket").encode("transferFrom(address,address,uint256)", [owner, to, token])
            moves.append(_sent(owner, checksum(self.tickets[at]), data, _GAS_MOVE))
            held[place] = token, to
        self.transfers += len(moves)
        return moves

    def _mine(self, transactions: Sequence[Mapping[str, str]]) -> None:
        called(self._url, [*(("eth_sendTransaction", [one]) for one in transactions), ("evm_mine", [])])


def _grown(anvil: Anvil, deployment: Deployment) -> Made:
    growing = _Growing(anvil, deployment.factory)
    anvil.rpc("evm_setAutomine", False)
    for number in range(BLOCKS):
        growing.block(number)
    return Made(
        deployment=deployment,
        organizer=growing.organizer,
        tickets=tuple(growing.tickets),
        minted=tuple(growing.minted),
        transfers=growing.transfers,
        head=int(anvil.rpc("eth_blockNumber"), 16),
    )


def _mint(organizer: str, tickets: Address, recipients: Sequence[str], first: int) -> Mapping[str, str]:
    tokens = list(range(first, first + len(recipients)))
    data = contract("EventTicket").encode("batchMintTickets(address[],uint256[])", [recipients, tokens])
    return _sent(organizer, checksum(tickets), data, _GAS_MINT)


def _sent(sender: str, to: str, data: bytes, gas: int) -> Mapping[str, str]:
    return {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": hex(gas)}


def _stranger(number: int) -> str:
    return checksum(Address(keccak(b"stranger %d" % number)[12:]))


def called(url: str, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
    """Return the results of calls made in one request; blocks.

    Raises:
        RuntimeError: the node refuses one.
    """
    body = [
        {"jsonrpc": "2.0", "id": place, "method": method, "params": params}
        for place, (method, params) in enumerate(calls)
    ]
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        answers = json.load(answer)
    for one in answers:
        if "error" in one:
            raise RuntimeError(one["error"])
    return [one["result"] for one in answers]
