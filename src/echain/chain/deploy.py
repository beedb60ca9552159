"""Deploys the platform's contracts to addresses that their code and arguments alone decide (CREATE2)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from echain.chain import deploystore
from echain.chain.chains import Chain
from echain.chain.contracts import contract
from echain.chain.deploystore import Placed
from echain.chain.fees import Fees
from echain.chain.intent import estimate_gas, with_head_room
from echain.chain.keys import Key, Signed, Unsigned
from echain.chain.rpc import Rpc, RpcRefused
from echain.chain.turn import turn
from echain.infra import audit
from echain.infra.database import Database
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import ZERO_ADDRESS, Address, Hash32, checksum, keccak, quantity, to_hex
from echain.kernel.money import Wei

CREATE2_DEPLOYER: Final = Address(bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c"))
"""The deterministic deployment proxy, at one address on every chain: calldata is salt, then init code."""

_DEPLOYER_TRANSACTION: Final = (
    "0xf8a58085174876e800830186a08080b853604580600e600039806000f350fe7fffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf31b"
    "a02222222222222222222222222222222222222222222222222222222222222222a0222222222222222222222222222222222"
    "2222222222222222222222222222222"
)
_DEPLOYER_SIGNER: Final = Address(bytes.fromhex("3fab184622dc19b6109349b94811493bf2a45362"))
"""Whoever pays this address 0.01 of the chain's coin may send the proxy's one, signed, transaction."""

_DEPLOYER_COST: Final = Wei(100_000 * 100 * 10**9)
_NOTHING: Final = Wei(0)
SALT: Final = keccak(b"echain")
RECEIPT_SECONDS: Final = 180.0
_TURN_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_PUSH32: Final = 0x7F
_WORD: Final = 32

NAMES: Final = ("EventFactory", "EventTicket", "Poap")


class CodeDiffers(EchainError):
    """What stands at a contract's address is not what this version deploys; nothing was changed."""

    kind = Kind.CONFLICT
    code = "deploy.code_differs"


class DeploymentFailed(EchainError):
    """A deployment's transaction was not mined, or failed; run the deployment again to go on from there."""

    kind = Kind.UNAVAILABLE
    code = "deploy.failed"


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """Where the platform's contracts stand on a chain.

    ``from_block`` is the first block with one of them. ``transaction_hashes`` are those that this very run
    sent: none when everything stood already.
    """

    chain_id: int
    factory: Address
    implementation: Address
    poap: Address
    from_block: int
    transaction_hashes: tuple[Hash32, ...] = ()


class Piece(msgspec.Struct, frozen=True):
    """One contract with its arguments, and the address that follows from both."""

    name: str
    address: Address
    init_code: bytes
    constructor_arguments: bytes


def plan(*, admin: Address, treasury: Address, fee_bps: int) -> tuple[Piece, Piece, Piece]:
    """Return the factory, the ticket implementation and the POAP contract, in the order of their creation."""
    factory = _piece("EventFactory", [admin, treasury, fee_bps])
    return factory, _piece("EventTicket", [factory.address]), _piece("Poap", [factory.address])


def create2_address(init_code: bytes, salt: bytes = SALT) -> Address:
    """Return where the proxy puts a contract (EIP-1014)."""
    return Address(keccak(b"\xff" + CREATE2_DEPLOYER + salt + keccak(init_code))[12:])


def is_code_of(creation: bytes, code: bytes) -> bool:
    """Return whether ``code`` is what the init code ``creation`` leaves, whatever its immutables are.

    The compiler puts the runtime code at the end of the init code, with 32 zero bytes after a PUSH32 where an
    immutable is to come.
    """
    template = creation[-len(code) :]
    if not code or len(template) != len(code):
        return False
    place = 0
    while place < len(code):
        if code[place] == template[place]:
            place += 1
            continue
        start = template.rfind(_PUSH32, 0, place) + 1
        if start == 0 or place - start >= _WORD or any(template[start : start + _WORD]):
            return False
        place = start + _WORD
    return True


async def deploy(
    rpc: Rpc,
    database: Database,
    key: Key,
    chain: Chain,
    *,
    treasury: Address | None = None,
    fee_bps: int = 0,
    actor: audit.Actor = audit.SYSTEM,
    now: datetime,
) -> Deployment:
    """Bring the contracts onto the chain and into the address book; what stands already is left alone.

    The key's address becomes the factory's admin, and the treasury unless another is given. A run that
    broke off is gone on with; a second run changes nothing.

    Raises:
        CodeDiffers: something else stands at one of the addresses.
        DeploymentFailed: a transaction was not mined in 3 minutes, or failed.
        KeyInUse: a running sender uses this key, and something is missing.
        Reverted, InsufficientFunds, ChainUnreachable: as the node says.
    """
    pieces = plan(admin=key.address, treasury=treasury or key.address, fee_bps=fee_bps)
    standing = await _standing(rpc, pieces)
    if not all(standing) or not await _connected(rpc, pieces):
        async with turn(database, chain.chain_id, key.address, patience_seconds=_TURN_SECONDS):
            sent = await _complete(_Hand(rpc, key, Fees(rpc, chain)), pieces)
    else:
        sent = {}
    book = {one.contract: one for one in await deploystore.read(database, chain.chain_id)}
    placed = [await _located(rpc, piece, book.get(piece.name), sent.get(piece.name)) for piece in pieces]
    async with database.transaction() as tx:
        await deploystore.write(tx, chain.chain_id, placed, now=now)
        diff = audit.changed(
            {name: one.address for name, one in book.items()}, {one.contract: one.address for one in placed}
        )
        if diff or sent:
            about = f"chain:{chain.chain_id}"
            await audit.record(tx, actor, "contracts.deployed", resource=about, now=now, diff=diff)
    hashes = tuple(Hash32(bytes.fromhex(receipt["transactionHash"][2:])) for receipt in sent.values())
    return _deployment(chain.chain_id, placed, hashes)


