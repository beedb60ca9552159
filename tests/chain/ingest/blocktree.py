"""A tree of blocks grown from a seed: real encoded logs of the contracts, and what they must lead to.

The scene of each block is a small model of the contracts, so that the logs are what these contracts emit and
the model's own state can be compared with the projections.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import encode

from echain.chain import bloom
from echain.chain.contracts import contract
from echain.chain.types import Block, Contract, Log
from echain.kernel.evm import Address, Hash32, keccak

GENESIS_TIME = 1_700_000_000
FACTORY = Address(b"\xfa" * 20)
POAP = Address(b"\x90" * 20)
STRANGER = Address(b"\x57" * 20)
ROOTS = (Contract(FACTORY, "factory", 0), Contract(POAP, "poap", 0))
ZERO = bytes(20)


def _type(item: Any) -> str:
    if item["type"].startswith("tuple"):
        return f"({','.join(_type(part) for part in item['components'])}){item['type'][5:]}"
    return item["type"]


def _events(name: str) -> dict[str, Any]:
    return {item["name"]: item for item in contract(name).abi if item["type"] == "event"}


EVENTS = {"factory": _events("EventFactory"), "ticket": _events("EventTicket"), "poap": _events("Poap")}


def encoded(kind: str, event: str, *values: Any) -> tuple[tuple[bytes, ...], bytes]:
    """Return topics and data of an event, by eth-abi."""
    item = EVENTS[kind][event]
    signature = f"{event}({','.join(_type(part) for part in item['inputs'])})"
    pairs = list(zip(item["inputs"], values, strict=True))
    topics = [encode([_type(part)], [value]) for part, value in pairs if part["indexed"]]
    plain = [(part, value) for part, value in pairs if not part["indexed"]]
    data = encode([_type(part) for part, _ in plain], [value for _, value in plain])
    return (bytes(keccak(signature.encode())), *topics), data


def person(number: int) -> bytes:
    return b"\xaa" * 16 + number.to_bytes(4, "big")


@dataclass
class Ticket:
    owner: bytes
    tier: int
    price: int
    state: str = "valid"
    gifts: int = 0


@dataclass
class Happening:
    """One event and its ticket contract."""

    number: int
    address: bytes
    organizer: bytes
    policy: int
    prices: list[int] = field(default_factory=list)
    sold: list[int] = field(default_factory=list)
    tickets: dict[int, Ticket] = field(default_factory=dict)
    cancelled: bool = False
    uri: str = ""
    paid_in: int = 0
    refunded: int = 0
    withdrawn: int = 0
    fees: int = 0


@dataclass
class Scene:
    """Everything that the contracts know after a block."""

    events: list[Happening] = field(default_factory=list)
    poaps: dict[tuple[int, int], bytes] = field(default_factory=dict)
    gates: dict[tuple[int, bytes], int] = field(default_factory=dict)


Emit = Callable[..., None]


def _create(scene: Scene, rng: random.Random, emit: Emit) -> None:
    number = len(scene.events) + 1
    organizer = person(rng.randrange(3))
    # As on chain, the address follows from organizer and number: a fork may create the same one again.
    address = keccak(b"clone" + organizer + bytes([number]))[12:]
    happening = Happening(number, address, organizer, policy=rng.randrange(3), uri=f"ipfs://{rng.random()}")
    for _ in range(rng.randint(1, 2)):
        _add_tier(happening, rng, emit)
    values = (
        *(number, organizer, address, f"Event {number}", happening.uri, happening.prices[0], 10_000),
        *(GENESIS_TIME, rng.choice((GENESIS_TIME + 10**6, 2**40 - 1)), rng.randbytes(32), 250),
        (happening.policy, 2, True, 11_000, 500),
    )
    emit(FACTORY, "factory", "EventCreated", *values)
    scene.events.append(happening)


def _add_tier(happening: Happening, rng: random.Random, emit: Emit) -> None:
    price = rng.choice((0, 10**15, 3 * 10**16))
    tier = (price, 5_000, 0, rng.choice((0, 2**40 - 1)), 10, 0, bytes(32))
    emit(happening.address, "ticket", "TierAdded", len(happening.prices), tier)
    happening.prices.append(price)
    happening.sold.append(0)


def _tier(happening: Happening, rng: random.Random, emit: Emit) -> None:
    if len(happening.prices) < 5 and not happening.cancelled:
        _add_tier(happening, rng, emit)


def _mint(happening: Happening, owners: Sequence[bytes], tier: int, price: int, emit: Emit) -> list[int]:
    first = len(happening.tickets) + 1
    for token, owner in enumerate(owners, first):
        happening.tickets[token] = Ticket(owner, tier, price)
        emit(happening.address, "ticket", "Transfer", ZERO, owner, token)
    happening.sold[tier] += len(owners)
    return list(range(first, first + len(owners)))


def _purchase(happening: Happening, rng: random.Random, emit: Emit) -> None:
    if happening.cancelled or happening.withdrawn:
        return
    tier, buyer, quantity = rng.randrange(len(happening.prices)), person(rng.randrange(12)), rng.randint(1, 4)
    price = happening.prices[tier]
    tokens = _mint(happening, [buyer] * quantity, tier, price, emit)
    happening.paid_in += quantity * price
    values = (buyer, happening.number, quantity, tokens, tier, price)
    emit(happening.address, "ticket", "TicketsPurchased", *values)


def _grant(happening: Happening, rng: random.Random, emit: Emit) -> None:
    if happening.cancelled:
        return
    owners = [person(rng.randrange(12)) for _ in range(rng.randint(1, 3))]
    tokens = _mint(happening, owners, 0, 0, emit)
    emit(happening.address, "ticket", "BatchMinted", happening.number, 0, owners, tokens)


def _transfer(happening: Happening, rng: random.Random, emit: Emit) -> None:
    valid = [token for token, ticket in happening.tickets.items() if ticket.state == "valid"]
    if not valid or happening.policy == 2:
        return
    token = rng.choice(valid)
    ticket, to = happening.tickets[token], person(rng.randrange(12))
    if happening.policy == 1:
        if ticket.gifts == 2:
            return
        ticket.gifts += 1
        emit(happening.address, "ticket", "TicketGifted", token, ticket.gifts)
    emit(happening.address, "ticket", "Transfer", ticket.owner, to, token)
    ticket.owner = to


def _price(happening: Happening, rng: random.Random, emit: Emit) -> None:
    if happening.cancelled:
        return
    tier, price = rng.randrange(len(happening.prices)), rng.choice((0, 10**14, 2**96 - 1))
    emit(happening.address, "ticket", "PriceUpdated", tier, happening.prices[tier], price)
    happening.prices[tier] = price


def _cancel(happening: Happening, rng: random.Random, emit: Emit) -> None:
    if not happening.cancelled and not happening.withdrawn and rng.random() < 0.5:
        happening.cancelled = True
        emit(FACTORY, "factory", "EventCancelled", happening.number)


def _update(happening: Happening, rng: random.Random, emit: Emit) -> None:
    if not happening.cancelled:
        happening.uri = f"ipfs://{rng.random()}"
        values = (happening.number, happening.uri, rng.randbytes(32), GENESIS_TIME, GENESIS_TIME + 10**6)
        emit(FACTORY, "factory", "EventUpdated", *values)


def _refund(happening: Happening, rng: random.Random, emit: Emit) -> None:
    spendable = [t for t, ticket in happening.tickets.items() if ticket.state in ("valid", "used")]
    if happening.cancelled and spendable:
        token = rng.choice(spendable)
        ticket = happening.tickets[token]
        ticket.state = "refunded"
        happening.refunded += ticket.price
        emit(happening.address, "ticket", "Refunded", token, ticket.owner, ticket.price)


def _withdraw(happening: Happening, rng: random.Random, emit: Emit) -> None:
    if happening.cancelled or not happening.paid_in or rng.random() < 0.7:
        return
    if happening.withdrawn:
        fee = happening.paid_in - happening.withdrawn - happening.fees
        if fee:
            happening.fees += fee
            emit(happening.address, "ticket", "FeesWithdrawn", person(99), fee)
        return
    happening.withdrawn = happening.paid_in - happening.paid_in * 250 // 10_000
    emit(happening.address, "ticket", "Withdrawn", happening.organizer, happening.withdrawn)


def _lock(happening: Happening, rng: random.Random, emit: Emit) -> None:
    tokens = [t for t, ticket in happening.tickets.items() if ticket.state in ("valid", "locked")]
    if tokens:
        token = rng.choice(tokens)
        ticket = happening.tickets[token]
        locked = ticket.state == "valid"
        ticket.state = "locked" if locked else "valid"
        event = "TicketLocked" if locked else "TicketUnlocked"
        emit(happening.address, "ticket", event, token, person(77))


def _approve(happening: Happening, rng: random.Random, emit: Emit) -> None:
    """A log of a followed contract that nothing is folded from."""
    emit(happening.address, "ticket", "Approval", person(rng.randrange(9)), person(5), 1)


def _check_in(scene: Scene, rng: random.Random, emit: Emit) -> None:
    happening = rng.choice(scene.events)
    valid = [token for token, ticket in happening.tickets.items() if ticket.state == "valid"]
    if valid and not happening.cancelled:
        token = rng.choice(valid)
        ticket = happening.tickets[token]
        ticket.state = "used"
        scene.poaps[happening.number, token] = ticket.owner
        emit(happening.address, "ticket", "TicketUsed", token)
        emit(POAP, "poap", "CheckIn", ticket.owner, happening.number, token)


def _gate(scene: Scene, rng: random.Random, emit: Emit) -> None:
    happening, gate = rng.choice(scene.events), person(200 + rng.randrange(2))
    until = rng.choice((0, GENESIS_TIME + 999, 2**40 - 1))
    scene.gates[happening.number, gate] = until
    emit(POAP, "poap", "GateSet", happening.number, gate, GENESIS_TIME, until)


_OF_ONE = (
    *(_purchase, _purchase, _purchase, _purchase, _transfer, _transfer, _transfer, _grant, _tier),
    *(_price, _cancel, _update, _refund, _refund, _withdraw, _lock, _approve),
)


def _act(scene: Scene, rng: random.Random, emit: Emit) -> None:
    if not scene.events or (len(scene.events) < 6 and rng.random() < 0.1):
        _create(scene, rng, emit)
        return
    choice = rng.random()
    if choice < 0.1:
        _check_in(scene, rng, emit)
    elif choice < 0.15:
        _gate(scene, rng, emit)
    elif choice < 0.25:
        # The same topic from a contract that nobody follows.
        emit(STRANGER, "ticket", "Transfer", ZERO, person(1), rng.randrange(9))
    else:
        rng.choice(_OF_ONE)(rng.choice(scene.events), rng, emit)


@dataclass(frozen=True)
class Grown:
    """A block of the tree with its logs and the scene after it."""

    block: Block
    logs: tuple[Log, ...]
    scene: Scene
    parent: Grown | None

    def path(self) -> list[Grown]:
        """Return the blocks from the root to this one."""
        path, at = [], self
        while at is not None:
            path.append(at)
            at = at.parent
        return path[::-1]

    def up(self, depth: int) -> Grown:
        """Return the ancestor so many blocks above, or the root."""
        at = self
        for _ in range(depth):
            at = at.parent or at
        return at


LogWords = tuple[bytes, tuple[bytes, ...], bytes]
"""Address, topics and data."""


def grown(
    parent: Grown | None,
    words: Iterable[LogWords],
    scene: Scene,
    *,
    salt: bytes = b"",
    timestamp: int | None = None,
) -> Grown:
    """Return a block upon ``parent`` with these logs."""
    number = parent.block.number + 1 if parent else 0
    parent_hash = parent.block.hash if parent else Hash32(bytes(32))
    block_hash = keccak(parent_hash + salt + number.to_bytes(8, "big"))
    logs = tuple(
        Log(
            number,
            index,
            # Two logs a transaction, so that what belongs together is sometimes apart and must not matter.
            keccak(block_hash + (index // 2).to_bytes(4, "big")),
            index // 2,
            Address(address),
            topics,
            data,
            block_hash,
        )
        for index, (address, topics, data) in enumerate(words)
    )
    when = GENESIS_TIME + 2 * number if timestamp is None else timestamp
    return Grown(Block(number, block_hash, parent_hash, when, bloom.of_logs(logs)), logs, scene, parent)


def grow(parent: Grown | None, seed: int, *, acts: int = 6, timestamp: int | None = None) -> Grown:
    """Return a block upon ``parent`` in which up to ``acts`` things happen, all decided by the seed."""
    rng = random.Random(seed)
    scene = copy.deepcopy(parent.scene) if parent else Scene()
    words: list[LogWords] = []

    def emit(address: bytes, kind: str, event: str, *values: Any) -> None:
        words.append((address, *encoded(kind, event, *values)))

    for _ in range(rng.randrange(acts + 1) if parent else 0):
        _act(scene, rng, emit)
    return grown(parent, words, scene, salt=seed.to_bytes(8, "big"), timestamp=timestamp)


def grow_many(parent: Grown | None, count: int, seed: int, *, acts: int = 6) -> Grown:
    """Return the last of ``count`` blocks upon ``parent``."""
    rng = random.Random(seed)
    at = parent
    for _ in range(count):
        at = grow(at, rng.getrandbits(48), acts=acts)
    assert at is not None
    return at
