"""Coinbase's signatures: recorded vectors, its own library, and every way to get one wrong."""

from __future__ import annotations

from datetime import timedelta

import hook0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.webhooks import signing
from tests.webhooks.signing import KAT_AT, KAT_BODY, KAT_HEADERS, KAT_V0, KAT_V1

from echain.edge.http.call import Headers
from echain.infra.secret import Secret
from echain.kernel.errors import EchainError
from echain.kernel.time import from_unix
from echain.webhooks import types
from echain.webhooks.coinbase import Secrets, Signed, opened

SECRETS = Secrets([Secret(signing.COMMERCE_SECRET)], [Secret(signing.CDP_SECRET)])
NOW = from_unix(KAT_AT)
BODY = b'{"network":"base-sepolia","block_number":1,"log_index":0}'


def headers(given: dict[str, str]) -> Headers:
    return Headers({name.encode(): value.encode("latin-1") for name, value in given.items()})


def open_cdp(body: bytes, given: dict[str, str], *, late: float = 0, secrets: Secrets = SECRETS) -> Signed:
    return opened(headers(given), body, secrets, NOW + timedelta(seconds=late))


def with_signature(value: str) -> dict[str, str]:
    return {**KAT_HEADERS, "x-hook0-signature": value}


def test_the_recorded_signature_of_cdp_holds() -> None:
    """Past the signature there is only the body, which is no JSON because of the mark behind it."""
    good = with_signature(f"t={KAT_AT},v0={KAT_V0},h={signing.HEADERS},v1={KAT_V1}")
    with pytest.raises(types.BodyNotJson):
        open_cdp(KAT_BODY, good)
    with pytest.raises(types.SignatureWrong):
        open_cdp(KAT_BODY.rstrip(b"\xe2\x9c\x93"), good)


def test_the_recorded_signature_of_commerce_holds() -> None:
    secrets = Secrets([Secret(signing.CDP_SECRET)])
    given = headers({"x-cc-webhook-signature": signing.KAT_COMMERCE})
    with pytest.raises(types.BodyNotJson):
        opened(given, KAT_BODY, secrets, NOW)
    with pytest.raises(types.SignatureWrong):
        opened(given, KAT_BODY + b" ", secrets, NOW)


@given(
    body=st.binary(max_size=200),
    event_id=st.from_regex(r"[\x21-\x7e]{1,40}", fullmatch=True),
    order=st.permutations(signing.HEADERS.split(" ")),
)
def test_whatever_the_signers_own_library_takes_is_signed_for_us_too(
    body: bytes, event_id: str, order: list[str]
) -> None:
    given = signing.cdp(body, KAT_AT, event_id=event_id, names=" ".join(order))
    assert hook0.verify_webhook_signature_with_current_time(
        given["x-hook0-signature"], body, given, signing.CDP_SECRET, 300, NOW
    )
    try:
        assert open_cdp(body, given).source_id == event_id
    except (types.BodyNotJson, types.BodyWrongShape):
        return


def test_several_secrets_hold_while_one_is_replaced() -> None:
    old, new = Secret("old"), Secret("new")
    for secret in ("old", "new"):
        given = signing.cdp(BODY, KAT_AT, secret=secret)
        assert open_cdp(BODY, given, secrets=Secrets((), (new, old))).type == "onchain.activity.detected"
        with pytest.raises(types.SignatureWrong):
            open_cdp(BODY, given, secrets=Secrets((), (Secret("third"),)))
        event = signing.charge_event("charge:created")
        given = signing.commerce(event, secret)
        assert opened(headers(given), event, Secrets((new, old)), NOW).type == "charge:created"


def test_the_older_part_alone_is_a_downgrade_and_refused() -> None:
    """Both libraries take it; whoever holds one such request could give it other ids."""
    only_v0 = with_signature(f"t={KAT_AT},v0={KAT_V0}")
    assert hook0.verify_webhook_signature_with_current_time(
        only_v0["x-hook0-signature"], KAT_BODY, only_v0, signing.CDP_SECRET, 300, NOW
    )
    with pytest.raises(types.SignatureMalformed):
        open_cdp(KAT_BODY, only_v0)


