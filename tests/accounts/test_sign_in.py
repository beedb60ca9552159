"""Signing in: a message meant for us, by the wallet's key, with a nonce that this browser was given, once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.accounts.people import SAFARI, Browser, Clock, Process, Wallet

from echain.infra.database import Database

Rows = Callable[[], Awaitable[dict[str, int]]]

VIEM = json.loads((Path(__file__).parent / "vectors" / "viem.json").read_text())
SIWE = json.loads((Path(__file__).parent / "vectors" / "siwe.json").read_text())


async def test_a_wallet_signs_in_and_is_known_by_its_token(browser: Browser, wallet: Wallet) -> None:
    grant = await wallet.sign_in(browser)
    assert grant["address"] == wallet.address
    assert grant["tokenType"] == "Bearer"
    me = await browser.get("/me")
    assert me.data == {"userId": grant["userId"], "address": wallet.address, "sessionId": grant["sessionId"]}


async def test_login_is_another_name_of_verify(browser: Browser, wallet: Wallet) -> None:
    message = wallet.message((await browser.get("/nonce")).data["nonce"])
    answer = await browser.post("/login", {"message": message, "signature": wallet.sign(message)})
    assert answer.data["address"] == wallet.address


async def test_the_same_wallet_is_the_same_user_with_another_session(
    browser: Browser, other_browser: Browser, wallet: Wallet
) -> None:
    first, second = await wallet.sign_in(browser), await wallet.sign_in(other_browser)
    assert first["userId"] == second["userId"]
    assert first["sessionId"] != second["sessionId"]


async def test_another_wallet_is_another_user(browser: Browser, clock: Clock, wallet: Wallet) -> None:
    first, second = await wallet.sign_in(browser), await Wallet(clock).sign_in(browser)
    assert first["userId"] != second["userId"]


async def test_the_nonce_tells_what_a_message_needs(browser: Browser) -> None:
    answer = await browser.get("/nonce")
    nonce = answer.data.pop("nonce")
    assert len(nonce) == 32
    assert nonce.isalnum()
    assert answer.data == {
        "expiresAt": "2026-01-02T03:14:05Z",
        "domain": "tickets.example",
        "uri": "https://tickets.example",
        "chainIds": [1, 84532],
        "address": None,
    }


async def test_the_cookie_of_a_nonce_is_kept_from_scripts_other_sites_and_neighbours(
    browser: Browser,
) -> None:
    cookie = (await browser.get("/nonce")).set_cookies
    assert len(cookie) == 1
    name, *attributes = cookie[0].split("; ")
    assert name.startswith("__Host-echain_browser=")
    assert set(attributes) == {"Path=/", "HttpOnly", "Secure", "SameSite=Lax", "Max-Age=600"}


async def test_over_plain_http_the_cookie_is_one_that_browsers_keep(start: Callable[..., Process]) -> None:
    browser = Browser(start("http://127.0.0.1:8000"))
    cookie = (await browser.get("/nonce")).set_cookies[0]
    assert cookie.startswith("echain_browser=")
    assert "Secure" not in cookie


async def test_signing_in_sets_no_cookie(browser: Browser, wallet: Wallet) -> None:
    message = wallet.message((await browser.get("/nonce")).data["nonce"])
    answer = await browser.verify(message, wallet.sign(message))
    assert answer.set_cookies == []
    assert answer.headers["cache-control"] == "no-store"


async def test_two_tabs_of_a_browser_may_each_hold_a_nonce(browser: Browser, wallet: Wallet) -> None:
    first, second = (await browser.get("/nonce")).data["nonce"], (await browser.get("/nonce")).data["nonce"]
    for nonce in (first, second):
        message = wallet.message(nonce)
        assert (await browser.verify(message, wallet.sign(message))).status == 200


@pytest.mark.parametrize("form", ["signature", "zeroBasedSignature", "compactSignature"])
async def test_another_wallet_library_signs_in(
    browser: Browser, database: Database, clock: Clock, form: str
) -> None:
    clock.now = datetime(2026, 1, 2, 3, 4, 10, tzinfo=UTC)
    ours = [vector for vector in VIEM if vector["fields"]["domain"] == "tickets.example"]
    ours = [vector for vector in ours if vector["fields"]["chainId"] in (84532, 1)]
    assert len(ours) > 8
    await browser.get("/nonce")
    for vector in ours:
        # Its messages are signed already, so the database is told of their nonce.
        await database.execute("UPDATE sign_in_nonces SET nonce = $1", vector["fields"]["nonce"])
        answer = await browser.verify(vector["message"], vector[form])
        assert answer.status == 200, (vector["name"], answer.body)
        assert answer.data["address"] == vector["fields"]["address"]
        await browser.get("/nonce")


async def test_messages_of_the_package_that_eip_4361_came_with_sign_in(
    browser: Browser, database: Database, clock: Clock
) -> None:
    clock.now = datetime(2026, 1, 2, 3, 4, 10, tzinfo=UTC)
    ours = [vector for vector in SIWE["messages"] if vector["fields"]["domain"] == "tickets.example"]
    assert len(ours) > 8
    await browser.get("/nonce")
    for vector in ours:
        await database.execute("UPDATE sign_in_nonces SET nonce = $1", vector["fields"]["nonce"])
        answer = await browser.verify(vector["message"], vector["signature"])
        assert answer.status == 200, (vector["name"], answer.body)
        assert answer.data["address"] == vector["fields"]["address"]
        await browser.get("/nonce")


TAMPERED = {
    "domain": ({"domain": "evil.example"}, "auth.domain_mismatch"),
    "scheme": ({"domain": "http://tickets.example"}, "auth.scheme_mismatch"),
    "uri": ({"uri": "https://evil.example"}, "auth.uri_mismatch"),
    "version": ({"version": "2"}, "auth.message_malformed"),
    "chain": ({"chain_id": "10"}, "auth.chain_not_allowed"),
    "nonce": ({"nonce": "0123456789abcdef0123456789abcdef"}, "auth.nonce_unknown"),
    "issued long ago": ({"issued_at": "2026-01-02T02:54:04Z"}, "auth.issued_at_out_of_window"),
    "issued in the future": ({"issued_at": "2026-01-02T03:05:06Z"}, "auth.issued_at_out_of_window"),
    "expired": ({"rest": "\nExpiration Time: 2026-01-02T03:04:05Z"}, "auth.message_expired"),
    "not yet valid": ({"rest": "\nNot Before: 2026-01-02T03:04:06Z"}, "auth.message_not_yet_valid"),
    "layout": ({"rest": "\n"}, "auth.message_malformed"),
    "somebody else's address": (
        {"address": "0x7803ADF1f8E456107be7e13ddcBC5EF1E1A029a5"},
        "auth.signature_invalid",
    ),
}


@pytest.mark.parametrize(("changes", "code"), TAMPERED.values(), ids=TAMPERED)
async def test_each_field_tampered_with_has_its_own_refusal_and_writes_nothing(
    browser: Browser, wallet: Wallet, rows: Rows, changes: dict[str, str], code: str
) -> None:
    nonce = (await browser.get("/nonce")).data["nonce"]
    before = await rows()
    message = wallet.message(**{"nonce": nonce, **changes})
    answer = await browser.verify(message, wallet.sign(message))
    assert (answer.code, answer.status) == (code, 422 if code == "auth.message_malformed" else 401)
    assert await rows() == before
    honest = wallet.message(nonce)
    assert (await browser.verify(honest, wallet.sign(honest))).status == 200, "the nonce is still good"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Sign in to echain.", "Sign in to echain!"),
        ("Sign in to echain.\n", ""),
        ("https://tickets.example\nVersion", "https://tickets.example/\nVersion"),
        ("Chain ID: 84532", "Chain ID: 1"),
        ("T03:04:05Z", "T03:04:04Z"),
        ("T03:04:05Z", "T03:04:05.0Z"),
        ("T03:04:05Z", "t03:04:05Z"),
    ],
)
async def test_a_signed_message_cannot_be_altered_even_where_it_would_still_be_meant_for_us(
    browser: Browser, wallet: Wallet, rows: Rows, old: str, new: str
) -> None:
    message = wallet.message((await browser.get("/nonce")).data["nonce"])
    before = await rows()
    assert old in message
    answer = await browser.verify(message.replace(old, new), wallet.sign(message))
    assert answer.code == "auth.signature_invalid"
    assert await rows() == before


SIGNATURES: dict[str, tuple[Callable[[str], str], str]] = {
    "another key's": (lambda s: "0x" + "11" * 32 + s[66:], "auth.signature_invalid"),
    "empty": (lambda _: "", "auth.signature_malformed"),
    "without 0x": (lambda s: s[2:], "auth.signature_malformed"),
    "no hex": (lambda s: s[:-2] + "zz", "auth.signature_malformed"),
    "odd": (lambda s: s[:-1], "auth.signature_malformed"),
    "short": (lambda s: s[:-4], "auth.signature_malformed"),
    "v of 2": (lambda s: s[:-2] + "02", "auth.signature_malformed"),
    "v of 35": (lambda s: s[:-2] + "23", "auth.signature_malformed"),
    "the other v": (lambda s: s[:-2] + ("1b" if s[-2:] == "1c" else "1c"), "auth.signature_invalid"),
    "a contract wallet's": (lambda s: s + "6492" * 16, "auth.signature_invalid"),
}


@pytest.mark.parametrize(("alter", "code"), SIGNATURES.values(), ids=SIGNATURES)
async def test_a_signature_that_the_wallet_did_not_make_is_refused(
    browser: Browser, wallet: Wallet, rows: Rows, alter: Callable[[str], str], code: str
) -> None:
    message = wallet.message((await browser.get("/nonce")).data["nonce"])
    before = await rows()
    answer = await browser.verify(message, alter(wallet.sign(message)))
    assert answer.code == code
    assert await rows() == before


async def test_a_signature_with_a_high_s_is_refused(browser: Browser, wallet: Wallet) -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    message = wallet.message((await browser.get("/nonce")).data["nonce"])
    made = bytes.fromhex(wallet.sign(message)[2:])
    s = order - int.from_bytes(made[32:64], "big")
    twin = made[:32] + s.to_bytes(32, "big") + bytes((55 - made[64],))
    assert (await browser.verify(message, "0x" + twin.hex())).code == "auth.signature_malformed"


async def test_a_nonce_is_used_once(browser: Browser, wallet: Wallet, rows: Rows) -> None:
    message = wallet.message((await browser.get("/nonce")).data["nonce"])
    signature = wallet.sign(message)
    assert (await browser.verify(message, signature)).status == 200
    before = await rows()
    replay = await browser.verify(message, signature)
    assert (replay.status, replay.code) == (401, "auth.nonce_unknown")
    assert await rows() == before


async def test_of_many_who_show_one_nonce_at_once_exactly_one_gets_in(
    browser: Browser, wallet: Wallet, start: Callable[..., Process], rows: Rows
) -> None:
    processes = [browser.process, start()]
    for round_number in range(1, 51):
        message = wallet.message((await browser.get("/nonce")).data["nonce"])
        signature = wallet.sign(message)
        twins = [Browser(processes[n % 2], cookies=dict(browser.cookies)) for n in range(8)]
        answers = await asyncio.gather(*(twin.verify(message, signature) for twin in twins))
        assert sorted(answer.status for answer in answers) == [200] + [401] * 7
        assert {answer.code for answer in answers if answer.status == 401} == {"auth.nonce_unknown"}
        assert (await rows())["sessions"] == round_number


async def test_a_wallet_that_signs_in_for_the_first_time_twice_at_once_is_one_user(
    process: Process, clock: Clock, rows: Rows
) -> None:
    for round_number in range(1, 31):
        wallet = Wallet(clock)
        grants = await asyncio.gather(*(wallet.sign_in(Browser(process)) for _ in range(4)))
        assert len({grant["userId"] for grant in grants}) == 1
        assert len({grant["sessionId"] for grant in grants}) == 4
        counts = await rows()
        assert (counts["users"], counts["wallets"]) == (round_number, round_number)


async def test_another_browser_cannot_use_the_nonce(
    browser: Browser, other_browser: Browser, wallet: Wallet
) -> None:
    message = wallet.message((await browser.get("/nonce")).data["nonce"])
    signature = wallet.sign(message)
    await other_browser.get("/nonce")
    assert (await other_browser.verify(message, signature)).code == "auth.nonce_unknown"
    other_browser.cookies.clear()
    assert (await other_browser.verify(message, signature)).code == "auth.nonce_unknown"
    assert (await browser.verify(message, signature)).status == 200


@pytest.mark.parametrize("value", ["", "x", "a" * 44, "=" * 43, '"' + "a" * 41 + '"'])
async def test_a_cookie_that_we_did_not_make_is_replaced(browser: Browser, value: str) -> None:
    browser.cookies["__Host-echain_browser"] = value
    await browser.get("/nonce")
    assert browser.cookies["__Host-echain_browser"] != value


async def test_a_nonce_lives_for_ten_minutes(browser: Browser, wallet: Wallet, clock: Clock) -> None:
    first, second = (await browser.get("/nonce")).data["nonce"], (await browser.get("/nonce")).data["nonce"]
    clock.pass_by(minutes=9, seconds=59)
    message = wallet.message(first)
    assert (await browser.verify(message, wallet.sign(message))).status == 200
    clock.pass_by(seconds=1)
    message = wallet.message(second)
    assert (await browser.verify(message, wallet.sign(message))).code == "auth.nonce_unknown"


async def test_expired_nonces_do_not_pile_up(browser: Browser, clock: Clock, rows: Rows) -> None:
    for _ in range(30):
        await browser.get("/nonce")
    clock.pass_by(minutes=10)
    await browser.get("/nonce")
    assert (await rows())["sign_in_nonces"] == 1


async def test_a_nonce_for_an_address_is_for_that_address(
    browser: Browser, wallet: Wallet, clock: Clock, rows: Rows
) -> None:
    asked = await browser.get(f"/nonce/{wallet.address.lower()}")
    before = await rows()
    thief = Wallet(clock)
    message = thief.message(asked.data["nonce"])
    refused = await browser.verify(message, thief.sign(message))
    assert (refused.status, refused.code) == (401, "auth.nonce_address_mismatch")
    assert await rows() == before
    message = wallet.message(asked.data["nonce"])
    assert (await browser.verify(message, wallet.sign(message))).status == 200


@pytest.mark.parametrize("address", ["0x12", "vitalik.eth", "0x7803ADF1f8E456107be7e13ddcBC5EF1E1A029A5"])
async def test_a_nonce_for_what_is_no_address_is_refused(browser: Browser, rows: Rows, address: str) -> None:
    answer = await browser.get(f"/nonce/{address}")
    assert (answer.status, answer.code) == (422, "request.invalid")
    assert answer.body["error"]["details"]["fields"][0]["path"] == "address"
    assert (await rows())["sign_in_nonces"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "x"},
        {"message": 1, "signature": "0x"},
        {"message": "x", "signature": "0x", "admin": True},
        [],
    ],
)
async def test_a_body_that_is_no_sign_in_is_refused(browser: Browser, rows: Rows, body: object) -> None:
    answer = await browser.post("/verify", body)
    assert (answer.status, answer.code) == (422, "request.invalid")
    assert sum((await rows()).values()) == 0


async def test_a_malformed_message_says_where(browser: Browser, wallet: Wallet) -> None:
    message = wallet.message("short")
    answer = await browser.verify(message, wallet.sign(message))
    assert answer.body["error"]["details"]["fields"] == [
        {"path": "message", "reason": "not of the EIP-4361 grammar at line 9 (Nonce)"}
    ]


async def test_what_is_kept_of_secrets_is_their_hash(
    browser: Browser, wallet: Wallet, database: Database
) -> None:
    grant = await wallet.sign_in(browser)
    secrets = [grant["accessToken"], grant["refreshToken"], *browser.cookies.values()]
    for table in ("sessions", "access_tokens", "refresh_tokens", "sign_in_nonces", "users", "wallets"):
        kept = "\n".join(str(dict(row)) for row in await database.fetch(f"SELECT * FROM {table}"))
        assert not [secret for secret in secrets if secret in kept or secret[4:] in kept]


async def test_a_session_carries_the_device_that_opened_it(process: Process, wallet: Wallet) -> None:
    browser = Browser(process, user_agent=SAFARI)
    await wallet.sign_in(browser)
    assert [session["device"] for session in (await browser.get("/sessions")).data] == ["Safari on iPhone"]
