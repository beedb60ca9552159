"""Where a caller comes from is said by the last hop that is no proxy of ours, and by nobody before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.edge.addresses import Proxies, site_of

OURS = Proxies(["10.0.0.0/8", "2001:db8:ff::/48"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "origin"),
    [
        ("198.51.100.1", "1.1.1.1", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "2.2.2.2, 1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "2.2.2.2, 1.1.1.1, 10.9.9.9", "1.1.1.1"),
        ("10.0.0.1", "2.2.2.2, nonsense", "10.0.0.1"),
        ("::ffff:10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("2001:db8:ff::1", "2001:db8::7", "2001:db8::7"),
        ("", "1.1.1.1", ""),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "2.2.2.2:80, 198.51.100.7:4711,10.9.9.9:80", "198.51.100.7"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1, [2001:db8:ff::2]:443", "2001:db8::1"),
        ("10.0.0.1", "198.51.100.7:http", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1]443", "10.0.0.1"),
        ("10.0.0.1", "[]", "10.0.0.1"),
        ("10.0.0.1", ":80", "10.0.0.1"),
    ],
)
def test_the_last_hop_that_is_no_proxy_of_ours_is_the_origin(peer: str, forwarded: str, origin: str) -> None:
    assert OURS.origin(peer, forwarded) == origin


@given(st.text(max_size=60), st.text(max_size=60))
def test_without_proxies_the_peer_is_the_origin_whatever_is_said(peer: str, forwarded: str) -> None:
    assert Proxies([]).origin(peer, forwarded) == peer


@given(st.text(alphabet="0123456789abcdef:.,% /[]", max_size=60))
def test_no_text_breaks_the_rule(text: str) -> None:
    OURS.origin("10.0.0.1", text)
    site_of(text)


def test_an_ipv6_network_of_one_customer_is_one_site() -> None:
    assert site_of("2001:db8:1:2::1") == site_of("2001:db8:1:2:ffff::9%eth0") == "2001:db8:1:2::/64"
    assert site_of("2001:db8:1:3::1") != site_of("2001:db8:1:2::1")
    assert site_of("::ffff:198.51.100.9") == site_of("198.51.100.9") == "198.51.100.9"


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="host bits"):
        Proxies(["10.0.0.1/8"])
