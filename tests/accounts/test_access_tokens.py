"""Access tokens: only ours, only as we write them, only while their session lives, whichever keys rotate."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwe, jws, jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from tests.accounts.people import PUBLIC_URL, TOKENS, Browser, Clock, Process, Wallet

from echain.accounts import store
from echain.accounts.accesstokens import LONGEST, AccessTokens
from echain.accounts.tokens import hashed
from echain.edge.http.limits import Allowance, Limits
from echain.infra.database import Database
from echain.infra.metrics import Metrics
from echain.infra.quota import Quotas
from echain.infra.secret import Secret

KEY = TOKENS._signer
KID = TOKENS.keys[0].kid
ORDER = 2**252 + 27742317777372353535851937790883648493


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def data(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def spelled(value: object) -> str:
    return text(json.dumps(value, separators=(",", ":")).encode())


def signed(header: object, claims: object, key: Ed25519PrivateKey = KEY) -> str:
    first = f"{spelled(header)}.{spelled(claims)}"
    return f"{first}.{text(key.sign(first.encode()))}"


HEADER: dict[str, Any] = {"alg": "EdDSA", "kid": KID, "typ": "at+jwt"}


class Held:
    """A good token of a live session, taken to pieces."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.header, self.payload, self.signature = token.split(".")
        self.claims: dict[str, Any] = json.loads(data(self.payload))


@pytest.fixture
async def held(browser: Browser, wallet: Wallet) -> Held:
    return Held((await wallet.sign_in(browser))["accessToken"])


async def knows(browser: Browser, token: str) -> bool:
    browser.token = token
    answer = await browser.get("/me")
    assert answer.status in (200, 401), answer.body
    return answer.status == 200


# --- what a token is ---


async def test_a_token_says_whose_session_it_is_of_and_nothing_about_what_they_may(
    held: Held, browser: Browser
) -> None:
    me = (await browser.get("/me")).data
    assert json.loads(data(held.header)) == HEADER
    claims = dict(held.claims)
    assert len(claims.pop("jti")) >= 22
    assert claims == {
        "iss": PUBLIC_URL,
        "aud": PUBLIC_URL,
        "sub": me["userId"],
        "sid": me["sessionId"],
        "iat": 1767323045,
        "exp": 1767323045 + 600,
    }


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")
async def test_another_library_takes_our_tokens_by_our_published_keys(held: Held, process: Process) -> None:
    answer = await published(process)
    keys = KeySet.import_key_set(answer)
    token = jwt.decode(held.token, keys, algorithms=["EdDSA"])
    assert token.claims == held.claims
    assert [key.thumbprint() for key in keys.keys] == [KID]
    assert all(set(key) == {"kid", "x", "kty", "crv", "alg", "use"} for key in answer["keys"])


async def published(process: Process) -> Any:
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        messages.append(message)

    path = "/.well-known/jwks.json"
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": []}
    await process.app({**scope, "query_string": b"", "client": ("192.0.2.1", 1)}, receive, send)
    assert messages[0]["status"] == 200
    assert (b"content-type", b"application/jwk-set+json") in messages[0]["headers"]
    return json.loads(messages[1]["body"])


async def test_our_header_and_claims_signed_again_are_the_same_token(held: Held, browser: Browser) -> None:
    """So what the attacks below change is all that is wrong with them."""
    assert signed(HEADER, held.claims) == held.token
    assert await knows(browser, held.token)


# --- what others would pass as one ---

PUBLIC = KEY.public_key()
PUBLIC_FORMS = {
    "raw": PUBLIC.public_bytes_raw(),
    "PEM": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "DER": PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "SSH": PUBLIC.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
    "base64url": TOKENS.keys[0].x.encode(),
    "nothing": b"",
}


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "AA", "keep"])
async def test_an_unsigned_token_opens_nothing(
    held: Held, browser: Browser, alg: str, signature: str
) -> None:
    last = held.signature if signature == "keep" else signature
    for header in ({"alg": alg}, {**HEADER, "alg": alg}, {"typ": "JWT", "alg": alg}):
        assert not await knows(browser, f"{spelled(header)}.{held.payload}.{last}")
    assert not await knows(browser, f"{held.header}.{held.payload}.{'' if signature == 'keep' else last}")


