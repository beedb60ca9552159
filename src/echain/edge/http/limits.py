"""How often one caller may call: by key, user or gate where there is one, else by the address they come from.

Answers say where a caller stands (draft-ietf-httpapi-ratelimit-headers). Refused credentials count against
the address that sent them: who guesses is shut out for a while, and let in again by itself. All processes
count together; one that has not heard from a guesser yet lets one more guess through before it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from echain.edge.addresses import Proxies, site_of
from echain.edge.http.call import Caller
from echain.edge.http.rendering import Header
from echain.infra.metrics import Counter, Metrics
from echain.infra.quota import Quota, Quotas, Turn
from echain.kernel.errors import EchainError, Kind

WINDOW_SECONDS: Final = 900
_MINUTE: Final = 60
_READS: Final = frozenset({"GET", "HEAD"})


class LimitReached(EchainError):
    """That was too often; wait as long as Retry-After says. Signed-in callers and API keys may do more."""

    kind = Kind.LIMITED
    code = "request.limit_reached"


class ShutOut(EchainError):
    """Too many refused credentials came from your address; wait as long as Retry-After says."""

    kind = Kind.LIMITED
    code = "auth.shut_out"


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What callers may do: writes in 15 minutes, reads and a gate's scans in one, refusals in 15."""

    anonymous_writes: int = 100
    user_writes: int = 1_000
    gate_writes: int = 6_000
    reads: int = 6_000
    refusals: int = 50


class Limits:
    """Counts requests; one object an application."""

    def __init__(
        self, quotas: Quotas, allowance: Allowance, *, proxies: Sequence[str] = (), metrics: Metrics
    ) -> None:
        """``proxies`` are the networks whose ``X-Forwarded-For`` is believed.

        Raises:
            ValueError: one of them is no network.
        """
        self._quotas = quotas
        self._proxies = Proxies(proxies)
        self._anonymous = Quota("anonymous-writes", allowance.anonymous_writes, WINDOW_SECONDS)
        self._user = Quota("writes", allowance.user_writes, WINDOW_SECONDS)
        self._gate = Quota("scans", allowance.gate_writes, _MINUTE)
        self._reads = Quota("reads", allowance.reads, _MINUTE)
        self._refusals = Quota("refusals", allowance.refusals, WINDOW_SECONDS)
        counter = metrics.counter(
            "echain_http_limited_total", "Requests refused for being too many, by the quota.", ("quota",)
        )
        self._limited: Callable[[str], Counter] = counter.labels

    def address(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """Return the address that a request comes from: the last hop that is no proxy of ours."""
        return self._proxies.origin(peer, headers.get(b"x-forwarded-for", b"").decode("latin-1"))

    def admit(self, address: str) -> None:
        """Raise `ShutOut` for an address from which too many refused credentials came."""
        turn = self._quotas.spent(self._refusals, site_of(address))
        if turn is not None:
            self._limited(self._refusals.name).inc()
            raise ShutOut(retryAfterSeconds=turn.seconds)

    async def refused(self, address: str) -> None:
        """Count credentials that were refused."""
        await self._quotas.take(self._refusals, site_of(address))

    async def take(self, method: str, caller: Caller | None, address: str) -> list[Header]:
        """Count a request and return where its caller stands.

        Raises:
            LimitReached: there were too many.
        """
        quota = _own(self._quota(method, caller), method, caller)
        turn = await self._quotas.take(quota, _caller(caller, address))
        if not turn.given:
            self._limited(quota.name).inc()
            raise LimitReached(retryAfterSeconds=max(1, turn.seconds), quota=quota.name, most=quota.most)
        return _standing(quota, turn)

    def _quota(self, method: str, caller: Caller | None) -> Quota:
        if method in _READS:
            return self._reads
        if caller is None:
            return self._anonymous
        return self._gate if caller.kind == "gate" else self._user


def _own(quota: Quota, method: str, caller: Caller | None) -> Quota:
    """Return the quota of a key that has one of its own, which is never more than what users have."""
    if caller is None:
        return quota
    most = caller.reads if method in _READS else caller.writes
    return quota if most is None or most >= quota.most else msgspec.structs.replace(quota, most=most)


def _caller(caller: Caller | None, address: str) -> str:
    if caller is None:
        return site_of(address)
    # A key has its own turns, so that one program cannot use up another's.
    return f"key:{caller.key}" if caller.key is not None else f"{caller.kind}:{caller.id}"


def _standing(quota: Quota, turn: Turn) -> list[Header]:
    name = quota.name
    return [
        (b"ratelimit-policy", f'"{name}";q={quota.most};w={quota.window_seconds}'.encode()),
        (b"ratelimit", f'"{name}";r={turn.left};t={turn.seconds}'.encode()),
    ]