@pytest.mark.parametrize("missing", ["x-event-id", "x-event-type"])
def test_a_signature_that_leaves_the_ids_out_is_refused(missing: str) -> None:
    names = " ".join(name for name in signing.HEADERS.split(" ") if name != missing)
    with pytest.raises(types.SignatureMalformed):
        open_cdp(BODY, signing.cdp(BODY, KAT_AT, names=names))


@pytest.mark.parametrize(
    "value",
    [
        *("", "t", "t=", f"v1={KAT_V1}", f"t={KAT_AT},v1={KAT_V1}", f"t={KAT_AT},h={signing.HEADERS}"),
        f"t={KAT_AT},t={KAT_AT},h={signing.HEADERS},v1={KAT_V1}",
        f"t={KAT_AT},h={signing.HEADERS},v1={'0' * 64},v1={KAT_V1}",
        f"t={KAT_AT},h={signing.HEADERS},h={signing.HEADERS},v1={KAT_V1}",
        f"t={KAT_AT},h={signing.HEADERS} x-event-id,v1={KAT_V1}",
        f"t={KAT_AT},h={signing.HEADERS} x-absent,v1={KAT_V1}",
        f"t={KAT_AT},h={signing.HEADERS.upper()},v1={KAT_V1}",
        f"t={KAT_AT},h={signing.HEADERS},v1={KAT_V1.upper()}",
        f"t={KAT_AT},h={signing.HEADERS},v1={KAT_V1[:-1]}",
        f"t=-{KAT_AT},h={signing.HEADERS},v1={KAT_V1}",
        f"t={KAT_AT}.0,h={signing.HEADERS},v1={KAT_V1}",
        f"t={'9' * 40},h={signing.HEADERS},v1={KAT_V1}",
        f"t={KAT_AT},h=,v1={KAT_V1}",
    ],
)
def test_a_malformed_signature_is_told_apart(value: str) -> None:
    with pytest.raises(types.SignatureMalformed):
        open_cdp(KAT_BODY, with_signature(value))


@given(place=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_a_body_altered_by_a_bit_is_refused(place: int, bit: int) -> None:
    altered = bytearray(BODY)
    altered[place] ^= 1 << bit
    with pytest.raises(types.SignatureWrong):
        open_cdp(bytes(altered), signing.cdp(BODY, KAT_AT))


@pytest.mark.parametrize("name", signing.HEADERS.split(" "))
def test_an_altered_header_is_refused(name: str) -> None:
    given = signing.cdp(BODY, KAT_AT)
    with pytest.raises(types.SignatureWrong):
        open_cdp(BODY, {**given, name: given[name] + "x"})


def test_an_altered_time_is_wrong_before_it_is_old() -> None:
    """Before the signature holds, the time is anybody's word."""
    given = signing.cdp(BODY, KAT_AT)
    given["x-hook0-signature"] = given["x-hook0-signature"].replace(f"t={KAT_AT}", "t=1")
    with pytest.raises(types.SignatureWrong):
        open_cdp(BODY, given)


@pytest.mark.parametrize(
    ("late", "error"),
    [(300, None), (301, types.SignatureTooOld), (-300, None), (-301, types.SignatureFromFuture)],
)
def test_a_signed_time_holds_for_300_seconds_either_way(late: float, error: type[EchainError] | None) -> None:
    given = signing.cdp(BODY, KAT_AT)
    if error is None:
        assert open_cdp(BODY, given, late=late).source == "coinbase_cdp"
    else:
        with pytest.raises(error):
            open_cdp(BODY, given, late=late)


def test_no_refusal_tells_what_would_have_been_right() -> None:
    given = signing.cdp(BODY, KAT_AT)
    right = given["x-hook0-signature"].rpartition("=")[2]
    given["x-hook0-signature"] = given["x-hook0-signature"].replace(right, "0" * 64)
    with pytest.raises(types.SignatureWrong) as caught:
        open_cdp(BODY, given)
    assert right not in repr((caught.value.message, caught.value.details))
    assert signing.CDP_SECRET not in repr((caught.value.message, caught.value.details))