@pytest.mark.parametrize("secret", PUBLIC_FORMS.values(), ids=PUBLIC_FORMS)
@pytest.mark.parametrize("alg", ["HS256", "HS512"])
async def test_the_public_key_is_no_secret_to_sign_with(
    held: Held, browser: Browser, secret: bytes, alg: str
) -> None:
    for header in ({**HEADER, "alg": alg}, HEADER):
        first = f"{spelled(header)}.{held.payload}"
        mac = hmac.digest(secret, first.encode(), "sha512" if alg == "HS512" else sha256)
        assert not await knows(browser, f"{first}.{text(mac)}")
        assert not await knows(browser, f"{first}.{text(mac.ljust(64, bytes(1)))}")


@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256"])
async def test_another_algorithm_with_the_attackers_own_key_opens_nothing(
    held: Held, browser: Browser, alg: str
) -> None:
    key = ECKey.generate_key("P-256") if alg == "ES256" else RSAKey.generate_key(2048)
    for extra in ({}, {"jwk": key.as_dict(private=False)}):
        header = {**HEADER, "alg": alg, **extra}
        registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
        assert not await knows(browser, jwt.encode(header, held.claims, key, registry=registry))


EMBEDDED: dict[str, Callable[[Ed25519PrivateKey], dict[str, Any]]] = {
    "jwk": lambda key: {"jwk": own(key)},
    "jku": lambda _: {"jku": "https://evil.example/jwks.json"},
    "our own jku": lambda _: {"jku": f"{PUBLIC_URL}/.well-known/jwks.json"},
    "x5u": lambda _: {"x5u": "https://evil.example/cert.pem"},
    "x5c": lambda _: {"x5c": ["AAAA"]},
    "crit": lambda _: {"crit": ["exp"]},
    "b64": lambda _: {"b64": False, "crit": ["b64"]},
    "zip": lambda _: {"zip": "DEF"},
    "cty": lambda _: {"cty": "JWT"},
}


def own(key: Ed25519PrivateKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": text(key.public_key().public_bytes_raw())}


@pytest.mark.parametrize("embedded", EMBEDDED.values(), ids=EMBEDDED)
async def test_no_token_brings_its_own_key_or_rules(
    held: Held, browser: Browser, embedded: Callable[[Ed25519PrivateKey], dict[str, Any]]
) -> None:
    attacker = Ed25519PrivateKey.generate()
    for key in (attacker, KEY):
        header = {**HEADER, **embedded(attacker)}
        assert not await knows(browser, signed(header, held.claims, key))


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "another",
        KID[:-1],
        KID + "A",
        KID.swapcase(),
        "../../../../dev/null",
        "/etc/passwd",
        "file:///dev/null",
        "' OR '1'='1",
        "x' UNION SELECT 'AAAA",
        "|/bin/true",
        "\x00",
        "é",
        None,
        0,
        True,
        [KID],
        {"kid": KID},
    ],
    ids=repr,
)
async def test_a_key_id_is_one_of_ours_or_nothing(held: Held, browser: Browser, kid: object) -> None:
    for key in (KEY, Ed25519PrivateKey.generate()):
        assert not await knows(browser, signed({**HEADER, "kid": kid}, held.claims, key))
    assert not await knows(browser, signed({"alg": "EdDSA", "typ": "at+jwt"}, held.claims))


async def test_another_key_under_our_key_id_opens_nothing(held: Held, browser: Browser) -> None:
    assert not await knows(browser, signed(HEADER, held.claims, Ed25519PrivateKey.generate()))


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "AT+JWT", "application/at+jwt", "rt+jwt", "logout+jwt"])
async def test_our_key_makes_no_other_kind_of_token(held: Held, browser: Browser, typ: str | None) -> None:
    assert not await knows(browser, signed({**HEADER, "typ": typ}, held.claims))


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "an issuer that looks alike": {"iss": PUBLIC_URL + "/"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "https://evil.example"},
    "several audiences": {"aud": [PUBLIC_URL]},
    "no audience": {"aud": None},
    "expired this second": {"exp": 1767323045},
    "expired long ago": {"exp": 1},
    "never expires": {"exp": None},
    "expires in words": {"exp": "1767323645"},
    "expires beyond numbers": {"exp": 1e400},
    "issued in the future": {"iat": 1767323045 + 61},
    "issued never": {"iat": None},
    "not yet valid": {"nbf": 1767323045 + 61},
    "another user": {"sub": str(uuid4())},
    "no user": {"sub": None},
    "another session": {"sid": str(uuid4())},
    "no session": {"sid": None},
    "a session in SQL": {"sid": "' OR TRUE --"},
}


