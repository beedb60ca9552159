"""Where a caller comes from, and what is counted as one: the same rule at every door."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

_SITE_BITS: Final = 64
"""An IPv6 customer has a whole network of so many bits to themselves."""


def parsed(address: str) -> IPv4Address | IPv6Address | None:
    """Return an address without its zone, as IPv4 where it is only written as IPv6; None if it is none."""
    try:
        ip = ip_address(address.split("%", 1)[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def _hop(text: str) -> str:
    """Return the address that a proxy wrote down, without the port and the brackets that some add."""
    text = text.strip()
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        port = port or ":0"
    elif text.count(":") == 1:
        host, bracket, port = text.partition(":")
        port = ":" + port
    else:
        return text
    digits = port[1:]
    return host if bracket and port[0] == ":" and digits.isascii() and digits.isdecimal() else text


def site_of(address: str) -> str:
    """Return what an address is counted as: IPv4 as itself, IPv6 as its /64, anything else as it is."""
    if ":" not in address:
        return address
    ip = parsed(address)
    return (
        str(ip_network((ip, _SITE_BITS), strict=False)) if isinstance(ip, IPv6Address) else str(ip or address)
    )


class Proxies:
    """The proxies whose ``X-Forwarded-For`` is believed."""

    def __init__(self, networks: Sequence[str]) -> None:
        """Take networks in CIDR notation.

        Raises:
            ValueError: one of them is no network.
        """
        self._networks = [ip_network(network) for network in networks]

    def trusts(self, address: str) -> bool:
        """Return whether an address is a proxy's."""
        if not self._networks:
            return False
        ip = parsed(address)
        return ip is not None and any(
            ip in network for network in self._networks if network.version == ip.version
        )

    def origin(self, peer: str, forwarded: str) -> str:
        """Return the address that a request comes from: the last hop that is no proxy of ours.

        ``forwarded`` is ``X-Forwarded-For``, its lines joined by commas in their order; whatever stands left
        of that hop, the caller may have written. Hops may have ports, as in
        ``192.0.2.1:80`` and ``[2001:db8::1]:80``.
        """
        hops = forwarded.split(",") if self._networks else []
        address = peer
        while hops and self.trusts(address):
            try:
                address = str(ip_address(_hop(hops.pop())))
            except ValueError:
                break
        return address