async def recorded(database: Database, chain_id: int) -> Deployment | None:
    """Return what the address book says of a chain; None when it is not complete there."""
    placed = await deploystore.read(database, chain_id)
    if {one.contract for one in placed} != set(NAMES):
        return None
    return _deployment(chain_id, placed, ())


async def hand_over(rpc: Rpc, key: Key, chain: Chain, factory: Address, *, to: Address) -> list[Hash32]:
    """Begin to give the factory to a new admin, who must accept after the contract's delay of a day.

    The new admin may pause at once; the old one may not any more.
    """
    hand, abi = _Hand(rpc, key, Fees(rpc, chain)), contract("EventFactory")
    pauser = keccak(b"PAUSER_ROLE")
    calls = (
        abi.encode("grantRole(bytes32,address)", [pauser, to]),
        abi.encode("renounceRole(bytes32,address)", [pauser, key.address]),
        abi.encode("beginDefaultAdminTransfer(address)", [to]),
    )
    receipts = [await hand.send(factory, data) for data in calls]
    return [Hash32(bytes.fromhex(receipt["transactionHash"][2:])) for receipt in receipts]


async def accept_ownership(rpc: Rpc, key: Key, chain: Chain, factory: Address) -> Hash32:
    """Finish as the new admin what `hand_over` began.

    Raises:
        Reverted: the delay has not passed, or the key is not the one it was handed to.
    """
    data = contract("EventFactory").encode("acceptDefaultAdminTransfer()", [])
    receipt = await _Hand(rpc, key, Fees(rpc, chain)).send(factory, data)
    return Hash32(bytes.fromhex(receipt["transactionHash"][2:]))


class _Hand:
    """Signs and sends one transaction after the other and waits for each."""

    def __init__(self, rpc: Rpc, key: Key, fees: Fees) -> None:
        self.rpc = rpc
        self._key = key
        self._fees = fees

    async def send(self, to: Address, data: bytes, value_wei: Wei = _NOTHING) -> dict[str, Any]:
        """Return the receipt of a call that succeeded."""
        gas = await estimate_gas(self.rpc, sender=self._key.address, to=to, data=data, value_wei=value_wei)
        quote = await self._fees.quote()
        nonce = await self.rpc.call("eth_getTransactionCount", [checksum(self._key.address), "latest"])
        signed = self._key.sign(
            Unsigned(
                chain_id=self.rpc.chain_id,
                nonce=int(nonce, 16),
                to=to,
                data=data,
                value_wei=value_wei,
                gas=with_head_room(gas),
                max_fee_per_gas=quote.max_fee_per_gas,
                max_priority_fee_per_gas=quote.max_priority_fee_per_gas,
            )
        )
        return await self._mined(signed)

    async def _mined(self, signed: Signed) -> dict[str, Any]:
        try:
            await self.rpc.call("eth_sendRawTransaction", [to_hex(signed.raw)])
        except RpcRefused as refusal:
            if "known" not in str(refusal).lower():
                raise DeploymentFailed(f"the node refuses the transaction: {refusal}") from refusal
        receipt = await awaited_receipt(self.rpc, signed.hash)
        if receipt["status"] != "0x1":
            raise DeploymentFailed(f"transaction {to_hex(signed.hash)} failed")
        return receipt


async def awaited_receipt(rpc: Rpc, transaction_hash: Hash32) -> dict[str, Any]:
    """Return a transaction's receipt once it is mined.

    Raises:
        DeploymentFailed: not within `RECEIPT_SECONDS`.
    """
    try:
        async with asyncio.timeout(RECEIPT_SECONDS):
            while True:
                receipt = await rpc.call("eth_getTransactionReceipt", [to_hex(transaction_hash)])
                if receipt is not None:
                    return receipt
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise DeploymentFailed(
            f"transaction {to_hex(transaction_hash)} was not mined within {RECEIPT_SECONDS:.0f} s"
        ) from None


def _piece(name: str, arguments: Sequence[object]) -> Piece:
    creation = contract(name).creation(arguments)
    return Piece(name, create2_address(creation), creation, creation[len(contract(name).bytecode) :])