@pytest.mark.parametrize("changes", WRONG_CLAIMS.values(), ids=WRONG_CLAIMS)
async def test_claims_are_exact_even_under_our_own_signature(
    held: Held, browser: Browser, changes: dict[str, Any]
) -> None:
    claims = {**held.claims, **changes}
    assert not await knows(browser, signed(HEADER, claims))
    absent = {name: value for name, value in claims.items() if value is not None}
    if len(absent) < len(claims):
        assert not await knows(browser, signed(HEADER, absent))


@pytest.mark.parametrize("claims", [[], "x", 1, None, {}, {"claims": {}}], ids=repr)
async def test_a_payload_that_is_no_set_of_claims_is_refused(browser: Browser, claims: object) -> None:
    assert not await knows(browser, signed(HEADER, claims))


async def test_a_clock_that_runs_ahead_by_a_minute_is_borne(held: Held, browser: Browser) -> None:
    assert await knows(browser, signed(HEADER, {**held.claims, "iat": 1767323045 + 60}))
    assert await knows(browser, signed(HEADER, {**held.claims, "nbf": 1767323045 + 60}))
    assert await knows(browser, signed(HEADER, {**held.claims, "later": "claims of a newer version"}))


async def test_no_byte_of_a_token_can_be_changed(held: Held, browser: Browser) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place in range(0, len(held.token), 3):
        was = held.token[place]
        if was != ".":
            others = [c for c in alphabet if c != was]
            other = others[place % len(others)]
            assert not await knows(browser, held.token[:place] + other + held.token[place + 1 :]), place
    # The last character of 64 bytes carries four bits that count and two that do not.
    last = alphabet.index(held.token[-1])
    for spare in range(1, 4):
        assert not await knows(browser, held.token[:-1] + alphabet[last + spare])


async def test_a_token_cut_anywhere_is_none(held: Held, browser: Browser) -> None:
    for length in {*range(0, len(held.token), 7), len(held.token) - 1}:
        assert not await knows(browser, held.token[:length])
    for longer in (
        held.token + "A",
        held.token + ".",
        held.token + ".AAAA",
        held.token + "=",
        "." + held.token,
    ):
        assert not await knows(browser, longer)


async def test_a_signature_has_one_form(held: Held, browser: Browser) -> None:
    """S + L satisfies the equation as S does; RFC 8032 refuses it."""
    raw = data(held.signature)
    twin = raw[:32] + (int.from_bytes(raw[32:], "little") + ORDER).to_bytes(32, "little")
    assert not await knows(browser, f"{held.header}.{held.payload}.{text(twin)}")
    for forged in (bytes(64), raw[:32] + bytes(32), bytes([1]) + bytes(63), raw[32:] + raw[:32]):
        assert not await knows(browser, f"{held.header}.{held.payload}.{text(forged)}")


@pytest.mark.parametrize("header", [" ", "\n", "{}", "reordered", "spaced", "twice"])
async def test_a_header_has_one_spelling(held: Held, browser: Browser, header: str) -> None:
    """Equal to others' parsers, yet not as we write it: there is no parser here to disagree with."""
    texts = {
        "reordered": json.dumps(dict(reversed(HEADER.items())), separators=(",", ":")),
        "spaced": json.dumps(HEADER),
        "twice": f'{{"alg":"none","alg":"EdDSA","kid":"{KID}","typ":"at+jwt"}}',
    }
    first = f"{text(texts.get(header, header).encode())}.{held.payload}"
    assert not await knows(browser, f"{first}.{text(KEY.sign(first.encode()))}")


async def test_an_encrypted_token_is_none(held: Held, browser: Browser) -> None:
    secret = OctKey.import_key(secrets.token_bytes(32))
    sealed = jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM"}, held.token.encode(), secret)
    assert not await knows(browser, sealed)


