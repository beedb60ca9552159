"""What needs no provider: tokens, keys and paths of any bytes are taken or refused, never anything else."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.accounts.oidc.forger import KID, Forger, base64, text64

from echain.accounts.oidckeys import ALGORITHMS, KeyUnknown, keys_of, opened
from echain.accounts.oidcrules import Unproven, email_allowed, person_of, return_path, signed_out
from echain.accounts.oidctypes import Person
from echain.kernel.errors import Invalid

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SECOND = int(NOW.timestamp())
GOOD: dict[str, Any] = {
    "iss": "https://idp.example",
    "aud": "echain",
    "sub": "ada",
    "exp": SECOND + 60,
    "iat": SECOND,
    "nonce": "nonce",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FORGER = Forger()
KEYS = keys_of({"keys": [FORGER.key.as_dict(private=False)]})


def person(claims: dict[str, Any]) -> Person:
    return person_of(
        claims,
        {"alg": "RS256"},
        issuer="https://idp.example",
        client_id="echain",
        nonce="nonce",
        access_token="token",
        began=NOW,
        now=NOW,
    )


def test_a_good_id_token_names_a_person() -> None:
    told = person(GOOD | {"email": "a@b.example", "email_verified": "true", "sid": "s", "name": "A"})
    assert told == Person("https://idp.example", "ada", "A", "a@b.example", True, "s")
    assert person(GOOD | {"email": 7, "name": " ", "sid": []}) == Person("https://idp.example", "ada")
    assert not person(GOOD | {"email_verified": 1.5}).email_confirmed
    assert not person(GOOD | {"email_verified": "false"}).email_confirmed


@given(st.sampled_from(sorted(GOOD)), JSON)
def test_a_claim_of_any_value_is_taken_or_refused(name: str, value: Any) -> None:
    with suppress(Unproven):
        told = person(GOOD | {name: value})
        assert told.subject == (value if name == "sub" else "ada")
        assert name in ("sub", "exp", "iat") or value in (GOOD[name], [GOOD[name]])


@given(st.dictionaries(st.sampled_from([*GOOD, "events", "jti", "sid"]), JSON))
def test_logout_claims_of_any_values_are_taken_or_refused(claims: dict[str, Any]) -> None:
    with suppress(Unproven):
        signed_out(claims, issuer="https://idp.example", client_id="echain", now=NOW)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_a_token_of_any_text_is_refused(text: str) -> None:
    with pytest.raises(Unproven):
        opened(text, KEYS, promised=ALGORITHMS)


@given(JSON, JSON)
def test_a_token_of_any_header_and_claims_is_refused_without_its_signature(header: Any, claims: Any) -> None:
    if isinstance(header, dict):
        header |= {"alg": "RS256"}
    with pytest.raises((Unproven, KeyUnknown)):
        opened(f"{text64(header)}.{text64(claims)}.c2lnbmF0dXJl", KEYS, promised=ALGORITHMS)


def test_claims_nested_without_end_are_refused() -> None:
    nested = b'{"a":' + b"[" * 40_000 + b"]" * 40_000 + b"}"
    with pytest.raises(Unproven):
        opened(FORGER.resign(f"x.{base64(nested)}.x", kid=KID), KEYS, promised=ALGORITHMS)


def test_the_forgers_own_token_is_opened() -> None:
    assert opened(FORGER.sign(GOOD), KEYS, promised=["RS256"]).claims == GOOD
    with pytest.raises(Unproven, match="algorithm"):
        opened(FORGER.sign(GOOD), KEYS, promised=["ES256"])


def test_a_token_that_names_no_key_is_opened_where_there_is_one_alone() -> None:
    unnamed = FORGER.resign(FORGER.sign(GOOD))
    assert opened(unnamed, KEYS, promised=ALGORITHMS).claims == GOOD
    both = keys_of({"keys": [one.key.as_dict(private=False) | {"kid": None} for one in (FORGER, Forger())]})
    with pytest.raises(Unproven, match="which of several"):
        opened(unnamed, both, promised=ALGORITHMS)


@given(st.dictionaries(st.sampled_from(["kty", "n", "e", "crv", "x", "y", "kid", "alg", "use", "k"]), JSON))
def test_keys_of_any_shape_are_dropped_or_taken(key: dict[str, Any]) -> None:
    assert len(keys_of({"keys": [key]})) <= 1
    with suppress(Unproven):
        keys_of(key)


def test_only_keys_of_our_kinds_are_taken() -> None:
    rsa = FORGER.key.as_dict(private=False)
    assert [one.kid for one in keys_of({"keys": [rsa]})] == [KID]
    others: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "a"},
        rsa | {"use": "enc"},
        rsa | {"alg": "RS512"},
        rsa | {"alg": "none"},
        rsa | {"kid": 7},
        rsa | {"n": 7},
        "text",
    ]
    assert keys_of({"keys": others}) == ()
    with pytest.raises(Unproven):
        keys_of({"keys": {}})


@given(st.text(alphabet="/\\:?#@.%abe\t\n \u00e4", max_size=12))
def test_every_path_that_is_taken_stays_on_the_site(text: str) -> None:
    with suppress(Invalid):
        path = return_path(text)
        for led in (f"https://us.example{path}", urljoin("https://us.example/api/v1/auth", path)):
            assert urlsplit(led).netloc == "us.example"
        assert path.isascii()
        assert path.isprintable()


@pytest.mark.parametrize(
    ("email", "confirmed", "allowed"),
    [
        ("a@corp.example", True, True),
        ("a@CORP.Example", True, True),
        ("a@corp.example", False, False),
        ("a@sub.corp.example", True, False),
        ("a@corp.example.evil", True, False),
        ("a@evil.example@corp.example", True, True),
        ("corp.example", True, False),
        ("@corp.example", True, False),
        ("a@corp.example ", True, False),
        ("a@xcorp.example", True, False),
        (None, True, False),
    ],
)
def test_a_domain_is_matched_whole(email: str | None, *, confirmed: bool, allowed: bool) -> None:
    told = Person("i", "s", None, email, confirmed)
    assert email_allowed(told, ("corp.example",)) is allowed
    assert email_allowed(told, ())


def test_what_is_shown_of_people_can_be_written_as_json() -> None:
    told = person(GOOD | {"name": "\ud7ff\u202e<script>", "email": "a@b"})
    assert msgspec.json.decode(msgspec.json.encode(told), type=Person) == told