async def _standing(rpc: Rpc, pieces: Sequence[Piece]) -> list[bool]:
    """Return which of the pieces stand; none may be something else."""
    standing: list[bool] = []
    for piece in pieces:
        code = await _code(rpc, piece.address)
        if code and not is_code_of(contract(piece.name).bytecode, code):
            raise CodeDiffers(
                f"{checksum(piece.address)} holds other code than {piece.name}; nothing was changed",
                contract=piece.name,
                address=checksum(piece.address),
            )
        standing.append(bool(code))
    return standing


async def _connected(rpc: Rpc, pieces: tuple[Piece, Piece, Piece]) -> bool:
    """Return whether the factory knows the other two."""
    factory, implementation, poap = pieces
    abi = contract("EventFactory")
    seen: list[Address] = []
    for view in ("implementation()", "checkIn()"):
        call = {"to": checksum(factory.address), "data": to_hex(abi.encode(view, []))}
        answer = await rpc.call("eth_call", [call, "latest"])
        seen += abi.decode_output(view, bytes.fromhex(answer[2:]))
    if seen == [ZERO_ADDRESS, ZERO_ADDRESS]:
        return False
    if seen != [implementation.address, poap.address]:
        raise CodeDiffers("the factory was connected to other contracts; nothing was changed")
    return True


async def _complete(hand: _Hand, pieces: tuple[Piece, Piece, Piece]) -> dict[str, dict[str, Any]]:
    """Create what is missing and connect the factory; return the receipts by contract."""
    if not await _code(hand.rpc, CREATE2_DEPLOYER):
        await _place_deployer(hand)
    sent: dict[str, dict[str, Any]] = {}
    for piece, stands in zip(pieces, await _standing(hand.rpc, pieces), strict=True):
        if not stands:
            sent[piece.name] = await hand.send(CREATE2_DEPLOYER, SALT + piece.init_code)
    await _standing(hand.rpc, pieces)
    if not await _connected(hand.rpc, pieces):
        factory, implementation, poap = (piece.address for piece in pieces)
        data = contract("EventFactory").encode("setContracts(address,address)", [implementation, poap])
        sent["setContracts"] = await hand.send(factory, data)
    return sent


async def _place_deployer(hand: _Hand) -> None:
    """Bring the proxy onto a chain that does not have it, by the transaction that everybody may send."""
    await hand.send(_DEPLOYER_SIGNER, b"", _DEPLOYER_COST)
    await awaited_receipt(
        hand.rpc,
        Hash32(bytes.fromhex((await hand.rpc.call("eth_sendRawTransaction", [_DEPLOYER_TRANSACTION]))[2:])),
    )


async def _located(rpc: Rpc, piece: Piece, entry: Placed | None, receipt: dict[str, Any] | None) -> Placed:
    """Return a piece with the block that created it."""
    transaction_hash = None
    if receipt is not None:
        transaction_hash = Hash32(bytes.fromhex(receipt["transactionHash"][2:]))
        number = int(receipt["blockNumber"], 16)
    elif entry is not None and await _still_there(rpc, piece, entry):
        return entry
    else:
        number = await _first_block(rpc, piece.address)
    return Placed(
        contract=piece.name,
        address=piece.address,
        block_number=number,
        transaction_hash=transaction_hash,
        constructor_arguments=piece.constructor_arguments,
        source_hash=contract(piece.name).source_hash,
    )


async def _still_there(rpc: Rpc, piece: Piece, entry: Placed) -> bool:
    """Return whether the book's entry is of this very chain: a devnet may have begun anew."""
    if entry.address != piece.address or entry.source_hash != contract(piece.name).source_hash:
        return False
    if entry.transaction_hash is None:
        return await rpc.header(quantity(entry.block_number)) is not None
    receipt = await rpc.call("eth_getTransactionReceipt", [to_hex(entry.transaction_hash)])
    return receipt is not None and int(receipt["blockNumber"], 16) == entry.block_number


async def _first_block(rpc: Rpc, address: Address) -> int:
    """Return the block in which code appeared; 0 when the node does not keep states that old."""
    low, high = 0, (await rpc.head()).number
    try:
        while low < high:
            middle = (low + high) // 2
            if await _code(rpc, address, quantity(middle)):
                high = middle
            else:
                low = middle + 1
    except RpcRefused:
        return 0
    return low


async def _code(rpc: Rpc, address: Address, block: str = "latest") -> bytes:
    return bytes.fromhex((await rpc.call("eth_getCode", [checksum(address), block]))[2:])


def _deployment(chain_id: int, placed: Sequence[Placed], hashes: tuple[Hash32, ...]) -> Deployment:
    at = {one.contract: one.address for one in placed}
    return Deployment(
        chain_id=chain_id,
        factory=at["EventFactory"],
        implementation=at["EventTicket"],
        poap=at["Poap"],
        from_block=min(one.block_number for one in placed),
        transaction_hashes=hashes,
    )