async def test_a_huge_token_costs_no_more_than_its_reading(
    held: Held, browser: Browser, process: Process
) -> None:
    browser.token = f"{held.header}.{'A' * 1_000_000}.{held.signature}"
    assert (await browser.get("/me")).status == 431, "headers are cut off long before"
    caller = await process.authenticator({"authorization": f"Bearer {browser.token}"}, {})
    assert caller is None
    long = signed(HEADER, {**held.claims, "pad": "A" * LONGEST})
    assert not await knows(browser, long)
    assert not process.authenticator._checked


async def test_a_refresh_token_is_no_access_token_nor_the_other_way(
    browser: Browser, wallet: Wallet, process: Process
) -> None:
    grant = await wallet.sign_in(browser)
    assert not await knows(browser, grant["refreshToken"])
    answer = await browser.refresh(grant["accessToken"])
    assert (answer.status, answer.code) == (401, "auth.refresh_unknown")
    assert await knows(browser, grant["accessToken"])


async def test_a_gates_secret_and_other_strangers_are_left_to_whom_they_concern(process: Process) -> None:
    for token in ("ecg_" + "A" * 43, "x.y.z", "eyJ", "eyJ.eyJ", "a" * 100, ""):
        assert await process.authenticator({"authorization": f"Bearer {token}"}, {}) is None


# --- sessions and keys that come and go ---


async def test_what_is_remembered_of_a_token_does_not_outlive_it(
    held: Held, browser: Browser, clock: Clock
) -> None:
    assert await knows(browser, held.token)
    clock.pass_by(minutes=9, seconds=59)
    assert await knows(browser, held.token)
    clock.pass_by(seconds=1)
    assert not await knows(browser, held.token)


