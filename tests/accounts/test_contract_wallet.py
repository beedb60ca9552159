"""Contract wallets sign in by what their code says on a real node; nothing else lets anybody in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from tests.accounts.people import PUBLIC_URL, TOKENS, Browser, Clock, Process, Wallet

from echain.accounts import rest, service
from echain.accounts.signature import personal_digest
from echain.chain.contractwallet import ContractWallets, SignatureUnverifiable
from echain.chain.rpc import Rpc
from echain.edge.http import StoredIdempotency, application
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil
from echain.kernel.evm import Hash32, keccak, parse_address

VECTORS = Path(__file__).parent / "vectors"
CODES: dict[str, str] = json.loads((VECTORS / "wallets.json").read_text())
VIEM: dict[str, Any] = json.loads((VECTORS / "smart_wallet.json").read_text())
COINBASE_FACTORY = "0x0ba5ed0c6aa8c49038f819e587e2633c4a9f428a"
WRAPPED = "6492" * 16
CHAIN_ID = 84532

Deploy = Callable[[str], Awaitable[str]]


@pytest.fixture
async def rpc(anvil: Anvil) -> AsyncIterator[Rpc]:
    client = Rpc((anvil.url,), chain_id=CHAIN_ID, timeout=5.0)
    yield client
    await client.close()


@pytest.fixture
def deploy(rpc: Rpc) -> Deploy:
    """Call it with creation code for the address of what it creates."""

    async def create(code: str) -> str:
        (payer, *_) = await rpc.call("eth_accounts")
        sent = await rpc.call("eth_sendTransaction", [{"from": payer, "data": code, "gas": hex(3_000_000)}])
        while (receipt := await rpc.call("eth_getTransactionReceipt", [sent])) is None:
            await asyncio.sleep(0.01)
        return str(receipt["contractAddress"])

    return create


@pytest.fixture
def browser(database: Database, clock: Clock, rpc: Rpc) -> Browser:
    authenticator = service.authenticator(database, clock, TOKENS)
    app = application(
        rest.endpoints(
            database,
            authenticator,
            public_url=PUBLIC_URL,
            chain_ids=(CHAIN_ID, 296),
            wallets=ContractWallets({CHAIN_ID: rpc}),
        ),
        authenticate=authenticator,
        clock=clock,
        idempotency=StoredIdempotency(database),
        title="echain",
        version="1",
    )
    return Browser(Process(app, authenticator))


async def message_of(browser: Browser, address: str, clock: Clock, **changes: str) -> str:
    nonce = (await browser.get("/nonce")).data["nonce"]
    return Wallet(clock).message(nonce, address=parse_and_show(address), **changes)


def parse_and_show(address: str) -> str:
    from echain.kernel.evm import checksum

    return checksum(parse_address(address))


# --- what an independent library signs ---


async def coinbase_factory(rpc: Rpc, deploy: Deploy) -> None:
    standing = await deploy(CODES["SmartWalletFactory"])
    code = await rpc.call("eth_getCode", [standing, "latest"])
    await rpc.call("anvil_setCode", [COINBASE_FACTORY, code])


async def verify_recorded(browser: Browser, database: Database, signature: str) -> Any:
    await database.execute("DELETE FROM sign_in_nonces")
    await browser.get("/nonce")
    await database.execute("UPDATE sign_in_nonces SET nonce = 'a1b2c3d4e5f60718'")
    return await browser.verify(VIEM["message"], signature)


async def test_a_wallet_that_is_not_deployed_yet_signs_in(
    browser: Browser, database: Database, rpc: Rpc, deploy: Deploy
) -> None:
    await coinbase_factory(rpc, deploy)
    answer = await verify_recorded(browser, database, VIEM["undeployed"])
    assert answer.data["address"] == VIEM["address"]
    assert await rpc.call("eth_getCode", [VIEM["address"], "latest"]) == "0x"  # asked, and nothing done


async def test_once_deployed_the_plain_and_the_wrapped_signature_both_hold(
    browser: Browser, database: Database, rpc: Rpc, deploy: Deploy
) -> None:
    await coinbase_factory(rpc, deploy)
    assert (await verify_recorded(browser, database, VIEM["deployed"])).code == "auth.signature_invalid"
    (payer, *_) = await rpc.call("eth_accounts")
    creation = {
        "from": payer,
        "to": VIEM["creation"]["factory"],
        "data": VIEM["creation"]["factoryData"],
        "gas": hex(3_000_000),
    }
    await rpc.call("eth_sendTransaction", [creation])
    for signature in (VIEM["deployed"], VIEM["undeployed"]):
        assert (await verify_recorded(browser, database, signature)).data["address"] == VIEM["address"]


async def test_the_owners_own_signature_is_not_the_wallets(
    browser: Browser, database: Database, rpc: Rpc, deploy: Deploy
) -> None:
    await coinbase_factory(rpc, deploy)
    answer = await verify_recorded(browser, database, VIEM["rawOwner"])
    assert answer.code == "auth.signature_invalid"


@pytest.mark.parametrize("place", [40, 200, 500, 900])
async def test_a_wrapped_signature_with_another_byte_is_refused(
    browser: Browser, database: Database, rpc: Rpc, deploy: Deploy, place: int
) -> None:
    await coinbase_factory(rpc, deploy)
    signature: str = VIEM["undeployed"]
    other = "1" if signature[place] != "1" else "2"
    answer = await verify_recorded(browser, database, signature[:place] + other + signature[place + 1 :])
    assert answer.code == "auth.signature_invalid"


# --- OpenZeppelin's account ---

KEY = Account.from_key(b"\x5e" * 32)


def nested(account: str, digest: Hash32) -> str:
    """Sign as an account with one key expects personal messages: as nested typed data (ERC-7739)."""
    kind = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    domain = keccak(
        encode(
            ("bytes32", "bytes32", "bytes32", "uint256", "address"),
            (kind, keccak(b"KeyAccount"), keccak(b"1"), CHAIN_ID, account),
        )
    )
    typed = keccak(encode(("bytes32", "bytes32"), (keccak(b"PersonalSign(bytes prefixed)"), digest)))
    signed = KEY.unsafe_sign_hash(keccak(b"\x19\x01" + domain + typed))
    return "0x" + bytes(signed.signature).hex()


async def test_an_account_of_another_house_signs_in(browser: Browser, clock: Clock, deploy: Deploy) -> None:
    account = await deploy(CODES["KeyAccount"] + encode(("address",), (KEY.address,)).hex())
    message = await message_of(browser, account, clock)
    signature = nested(account, personal_digest(message))
    grant = (await browser.verify(message, signature)).data
    assert grant["address"] == parse_and_show(account)
    browser.token = grant["accessToken"]
    assert [one["method"] for one in (await browser.get("/sessions")).data] == ["contract_wallet"]


async def test_a_signature_for_one_account_is_none_for_another_of_the_same_key(
    browser: Browser, clock: Clock, deploy: Deploy
) -> None:
    creation = CODES["KeyAccount"] + encode(("address",), (KEY.address,)).hex()
    account, other = await deploy(creation), await deploy(creation)
    message = await message_of(browser, other, clock)
    signature = nested(account, personal_digest(message))
    assert (await browser.verify(message, signature)).code == "auth.signature_invalid"


async def test_a_contracts_signature_uses_the_nonce_up(
    browser: Browser, clock: Clock, deploy: Deploy
) -> None:
    account = await deploy(CODES["KeyAccount"] + encode(("address",), (KEY.address,)).hex())
    message = await message_of(browser, account, clock)
    signature = nested(account, personal_digest(message))
    assert (await browser.verify(message, signature)).status == 200
    assert (await browser.verify(message, signature)).code in ("auth.signature_invalid", "auth.nonce_unknown")


# --- code that means harm, written in bytes ---


def answering(words: bytes) -> str:
    """Return creation code of a contract that answers every call with these bytes, at most 32."""
    size = len(words)
    runtime = b"\x7f" + words.ljust(32, b"\0") + b"\x5f\x52" + bytes((0x60, size, 0x5F, 0xF3))
    return created(runtime)


def created(runtime: bytes) -> str:
    length = len(runtime)
    return "0x" + (bytes((0x60, length, 0x60, 0x0A, 0x5F, 0x39, 0x60, length, 0x5F, 0xF3)) + runtime).hex()


MAGIC = bytes.fromhex("1626ba7e")
REFUSALS = ("auth.signature_invalid", "auth.signature_malformed", SignatureUnverifiable.code)
"""The last where the node cannot tell code that failed from its own failure."""
HOSTILE = {
    "says yes in four bytes": answering(MAGIC),
    "says yes with dirt behind": answering(MAGIC + b"\0" * 27 + b"\x01"),
    "says true": answering(b"\0" * 31 + b"\x01"),
    "says nothing": answering(b""),
    "answers ones": answering(b"\xff" * 32),
    "reverts with yes": created(b"\x7f" + MAGIC.ljust(32, b"\0") + b"\x5f\x52\x60\x20\x5f\xfd"),
    "stops": created(b"\x00"),
    "is broken": created(b"\xfe"),
    # Yes, but only to a caller whose origin is nobody, as careless simulations are.
    "says yes to nobody": created(
        bytes.fromhex("32602b57")
        + b"\x7f"
        + MAGIC.ljust(32, b"\0")
        + bytes.fromhex("5f5260205ff3")
        + bytes.fromhex("5b5f5ffd")
    ),
}


@pytest.mark.parametrize("code", HOSTILE.values(), ids=HOSTILE)
async def test_code_that_does_not_accept_exactly_signs_nobody_in(
    browser: Browser, clock: Clock, deploy: Deploy, code: str
) -> None:
    wallet = await deploy(code)
    message = await message_of(browser, wallet, clock)
    for signature in ("0x" + "11" * 65, "0x" + "11" * 65 + WRAPPED, "0x" + WRAPPED):
        answer = await browser.verify(message, signature)
        assert answer.code in REFUSALS


async def test_code_that_says_yes_to_all_signs_its_own_address_in_and_no_other(
    browser: Browser, clock: Clock, deploy: Deploy
) -> None:
    yes = await deploy(answering(MAGIC.ljust(32, b"\0")))
    message = await message_of(browser, yes, clock)
    assert (await browser.verify(message, "0x" + "11" * 96)).data["address"] == parse_and_show(yes)
    message = await message_of(browser, KEY.address, clock)
    assert (await browser.verify(message, "0x" + "11" * 96)).code == "auth.signature_invalid"


async def test_a_wrapped_signature_cannot_speak_for_an_address_without_code(
    browser: Browser, clock: Clock, deploy: Deploy
) -> None:
    """The factory named in the signature is the attacker's; what it makes is not the victim."""
    yes = await deploy(answering(MAGIC.ljust(32, b"\0")))
    wrapped = encode(("address", "bytes", "bytes"), (yes, b"", b"\x11" * 65)).hex() + WRAPPED
    message = await message_of(browser, KEY.address, clock)
    assert (await browser.verify(message, "0x" + wrapped)).code == "auth.signature_invalid"


