"""Deployment is the same wherever, whenever and however often it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.chain import deploystore
from echain.chain.chains import Chain, chain
from echain.chain.contracts import contract
from echain.chain.deploy import (
    CREATE2_DEPLOYER,
    CodeDiffers,
    DeploymentFailed,
    accept_ownership,
    create2_address,
    deploy,
    hand_over,
    is_code_of,
    plan,
    recorded,
)
from echain.chain.intent import Reverted
from echain.chain.keys import DEVNET_KEY, Key
from echain.chain.rpc import Rpc
from echain.chain.turn import KeyInUse, turn
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.infra.secret import Secret
from echain.kernel.evm import Address, checksum, keccak, to_hex
from echain.kernel.time import utc_now

DEVNET: Chain = chain(84532, devnet=True)
OWNER = Key(DEVNET_KEY)
ADMIN_DELAY_SECONDS = 86_400


class BrokenOff(Exception):
    """The process would have died here."""


@pytest.fixture
async def rpc(anvil: Anvil) -> AsyncIterator[Rpc]:
    client = Rpc([anvil.url], chain_id=84532)
    yield client
    await client.close()


async def read(rpc: Rpc, at: Address, name: str, view: str, *arguments: object) -> object:
    abi = contract(name)
    answer = await rpc.call(
        "eth_call", [{"to": checksum(at), "data": to_hex(abi.encode(view, arguments))}, "latest"]
    )
    return abi.decode_output(view, bytes.fromhex(answer[2:]))[0]


def height(anvil: Anvil) -> int:
    return int(anvil.rpc("eth_blockNumber"), 16)


async def test_deploying_twice_changes_nothing(rpc: Rpc, database: Database, anvil: Anvil) -> None:
    first = await deploy(rpc, database, OWNER, DEVNET, fee_bps=250, now=utc_now())
    book = await deploystore.read(database, 84532)
    blocks = height(anvil)
    second = await deploy(rpc, database, OWNER, DEVNET, fee_bps=250, now=utc_now())
    assert len(first.transaction_hashes) == 4
    assert second.transaction_hashes == ()
    assert (second.factory, second.poap, second.from_block) == (first.factory, first.poap, first.from_block)
    assert height(anvil) == blocks
    assert await deploystore.read(database, 84532) == book
    assert await read(rpc, first.factory, "EventFactory", "checkIn()") == first.poap
    assert await read(rpc, first.factory, "EventFactory", "feeBps()") == 250
    assert await read(rpc, first.factory, "EventFactory", "defaultAdmin()") == OWNER.address
    found = await recorded(database, 84532)
    assert found is not None
    assert (found.factory, found.implementation, found.from_block) == (
        first.factory,
        first.implementation,
        first.from_block,
    )
    assert first.from_block == 1


async def test_the_addresses_follow_from_code_and_arguments_alone(
    rpc: Rpc, database: Database, anvil: Anvil
) -> None:
    expected = plan(admin=OWNER.address, treasury=OWNER.address, fee_bps=100)
    anvil.rpc("anvil_mine", "0x7")
    deployed = await deploy(rpc, database, OWNER, DEVNET, fee_bps=100, now=utc_now())
    assert [deployed.factory, deployed.implementation, deployed.poap] == [piece.address for piece in expected]
    assert deployed.from_block == 8
    other = plan(admin=OWNER.address, treasury=OWNER.address, fee_bps=101)
    assert {piece.address for piece in other}.isdisjoint(piece.address for piece in expected)


@pytest.mark.parametrize("broken_off_after", [0, 1, 2, 3])
async def test_a_deployment_that_broke_off_is_gone_on_with(
    rpc: Rpc, database: Database, anvil: Anvil, broken_off_after: int
) -> None:
    class Broken(Rpc):
        left = broken_off_after

        async def call(self, method: str, params: object = ()) -> object:
            if method == "eth_sendRawTransaction":
                if self.left == 0:
                    raise BrokenOff
                self.left -= 1
            return await super().call(method, params)

    dying = Broken([anvil.url], chain_id=84532)
    with pytest.raises(BrokenOff):
        await deploy(dying, database, OWNER, DEVNET, now=utc_now())
    await dying.close()
    assert await recorded(database, 84532) is None
    finished = await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    assert len(finished.transaction_hashes) == 4 - broken_off_after
    assert finished.from_block == 1
    assert await read(rpc, finished.factory, "EventFactory", "implementation()") == finished.implementation


async def test_other_code_at_an_address_is_refused_and_nothing_is_sent(
    rpc: Rpc, database: Database, anvil: Anvil
) -> None:
    poap = plan(admin=OWNER.address, treasury=OWNER.address, fee_bps=0)[2]
    anvil.rpc("anvil_setCode", checksum(poap.address), "0x6001600101")
    with pytest.raises(CodeDiffers, match="Poap"):
        await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    assert height(anvil) == 0
    assert await recorded(database, 84532) is None


async def test_a_factory_connected_elsewhere_is_refused(rpc: Rpc, database: Database, anvil: Anvil) -> None:
    deployed = await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    abi = contract("EventFactory")
    fresh = plan(admin=OWNER.address, treasury=OWNER.address, fee_bps=7)
    sender = {"from": checksum(OWNER.address)}
    anvil.rpc(
        "eth_sendTransaction",
        sender | {"to": checksum(CREATE2_DEPLOYER), "data": to_hex(keccak(b"echain") + fresh[0].init_code)},
    )
    strange = abi.encode("setContracts(address,address)", [deployed.implementation, deployed.poap])
    anvil.rpc("anvil_mine", "0x1")
    anvil.rpc("eth_sendTransaction", sender | {"to": checksum(fresh[0].address), "data": to_hex(strange)})
    anvil.rpc("anvil_mine", "0x1")
    with pytest.raises(CodeDiffers, match="connected"):
        await deploy(rpc, database, OWNER, DEVNET, fee_bps=7, now=utc_now())


async def test_a_chain_without_the_deployment_proxy_gets_it(
    rpc: Rpc, database: Database, anvil: Anvil
) -> None:
    proxy_code = anvil.rpc("eth_getCode", checksum(CREATE2_DEPLOYER), "latest")
    anvil.rpc("anvil_setCode", checksum(CREATE2_DEPLOYER), "0x")
    anvil.rpc("anvil_setNonce", checksum(CREATE2_DEPLOYER), "0x0")
    await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    assert anvil.rpc("eth_getCode", checksum(CREATE2_DEPLOYER), "latest") == proxy_code


async def test_a_devnet_that_began_anew_is_entered_anew(rpc: Rpc, database: Database, anvil: Anvil) -> None:
    before = await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    anvil.rpc("anvil_reset")
    anvil.rpc("anvil_mine", "0x5")
    after = await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    # A reset node has not even the deployment proxy, which takes two blocks.
    assert (before.factory, before.from_block, after.from_block) == (after.factory, 1, 5 + 2 + 1)


async def test_contracts_that_others_deployed_are_found_with_their_block(
    rpc: Rpc, database: Database, anvil: Anvil
) -> None:
    anvil.rpc("anvil_mine", "0x20")
    await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    anvil.rpc("anvil_mine", "0x20")
    await database.execute("DELETE FROM chain_deployments")
    found = await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    assert (found.from_block, found.transaction_hashes) == (33, ())


async def test_a_running_sender_keeps_the_key_but_an_idle_deployment_needs_none(
    rpc: Rpc, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echain.chain.deploy._TURN_SECONDS", 0.3)
    async with turn(database, 84532, OWNER.address):
        with pytest.raises(KeyInUse):
            await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    async with turn(database, 84532, OWNER.address):
        again = await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    assert again.transaction_hashes == ()


async def test_the_factory_is_handed_over_after_a_day_and_only_to_the_named_key(
    rpc: Rpc, database: Database, anvil: Anvil
) -> None:
    deployed = await deploy(rpc, database, OWNER, DEVNET, now=utc_now())
    heir, stranger = Key(Secret("11" * 32)), Key(Secret("22" * 32))
    for key in (heir, stranger):
        anvil.rpc("anvil_setBalance", checksum(key.address), hex(10**18))
    await hand_over(rpc, OWNER, DEVNET, deployed.factory, to=heir.address)
    pauser = keccak(b"PAUSER_ROLE")
    assert await read(rpc, deployed.factory, "EventFactory", "hasRole(bytes32,address)", pauser, heir.address)
    assert not await read(
        rpc, deployed.factory, "EventFactory", "hasRole(bytes32,address)", pauser, OWNER.address
    )
    with pytest.raises(Reverted):
        await accept_ownership(rpc, heir, DEVNET, deployed.factory)
    anvil.rpc("evm_increaseTime", ADMIN_DELAY_SECONDS + 1)
    anvil.rpc("anvil_mine", "0x1")
    with pytest.raises(Reverted):
        await accept_ownership(rpc, stranger, DEVNET, deployed.factory)
    await accept_ownership(rpc, heir, DEVNET, deployed.factory)
    assert await read(rpc, deployed.factory, "EventFactory", "defaultAdmin()") == heir.address


async def test_a_transaction_that_is_not_mined_is_reported(
    rpc: Rpc, database: Database, anvil: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echain.chain.deploy.RECEIPT_SECONDS", 0.3)
    anvil.rpc("evm_setAutomine", False)
    with pytest.raises(DeploymentFailed, match="not mined"):
        await deploy(rpc, database, OWNER, DEVNET, now=utc_now())


def test_create2_addresses_are_those_of_the_standard() -> None:
    # EIP-1014's first example, moved to this deployer: computed from the formula with another implementation.
    init_code = bytes.fromhex("00")
    expected = keccak(b"\xff" + CREATE2_DEPLOYER + bytes(32) + keccak(init_code))[12:]
    assert create2_address(init_code, bytes(32)) == expected


@given(st.data())
def test_any_changed_byte_outside_the_immutables_is_seen(data: st.DataObject) -> None:
    creation = contract("EventTicket").bytecode
    runtime = bytes.fromhex("7f") + bytes(32) + creation[-500:]
    init = b"\x60" * 40 + runtime
    place = data.draw(st.integers(0, len(runtime) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = runtime[:place] + bytes([runtime[place] ^ flip]) + runtime[place + 1 :]
    assert is_code_of(init, runtime)
    assert is_code_of(init, changed) == (1 <= place <= 32)