async def test_a_signature_is_checked_once_and_the_session_every_thirty_seconds(
    held: Held, browser: Browser, clock: Clock, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, looks = [], []
    read, look_up = AccessTokens.read, store.session_bearer

    def reading(self: AccessTokens, token: str, **named: Any) -> Any:
        checks.append(token)
        return read(self, token, **named)

    async def looking(*given: Any, **named: Any) -> Any:
        looks.append(given)
        return await look_up(*given, **named)

    monkeypatch.setattr(AccessTokens, "read", reading)
    monkeypatch.setattr(store, "session_bearer", looking)
    for _ in range(4):
        for _ in range(5):
            assert await knows(browser, held.token)
        clock.pass_by(seconds=30)
    assert (len(checks), len(looks)) == (1, 4)


async def test_no_more_tokens_are_remembered_than_may_be(
    browser: Browser, process: Process, clock: Clock, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echain.accounts.authentication.CAPACITY", 3)
    grant = await wallet.sign_in(browser)
    for _ in range(6):
        assert await knows(browser, grant["accessToken"])
        grant = (await browser.refresh(grant["refreshToken"])).data
    assert len(process.authenticator._checked) == 3


@pytest.mark.parametrize("end", ["time", "logout"])
async def test_an_office_whose_tokens_are_over_is_not_shut_out_and_who_guesses_is(
    start: Callable[..., Process], wallet: Wallet, clock: Clock, end: str
) -> None:
    limits = Limits(Quotas(None), Allowance(refusals=4), metrics=Metrics())
    browser = Browser(start(limits=limits))
    grant = await wallet.sign_in(browser)
    if end == "time":
        clock.pass_by(minutes=10)
    else:
        await browser.post("/logout")
    for _ in range(20):
        answer = await browser.get("/me")
        assert (answer.status, answer.code) == (401, "auth.token_invalid")
    signature = "A" * 86
    browser.token = f"{grant['accessToken'].rpartition('.')[0]}.{signature}"
    answers = [await browser.get("/me") for _ in range(6)]
    assert [answer.status for answer in answers] == [401] * 4 + [429] * 2


OLD, NEW = Secret("a1" * 32), Secret("b2" * 32)


def keys(*seeds: Secret) -> AccessTokens:
    return AccessTokens(seeds, issuer=PUBLIC_URL)


async def test_keys_rotate_under_live_sessions_and_nobody_is_signed_out(
    start: Callable[..., Process], wallet: Wallet, clock: Clock
) -> None:
    """As the operations page says: the new key last, then first, then alone."""
    browser = Browser(start(tokens=keys(OLD)))
    grant = await wallet.sign_in(browser)
    for seeds in ((OLD, NEW), (NEW, OLD)):
        clock.pass_by(minutes=4)
        process = start(tokens=keys(*seeds))
        browser.process = process
        assert await knows(browser, grant["accessToken"])
        grant_now = (await browser.refresh(grant["refreshToken"])).data
        signer = keys(seeds[0]).keys[0].kid
        assert json.loads(data(grant_now["accessToken"].split(".")[0]))["kid"] == signer
        for other in (keys(OLD, NEW), keys(NEW, OLD)):
            assert await knows(Browser(start(tokens=other)), grant_now["accessToken"])
        grant = grant_now
    clock.pass_by(minutes=10)
    browser.process = start(tokens=keys(NEW))
    fresh = (await browser.refresh(grant["refreshToken"])).data
    assert await knows(browser, fresh["accessToken"])


async def test_a_key_that_was_taken_from_the_list_opens_nothing_more(
    start: Callable[..., Process], wallet: Wallet
) -> None:
    browser = Browser(start(tokens=keys(OLD)))
    grant = await wallet.sign_in(browser)
    browser.process = start(tokens=keys(NEW))
    assert not await knows(browser, grant["accessToken"])
    answer = await published(browser.process)
    assert [key["kid"] for key in answer["keys"]] == [keys(NEW).keys[0].kid]
    assert await knows(browser, (await browser.refresh(grant["refreshToken"])).data["accessToken"])


async def test_cookies_outlive_the_keys_that_they_were_made_with(
    start: Callable[..., Process], wallet: Wallet, clock: Clock
) -> None:
    browser = Browser(start(tokens=keys(OLD)))
    nonce = (await browser.get("/nonce")).data["nonce"]
    message = wallet.message(nonce)
    body = {"message": message, "signature": wallet.sign(message), "cookies": True}
    csrf = (await browser.send("POST", "/verify", body, origin=PUBLIC_URL)).data["csrfToken"]
    clock.pass_by(days=3)
    browser.process = start(tokens=keys(NEW))
    shown = {"origin": PUBLIC_URL, "x-csrf-token": csrf}
    answer = await browser.send("POST", "/refresh", **shown)
    assert answer.status == 200
    assert answer.data["csrfToken"] != csrf
    assert (await browser.send("POST", "/logout", **shown)).code == "auth.csrf"
    shown["x-csrf-token"] = answer.data["csrfToken"]
    assert (await browser.send("POST", "/logout", **shown)).status == 200


async def test_an_installation_elsewhere_with_the_same_keys_is_another_issuer(
    start: Callable[..., Process], wallet: Wallet, held: Held
) -> None:
    elsewhere = AccessTokens([Secret("11" * 32)], issuer="https://staging.example")
    assert not await knows(Browser(start(tokens=elsewhere)), held.token)


def test_keys_are_named_for_what_they_are_and_derived_for_this_purpose_alone() -> None:
    first, second = keys(OLD).keys[0], keys(OLD, NEW).keys[0]
    assert first == second
    plain = Ed25519PrivateKey.from_private_bytes(bytes.fromhex("a1" * 32)).public_key()
    assert first.x != text(plain.public_bytes_raw())
    with pytest.raises(ValueError, match="need a key"):
        keys()


async def test_a_token_given_out_before_tokens_were_signed_holds_until_it_expires(
    browser: Browser, wallet: Wallet, database: Database, clock: Clock
) -> None:
    """As the release before this one wrote them, so that an update signs nobody out."""
    grant = await wallet.sign_in(browser)
    old = "eca_" + secrets.token_urlsafe(32)
    await database.execute(
        "INSERT INTO access_tokens (hash, session_id, expires_at) VALUES ($1, $2, $3)",
        hashed(old),
        grant["sessionId"],
        clock() + timedelta(minutes=59),
    )
    assert await knows(browser, old)
    clock.pass_by(minutes=58)
    assert await knows(browser, old)
    clock.pass_by(minutes=1)
    assert not await knows(browser, old)


async def test_an_old_token_ends_with_its_session(
    browser: Browser, wallet: Wallet, database: Database
) -> None:
    grant = await wallet.sign_in(browser)
    old = "eca_" + secrets.token_urlsafe(32)
    await database.execute(
        "INSERT INTO access_tokens (hash, session_id, expires_at) SELECT $1, id, expires_at FROM sessions",
        hashed(old),
    )
    assert await knows(browser, old)
    await browser.post("/logout")
    assert not await knows(browser, old)
    assert not await knows(browser, grant["accessToken"])