async def test_code_that_burns_gas_is_cut_off_and_signs_nobody_in(
    browser: Browser, clock: Clock, deploy: Deploy
) -> None:
    burner = await deploy(created(bytes.fromhex("5b5f56")))
    message = await message_of(browser, burner, clock)
    answer = await browser.verify(message, "0x" + "11" * 96)
    assert answer.code in REFUSALS


# --- what cannot be asked ---


async def test_a_node_that_is_away_is_a_503_and_never_a_login(
    browser: Browser, clock: Clock, deploy: Deploy, anvil: Anvil
) -> None:
    account = await deploy(CODES["KeyAccount"] + encode(("address",), (KEY.address,)).hex())
    message = await message_of(browser, account, clock)
    signature = nested(account, personal_digest(message))
    anvil.stop()
    answer = await browser.verify(message, signature)
    assert (answer.status, answer.code) == (503, SignatureUnverifiable.code)
    anvil.start()
    assert (await browser.verify(message, signature)).status == 200


async def test_a_chain_without_a_node_is_a_503(browser: Browser, clock: Clock) -> None:
    message = await message_of(browser, KEY.address, clock, chain_id="296")
    assert (await browser.verify(message, "0x" + "11" * 96)).status == 503


async def test_a_stranger_without_the_nonce_makes_us_ask_no_node(
    browser: Browser, clock: Clock, anvil: Anvil
) -> None:
    anvil.stop()
    message = Wallet(clock).message("0123456789abcdef", address=KEY.address)
    assert (await browser.verify(message, "0x" + "11" * 96)).code == "auth.signature_invalid"


async def test_a_signature_beyond_all_measure_is_malformed(browser: Browser, clock: Clock) -> None:
    message = await message_of(browser, KEY.address, clock)
    assert (await browser.verify(message, "0x" + "11" * 8_193)).code == "auth.signature_malformed"
