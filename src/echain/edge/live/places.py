"""How many connections there are, in all and from each address."""

from __future__ import annotations

from http import HTTPStatus

from echain.edge.addresses import Proxies, parsed, site_of
from echain.edge.live.access import Limits

_TURNED_AWAY = 100
"""Connections beyond all places that may be open while they are told; less than the files kept aside."""


class Places:
    """Takes in as many connections as may be; give back what was taken."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._proxies = Proxies(limits.proxies)
        self._taken = 0
        self._turning_away = 0
        self._by_address: dict[str, int] = {}

    @property
    def taken(self) -> int:
        return self._taken

    def take(self, address: str) -> HTTPStatus | None:
        """Take a place for a connection from ``address``; return why there is none."""
        if self._taken >= self._limits.connections:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if not self._counted(address):
            return HTTPStatus.TOO_MANY_REQUESTS
        self._taken += 1
        return None

    def origin(self, peer: str, forwarded: str) -> str:
        """Return the address that a request comes from; ``forwarded`` is what it says of its way."""
        return self._proxies.origin(peer, forwarded)

    def move(self, before: str, after: str) -> bool:
        """Count a connection for another address, for which its proxy speaks; False if it has enough."""
        if not self._counted(after):
            return False
        self._uncounted(before)
        return True

    def give(self, address: str) -> None:
        """Give back the place of a connection from ``address``; an empty one has none."""
        if not address:
            return
        self._taken -= 1
        self._uncounted(address)

    def _counted(self, address: str) -> bool:
        site = self._site(address)
        if site:
            count = self._by_address.get(site, 0)
            if count >= self._limits.per_address:
                return False
            self._by_address[site] = count + 1
        return True

    def _uncounted(self, address: str) -> None:
        site = self._site(address)
        count = self._by_address.pop(site, 1) - 1
        if site and count > 0:
            self._by_address[site] = count

    def turn_away(self) -> bool:
        """Return whether one more of those for whom there is no place may stay to be told so."""
        if self._turning_away >= _TURNED_AWAY:
            return False
        self._turning_away += 1
        return True

    def turned_away(self) -> None:
        """Note that one of them has gone."""
        self._turning_away -= 1

    def _site(self, address: str) -> str:
        """Return what is counted as one, empty for what is not: a proxy, or this machine as one."""
        ip = parsed(address)
        if ip is not None and ip.is_loopback and not self._limits.count_loopback:
            return ""
        return "" if self._proxies.trusts(address) else site_of(address)
