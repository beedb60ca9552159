"""The ticket code: what it says survives the way to the gate, and nothing else passes for it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from echain.admission import codes
from echain.admission.codes import Claim, CodeKey, base45_decode, base45_encode
from echain.admission.types import Verdict
from echain.kernel.evm import Address

KEY = CodeKey.from_seed("the platform's seed")
SLOT = timedelta(seconds=codes.SLOT_SECONDS)

moments = st.datetimes(
    min_value=datetime(2020, 1, 1),  # noqa: DTZ001 -- hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
addresses = st.binary(min_size=20, max_size=20).map(Address)
chain_ids = st.integers(1, 2**53)
token_ids = st.integers(0, codes.MAX_TOKEN_ID)
alphabet = st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")


def shown(now: datetime, *, key: CodeKey = KEY, token_id: int = 7) -> str:
    return codes.issue(
        key,
        chain_id=84532,
        ticket_contract=Address(b"\x11" * 20),
        token_id=token_id,
        holder=Address(b"\x22" * 20),
        now=now,
    ).text


@given(chain_ids, addresses, token_ids, addresses, moments)
def test_a_code_says_to_the_gate_what_the_server_wrote(
    chain_id: int, contract: Address, token_id: int, holder: Address, now: datetime
) -> None:
    code = codes.issue(
        KEY, chain_id=chain_id, ticket_contract=contract, token_id=token_id, holder=holder, now=now
    )
    assert codes.read(KEY, code.text, now=now) == Claim(
        codes.event_tag(chain_id, contract), token_id, codes.holder_tag(holder)
    )
    assert len(code.text) == 128


@given(moments, st.integers(0, 85 * 8 - 1))
def test_a_code_with_any_bit_flipped_is_forged_or_malformed(now: datetime, place: int) -> None:
    data = bytearray(base45_decode(shown(now)))
    data[place // 8] ^= 1 << place % 8
    verdict = codes.read(KEY, base45_encode(bytes(data)), now=now)
    assert verdict is (Verdict.MALFORMED if place < 8 else Verdict.FORGED)


@given(moments, st.integers(0, 127), alphabet)
def test_a_code_with_any_character_replaced_is_forged_or_malformed(
    now: datetime, place: int, character: str
) -> None:
    text = shown(now)
    assume(text[place] != character)
    altered = text[:place] + character + text[place + 1 :]
    assert codes.read(KEY, altered, now=now) in {Verdict.FORGED, Verdict.MALFORMED}


@given(st.text(max_size=600))
def test_any_text_is_answered_with_a_verdict(text: str) -> None:
    assert codes.read(KEY, text, now=datetime(2026, 1, 1, tzinfo=UTC)) in {
        Verdict.FORGED,
        Verdict.MALFORMED,
    }


@given(st.binary(min_size=85, max_size=85), moments)
def test_guessed_bytes_of_the_right_length_are_never_a_claim(data: bytes, now: datetime) -> None:
    for guess in (data, bytes([codes.VERSION]) + data[1:]):
        assert codes.read(KEY, base45_encode(guess), now=now) in {Verdict.FORGED, Verdict.MALFORMED}


@given(moments, st.integers(0, 12 * 3600))
def test_a_code_is_good_until_its_end_and_expired_from_then_on(now: datetime, seconds: int) -> None:
    code = codes.issue(
        KEY,
        chain_id=1,
        ticket_contract=Address(bytes(20)),
        token_id=1,
        holder=Address(bytes(20)),
        now=now,
    )
    later = now + timedelta(seconds=seconds)
    verdict = codes.read(KEY, code.text, now=later)
    assert isinstance(verdict, Claim) == (later < code.valid_until)
    if later >= code.valid_until:
        assert verdict is Verdict.EXPIRED


@given(moments)
def test_a_code_lives_for_its_slot_and_the_next(now: datetime) -> None:
    code = codes.issue(
        KEY,
        chain_id=1,
        ticket_contract=Address(bytes(20)),
        token_id=1,
        holder=Address(bytes(20)),
        now=now,
    )
    assert timedelta() < code.refresh_after - now <= SLOT
    assert code.valid_until - code.refresh_after == SLOT
    fresh = shown(code.refresh_after)
    assert fresh != shown(now)


@given(moments)
def test_a_code_of_two_slots_ahead_is_refused(now: datetime) -> None:
    assert codes.read(KEY, shown(now + 2 * SLOT), now=now) is Verdict.EXPIRED
    assert isinstance(codes.read(KEY, shown(now + SLOT), now=now), Claim)


@given(moments, st.text())
def test_a_code_signed_by_another_key_is_forged(now: datetime, seed: str) -> None:
    assume(seed != "the platform's seed")
    assert codes.read(KEY, shown(now, key=CodeKey.from_seed(seed)), now=now) is Verdict.FORGED


def test_a_signature_over_the_bare_payload_is_forged() -> None:
    """A signature that the same key gave for another purpose must not open the door."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    payload = base45_decode(shown(now))[:21]
    bare = KEY._private.sign(payload)
    assert codes.read(KEY, base45_encode(payload + bare), now=now) is Verdict.FORGED


def test_a_token_id_that_no_contract_gives_has_no_code() -> None:
    for token_id in (-1, 2**32):
        with pytest.raises(ValueError, match="32 bits"):
            shown(datetime(2026, 1, 1, tzinfo=UTC), token_id=token_id)


@pytest.mark.parametrize(
    ("data", "text"), [(b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"base-45", "UJCLQE7W581")]
)
def test_base45_gives_the_known_answers_of_rfc_9285(data: bytes, text: str) -> None:
    assert base45_encode(data) == text
    assert base45_decode(text) == data


def test_base45_decodes_the_known_answer_of_rfc_9285() -> None:
    assert base45_decode("QED8WEX0") == b"ietf!"


@given(st.binary())
def test_base45_returns_what_it_was_given(data: bytes) -> None:
    assert base45_decode(base45_encode(data)) == data


@given(st.text(alphabet))
def test_each_base45_text_is_the_one_spelling_of_its_bytes_or_refused(text: str) -> None:
    try:
        data = base45_decode(text)
    except ValueError:
        return
    assert base45_encode(data) == text


@pytest.mark.parametrize("text", ["GGW", ":::", "::", "A", "bb8", "BB8é", "BB8\n"])
def test_base45_refuses_what_no_bytes_encode_to(text: str) -> None:
    with pytest.raises(ValueError):
        base45_decode(text)


def test_two_seeds_never_share_a_key() -> None:
    assert not CodeKey.from_seed(secrets.token_bytes(32)).signed(b"x", KEY.sign(b"x"))
