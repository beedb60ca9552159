"""When a refresh token is good, and what a device is called."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.accounts.rules import RefreshState, Verdict, device_name, refresh_verdict
from echain.accounts.tokens import ACCESS_PREFIX, REFRESH_PREFIX, derived_token, is_token, new_token

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FRESH = RefreshState(
    session_ended=False,
    session_expires_at=NOW + timedelta(days=1),
    expires_at=NOW + timedelta(hours=1),
    used_at=None,
    client=None,
    successor_used=False,
)
USED = msgspec.structs.replace(FRESH, used_at=NOW - timedelta(seconds=5), client=b"me")

STATES = st.builds(
    RefreshState,
    session_ended=st.booleans(),
    session_expires_at=st.sampled_from([NOW - timedelta(1), NOW, NOW + timedelta(1)]),
    expires_at=st.sampled_from([NOW - timedelta(1), NOW, NOW + timedelta(1)]),
    used_at=st.none() | st.timedeltas(timedelta(0), timedelta(seconds=30)).map(lambda age: NOW - age),
    client=st.sampled_from([b"me", b"other"]),
    successor_used=st.booleans(),
)


@given(STATES)
def test_only_a_live_unused_token_of_a_live_session_rotates(state: RefreshState) -> None:
    live = not state.session_ended and state.session_expires_at > NOW
    rotates = refresh_verdict(state, client=b"me", now=NOW) is Verdict.ROTATE
    assert rotates == (live and state.used_at is None and state.expires_at > NOW)


@given(STATES)
def test_a_used_token_of_a_live_session_is_repeated_or_reused_and_never_just_refused(
    state: RefreshState,
) -> None:
    verdict = refresh_verdict(state, client=b"me", now=NOW)
    if state.session_ended or state.session_expires_at <= NOW or state.used_at is None:
        assert verdict in (Verdict.ROTATE, Verdict.REFUSE)
    else:
        assert verdict in (Verdict.REPEAT, Verdict.REUSED)


def test_a_repeat_needs_the_same_client_ten_seconds_and_an_unused_successor() -> None:
    assert refresh_verdict(USED, client=b"me", now=NOW) is Verdict.REPEAT
    assert refresh_verdict(USED, client=b"me", now=NOW + timedelta(seconds=5)) is Verdict.REPEAT
    assert refresh_verdict(USED, client=b"me", now=NOW + timedelta(seconds=5.1)) is Verdict.REUSED
    assert refresh_verdict(USED, client=b"other", now=NOW) is Verdict.REUSED
    followed = msgspec.structs.replace(USED, successor_used=True)
    assert refresh_verdict(followed, client=b"me", now=NOW) is Verdict.REUSED


DEVICES = {
    "Mozilla/5.0 (Windows NT 10.0; Win64) Chrome/140.0 Safari/537.36 Edg/140.0": "Edge on Windows",
    "Mozilla/5.0 (Linux; Android 10; K) Chrome/140.0 Mobile Safari/537.36": "Chrome on Android",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.5 Safari/605.1.15": "Safari on macOS",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) CriOS/140.0 Safari/604.1": "Chrome on iPhone",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox on Linux",
    "python-requests/2.32.4": "python-requests2.32.4",
    "curl/8.14.1": "curl8.14.1",
    "evil\x1b[2J\u202e": "evil2J",
    "https://evil.example/?a=<b>": "httpsevil.exampleab",
    "x" * 99: "x" * 40,
    "": "unknown device",
    "\x00": "unknown device",
}


@pytest.mark.parametrize(("user_agent", "name"), DEVICES.items())
def test_devices_are_called_what_people_call_them(user_agent: str, name: str) -> None:
    assert device_name(user_agent) == name


@given(st.text())
def test_a_device_always_has_a_short_printable_name(user_agent: str) -> None:
    name = device_name(user_agent)
    assert re.fullmatch(r"[A-Za-z0-9. -]{1,40}", name)


@given(st.sampled_from([ACCESS_PREFIX, REFRESH_PREFIX]), st.binary(min_size=32, max_size=32))
def test_derived_tokens_look_like_new_ones_and_differ_by_kind_origin_and_salt(
    prefix: str, salt: bytes
) -> None:
    origin = new_token(REFRESH_PREFIX)
    derived = derived_token(prefix, origin, salt)
    assert is_token(derived, prefix)
    assert derived == derived_token(prefix, origin, salt)
    other_prefix = REFRESH_PREFIX if prefix == ACCESS_PREFIX else ACCESS_PREFIX
    others = {
        derived,
        derived_token(prefix, new_token(REFRESH_PREFIX), salt),
        derived_token(prefix, origin, bytes(32) if any(salt) else b"\x01" * 32),
        "".join((prefix, derived_token(other_prefix, origin, salt)[4:])),
        origin,
    }
    assert len(others) == 5
