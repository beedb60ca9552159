"""Dangerous actions: the wallet signs in words for each, and each signature does one thing once."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest
from eth_abi.abi import encode
from tests.accounts.people import PUBLIC_URL, TOKENS, Answer, Browser, Clock, Process, Wallet
from tests.accounts.test_contract_wallet import CHAIN_ID, CODES, KEY, Deploy, deploy, nested, rpc

from echain.accounts import confirmations, rest, rules, service, siwe, store
from echain.accounts.signature import personal_digest
from echain.chain.contractwallet import ContractWallets, SignatureUnverifiable
from echain.chain.rpc import Rpc
from echain.edge.http import Auth, Call, Endpoint, Nothing, StoredIdempotency, application, delete
from echain.infra.database import Database
from echain.kernel.evm import parse_address
from echain.kernel.ids import uuid7

_FIXTURES = (deploy, rpc)
"""Found by pytest under their names here."""

ORGANIZATION = "0198a000-0000-7000-8000-000000000001"
OTHER = "0198a000-0000-7000-8000-000000000002"


class Target(msgspec.Struct, frozen=True):
    id: str


class Deleted(msgspec.Struct, frozen=True):
    deleted: bool


def danger(database: Database, wallets: ContractWallets | None) -> list[Endpoint]:
    """Two actions as slices have them: confirmed before the transaction, consumed inside."""

    def doing(action: str, path: str) -> Endpoint:
        @delete(path, summary="Dangerous", tag="auth", answer=Deleted, auth=Auth.USER, path_params=Target)
        async def act(call: Call[Target, Nothing, Nothing]) -> Deleted:
            confirmed = await confirmations.verify(
                database,
                wallets,
                call.user,
                call.headers.get(confirmations.HEADER),
                action=action,
                target=call.path.id,
                now=call.now,
            )
            async with database.transaction() as tx:
                await confirmations.consume(tx, confirmed)
                await tx.execute("INSERT INTO done (what) VALUES ($1)", f"{action} {call.path.id}")
            return Deleted(True)

        return act

    return [
        doing("organization.delete", "/api/v1/auth/organizations/{id}"),
        doing("account.erase", "/api/v1/auth/accounts/{id}"),
    ]


@pytest.fixture
async def database(database: Database) -> Database:
    await database.execute("CREATE UNLOGGED TABLE IF NOT EXISTS done (what TEXT)")
    await database.execute("DELETE FROM done")
    return database


@pytest.fixture
def heard() -> list[str]:
    """From where refused credentials came."""
    return []


@pytest.fixture
def start(database: Database, clock: Clock, heard: list[str]) -> Callable[..., Process]:
    def process(wallets: ContractWallets | None = None) -> Process:
        users = service.authenticator(database, clock, TOKENS)
        app = application(
            [
                *rest.endpoints(
                    database, users, public_url=PUBLIC_URL, chain_ids=(CHAIN_ID, 1), wallets=wallets
                ),
                *danger(database, wallets),
            ],
            authenticate=users,
            clock=clock,
            idempotency=StoredIdempotency(database),
            title="echain",
            version="1",
            on_refused=heard.append,
        )
        return Process(app, users)

    return process


async def ask(browser: Browser, target: str = ORGANIZATION, **body: Any) -> Answer:
    return await browser.post("/confirmations", {"action": "organization.delete", "target": target, **body})


async def asked(browser: Browser, target: str = ORGANIZATION, **body: Any) -> Any:
    answer = await ask(browser, target, **body)
    assert answer.status == 201, answer.body
    return answer.data


def signed(wallet: Wallet, confirmation: Any, **changes: str) -> str:
    shown = confirmation | changes
    return f"{shown['id']}:{wallet.sign(shown['message'])}"


async def do(
    browser: Browser, header: str | None, target: str = ORGANIZATION, kind: str = "organizations"
) -> Answer:
    headers = {} if header is None else {"echain-confirmation": header}
    return await browser.send("DELETE", f"/{kind}/{target}", **headers)


async def done(database: Database) -> list[str]:
    return [row["what"] for row in await database.fetch("SELECT what FROM done")]


def refused(answer: Answer, code: str = "auth.confirmation_invalid") -> None:
    assert (answer.status, answer.code) == (403, code), answer.body


@pytest.fixture
async def signed_in(browser: Browser, wallet: Wallet) -> Browser:
    await wallet.sign_in(browser)
    return browser


async def test_what_the_wallet_signs_says_in_words_what_will_be_done(
    signed_in: Browser, wallet: Wallet
) -> None:
    confirmation = await asked(signed_in)
    assert confirmation["message"] == (
        "tickets.example wants you to sign in with your Ethereum account:\n"
        f"{wallet.address}\n\n"
        f"Delete the organization {ORGANIZATION}. Sign only if you asked for this yourself.\n\n"
        "URI: https://tickets.example\nVersion: 1\nChain ID: 1\n"
        f"Nonce: {siwe.parse(confirmation['message']).nonce}\n"
        "Issued At: 2026-01-02T03:04:05.000Z\nExpiration Time: 2026-01-02T03:09:05.000Z\n"
        f"Request ID: {confirmation['id']}"
    )
    assert confirmation["expiresAt"] == "2026-01-02T03:09:05Z"


async def test_an_action_is_done_once_its_wallet_has_signed_for_it(
    signed_in: Browser, wallet: Wallet, database: Database
) -> None:
    answer = await do(signed_in, signed(wallet, await asked(signed_in)))
    assert answer.data == {"deleted": True}
    assert await done(database) == [f"organization.delete {ORGANIZATION}"]


async def test_without_a_confirmation_nothing_is_done_and_the_answer_says_what_to_ask_for(
    signed_in: Browser, database: Database
) -> None:
    answer = await do(signed_in, None)
    refused(answer, "auth.confirmation_needed")
    details = answer.body["error"]["details"]
    assert (details["action"], details["target"]) == ("organization.delete", ORGANIZATION)
    assert details["ask"] == "POST /api/v1/auth/confirmations"
    assert await done(database) == []


async def test_a_confirmation_is_good_once(signed_in: Browser, wallet: Wallet, database: Database) -> None:
    header = signed(wallet, await asked(signed_in))
    assert (await do(signed_in, header)).status == 200
    refused(await do(signed_in, header))
    assert len(await done(database)) == 1


async def test_of_many_who_use_one_confirmation_at_once_exactly_one_gets_through(
    signed_in: Browser, wallet: Wallet, start: Callable[..., Process], database: Database
) -> None:
    processes = [signed_in.process, start(), start()]
    for number in range(1, 26):
        header = signed(wallet, await asked(signed_in))
        twins = [Browser(processes[n % 3], token=signed_in.token) for n in range(9)]
        answers = await asyncio.gather(*(do(twin, header) for twin in twins))
        assert sorted(answer.status for answer in answers) == [200] + [403] * 8
        assert len(await done(database)) == number


@pytest.mark.parametrize(
    ("target", "kind"), [(OTHER, "organizations"), (ORGANIZATION, "accounts")], ids=["target", "action"]
)
async def test_a_confirmation_is_for_its_action_and_its_target_alone(
    signed_in: Browser, wallet: Wallet, database: Database, target: str, kind: str
) -> None:
    header = signed(wallet, await asked(signed_in))
    refused(await do(signed_in, header, target, kind))
    assert await done(database) == []
    assert (await do(signed_in, header)).status == 200, "it is still good for what it says"


async def test_another_wallets_signature_confirms_nothing(
    signed_in: Browser, clock: Clock, database: Database
) -> None:
    refused(await do(signed_in, signed(Wallet(clock), await asked(signed_in))))
    assert await done(database) == []


async def test_wrong_signatures_count_as_guesses_and_five_end_the_confirmation(
    signed_in: Browser, wallet: Wallet, clock: Clock, heard: list[str]
) -> None:
    confirmation = await asked(signed_in)
    wrong = signed(Wallet(clock), confirmation)
    for number in range(1, 5):
        refused(await do(signed_in, wrong))
        assert len(heard) == number
    refused(await do(signed_in, f"{confirmation['id']}:0x{'11' * 65}"))
    assert len(heard) == 5
    refused(await do(signed_in, signed(wallet, confirmation)))
    another = await asked(signed_in)
    refused(await do(signed_in, signed(wallet, another), OTHER))
    assert len(heard) == 5, "nobody guesses with what was used up, or with what is for another target"
    for _ in range(4):
        refused(await do(signed_in, signed(Wallet(clock), another)))
    assert (await do(signed_in, signed(wallet, another))).status == 200, "four are forgiven"


async def test_a_confirmation_is_no_good_to_another_user_or_another_session(
    signed_in: Browser, other_browser: Browser, wallet: Wallet, process: Process, clock: Clock
) -> None:
    header = signed(wallet, await asked(signed_in))
    stranger = Browser(process)
    await Wallet(clock).sign_in(stranger)
    await wallet.sign_in(other_browser)
    refused(await do(stranger, header))
    refused(await do(other_browser, header))
    assert (await do(signed_in, header)).status == 200


async def test_a_confirmation_lives_for_five_minutes(
    signed_in: Browser, wallet: Wallet, clock: Clock
) -> None:
    first, second = [signed(wallet, await asked(signed_in)) for _ in range(2)]
    clock.pass_by(minutes=4, seconds=59)
    assert (await do(signed_in, first)).status == 200
    clock.pass_by(seconds=1)
    refused(await do(signed_in, second))


@pytest.mark.parametrize(
    ("old", "new"),
    [("Delete the", "Keep the"), (":05.000Z\nExp", ":05Z\nExp"), ("yourself.\n", "yourself\n")],
)
async def test_a_signature_over_an_altered_text_confirms_nothing(
    signed_in: Browser, wallet: Wallet, database: Database, old: str, new: str
) -> None:
    confirmation = await asked(signed_in)
    assert old in confirmation["message"]
    altered = confirmation["message"].replace(old, new)
    refused(await do(signed_in, signed(wallet, confirmation, message=altered)))
    assert await done(database) == []


async def test_a_signature_for_one_confirmation_is_none_for_the_next(
    signed_in: Browser, wallet: Wallet
) -> None:
    first, second = await asked(signed_in), await asked(signed_in)
    refused(await do(signed_in, signed(wallet, first, id=second["id"])))


@pytest.mark.parametrize(
    "alter",
    [
        lambda _: "",
        lambda _: "x",
        lambda h: h.partition(":")[0],
        lambda h: h.upper(),
        lambda h: h + "00",
        lambda h: h[:-4],
        lambda h: h[:-1],
        lambda h: " " + h,
        lambda h: h.replace(":", ";"),
        lambda h: h.partition(":")[0] + ":0x",
        lambda h: h.partition(":")[0] + ":0x" + "6492" * 16,
        lambda h: h + "," + h,
        lambda h: "0198a000-0000-7000-8000-00000000ffff:" + h.partition(":")[2],
    ],
)
async def test_what_is_no_confirmation_confirms_nothing(
    signed_in: Browser, wallet: Wallet, database: Database, alter: Callable[[str], str]
) -> None:
    answer = await do(signed_in, alter(signed(wallet, await asked(signed_in))))
    assert answer.status == 403
    assert answer.code in ("auth.confirmation_invalid", "auth.confirmation_needed")
    assert await done(database) == []


async def test_signing_in_and_confirming_cannot_stand_in_for_each_other(
    signed_in: Browser, wallet: Wallet, database: Database
) -> None:
    confirmation = await asked(signed_in)
    message = confirmation["message"]
    assert (await signed_in.verify(message, wallet.sign(message))).code == "auth.nonce_unknown"
    nonce = (await signed_in.get("/nonce")).data["nonce"]
    refused(await do(signed_in, signed(wallet, confirmation, message=wallet.message(nonce))))
    assert await done(database) == []


async def test_what_fails_leaves_the_confirmation_for_another_try(
    signed_in: Browser, wallet: Wallet, database: Database
) -> None:
    header = signed(wallet, await asked(signed_in))
    await database.execute("ALTER TABLE done RENAME TO done_away")
    try:
        assert (await do(signed_in, header)).status == 500
    finally:
        await database.execute("ALTER TABLE done_away RENAME TO done")
    assert (await do(signed_in, header)).status == 200


async def test_an_ended_session_confirms_nothing_more(
    signed_in: Browser, wallet: Wallet, database: Database
) -> None:
    header = signed(wallet, await asked(signed_in))
    await signed_in.post("/logout")
    await wallet.sign_in(signed_in)
    refused(await do(signed_in, header))
    assert await done(database) == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"action": "organization.burn"}, "action"),
        ({"action": ""}, "action"),
        ({"target": ""}, "target"),
        ({"target": "a b"}, "target"),
        ({"target": "a\nURI: https://evil.example"}, "target"),
        ({"target": "{0.__class__}"}, "target"),
        ({"target": "é"}, "target"),
        ({"target": f"{ORGANIZATION}:{OTHER}"}, "target"),
        ({"action": "organization.hand_over"}, "target"),
        ({"target": "a" * 101}, "target"),
        ({"chainId": 5}, "chainId"),
    ],
)
async def test_only_known_actions_on_plain_targets_are_put_into_words(
    signed_in: Browser, database: Database, body: dict[str, object], path: str
) -> None:
    wanted = {"action": "organization.delete", "target": ORGANIZATION} | body
    answer = await signed_in.post("/confirmations", wanted)
    assert (answer.status, answer.code) == (422, "request.invalid")
    assert answer.body["error"]["details"]["fields"][0]["path"] == path
    assert await database.fetchval("SELECT count(*) FROM confirmations") == 0


@pytest.mark.parametrize("action", rules.ACTIONS)
def test_every_action_is_worded_as_eip_4361_allows(action: str) -> None:
    parts = (ORGANIZATION, "0x7803ADF1f8E456107be7e13ddcBC5EF1E1A029a5")
    target = ":".join(parts[: rules.ACTIONS[action].count("{")])
    sentence = rules.sentence(action, target)
    assert sentence
    assert target.split(":")[-1] in sentence
    message = siwe.worded(
        siwe.relying_party(PUBLIC_URL, [1]),
        "0x5B38Da6a701c568545dCfcB03FcB875f56beddC4",
        statement=sentence,
        chain_id="1",
        nonce="0" * 32,
        issued_at="2026-01-02T03:04:05.000Z",
        expiration_time="2026-01-02T03:09:05.000Z",
        request_id=ORGANIZATION,
    )
    assert siwe.parse(message).statement == sentence


async def test_a_session_has_ten_open_at_most_and_what_expired_is_swept(
    signed_in: Browser, wallet: Wallet, database: Database, clock: Clock
) -> None:
    headers = [signed(wallet, await asked(signed_in)) for _ in range(14)]
    assert await database.fetchval("SELECT count(*) FROM confirmations") == 10
    refused(await do(signed_in, headers[3]))
    assert (await do(signed_in, headers[4])).status == 200
    clock.pass_by(minutes=6)
    await asked(signed_in)
    assert await database.fetchval("SELECT count(*) FROM confirmations") == 1


async def test_who_has_no_wallet_is_told_that_one_is_needed(
    process: Process, database: Database, clock: Clock
) -> None:
    user = UUID(ORGANIZATION)
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO users (id, created_at) VALUES ($1, $2)", user, clock())
        grant = await service.open_session(tx, TOKENS, user, address=None, device="x", now=clock())
    browser = Browser(process, token=grant.access_token)
    assert (await browser.get("/me")).data["address"] is None
    assert (await browser.get("/sessions")).data[0]["method"] == "oidc"
    answer = await ask(browser)
    assert (answer.status, answer.code) == (403, "auth.wallet_needed")


async def test_an_api_key_cannot_use_what_its_owner_confirmed(
    signed_in: Browser, wallet: Wallet, database: Database
) -> None:
    """No key has a session, so none of its requests is the one that the wallet signed for."""
    confirmation = await asked(signed_in)
    caller = await signed_in.process.authenticator({"authorization": f"Bearer {signed_in.token}"}, {})
    assert caller is not None
    key = msgspec.structs.replace(caller, session=None, key=UUID(OTHER))
    with pytest.raises(confirmations.ConfirmationInvalid):
        await confirmations.verify(
            database,
            None,
            key,
            signed(wallet, confirmation),
            action="organization.delete",
            target=ORGANIZATION,
            now=signed_in.process.authenticator._clock(),
        )


# --- contract wallets, on a real node ---


async def contract_session(browser: Browser, database: Database, clock: Clock, address: str) -> Browser:
    """Open a session of a contract wallet, as signing in with one does."""
    now = clock()
    async with database.transaction() as tx:
        owner = parse_address(address)
        user = await store.user_of_wallet(tx, owner, new_id=uuid7(), now=now)
        grant = await service.open_session(
            tx, TOKENS, user, address=owner, device="x", now=now, method="contract_wallet"
        )
    return dataclasses.replace(browser, token=grant.access_token)


async def test_a_contract_wallet_confirms_by_what_its_code_says(
    start: Callable[..., Process],
    database: Database,
    clock: Clock,
    rpc: Rpc,
    deploy: Deploy,
) -> None:
    process = start(ContractWallets({CHAIN_ID: rpc}))
    creation = CODES["KeyAccount"] + encode(("address",), (KEY.address,)).hex()
    account, other = await deploy(creation), await deploy(creation)
    browser = await contract_session(Browser(process), database, clock, account)
    confirmation = await asked(browser, chainId=CHAIN_ID)
    assert f"Chain ID: {CHAIN_ID}\n" in confirmation["message"]
    digest = personal_digest(confirmation["message"])
    refused(await do(browser, f"{confirmation['id']}:{nested(other, digest)}"))
    header = f"{confirmation['id']}:{nested(account, digest)}"
    assert (await do(browser, header)).status == 200
    refused(await do(browser, header))
    assert len(await done(database)) == 1


async def test_a_contract_that_cannot_be_asked_is_no_confirmation(
    start: Callable[..., Process], database: Database, clock: Clock
) -> None:
    nowhere = Rpc(("http://127.0.0.1:9",), chain_id=CHAIN_ID, timeout=1.0)
    process = start(ContractWallets({CHAIN_ID: nowhere}))
    browser = await contract_session(Browser(process), database, clock, "0x" + "ab" * 20)
    confirmation = await asked(browser, chainId=CHAIN_ID)
    answer = await do(browser, f"{confirmation['id']}:0x" + "11" * 65)
    assert (answer.status, answer.code) == (503, SignatureUnverifiable.code)
    assert await done(database) == []
    await nowhere.close()
