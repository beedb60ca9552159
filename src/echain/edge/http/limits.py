"""How often one caller may call: by key, user or gate where there is one, else by the address they come from.

Answers say where a caller stands (draft-ietf-httpapi-ratelimit-headers). Refused credentials count against
the address that sent them: who guesses there is shut out for a while, and let in again by itself, while
those whose credentials hold go on from the same address. All processes count together; one that has not heard
from a guesser yet looks at one more secret before it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from echain.edge.addresses import Proxies, site_of
from echain.edge.http.call import Caller
from echain.edge.http.endpoint import Charge
from echain.edge.http.rendering import Header
from echain.infra.metrics import Counter, Metrics
from echain.infra.quota import Quota, Quotas, Turn
from echain.kernel.errors import EchainError, Kind

WINDOW_SECONDS: Final = 900
_MINUTE: Final = 60
_FORWARDED: Final = b"x-forwarded-for"
OVER_KEYS: Final = 5
"""All of a user's keys together may do so many times what the user may."""


class LimitReached(EchainError):
    """That was too often; wait as long as Retry-After says. Signed-in callers and API keys may do more."""

    kind = Kind.LIMITED
    code = "request.limit_reached"


class ShutOut(EchainError):
    """Too many refused credentials came from your address; wait as long as Retry-After says."""

    kind = Kind.LIMITED
    code = "auth.shut_out"


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What callers may do: writes in 15 minutes, reads and a gate's scans in one, refusals in 15.

    ``sign_ins`` are what anybody asks for to sign in, in 15 minutes from one address, behind which a whole
    venue may stand.
    """

    anonymous_writes: int = 100
    sign_ins: int = 600
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
        self._sign_ins = Quota("sign-ins", allowance.sign_ins, WINDOW_SECONDS)
        self._user = Quota("writes", allowance.user_writes, WINDOW_SECONDS)
        self._gate = Quota("scans", allowance.gate_writes, _MINUTE)
        self._reads = Quota("reads", allowance.reads, _MINUTE)
        self._writes_by_keys = Quota("writes-by-keys", OVER_KEYS * allowance.user_writes, WINDOW_SECONDS)
        self._reads_by_keys = Quota("reads-by-keys", OVER_KEYS * allowance.reads, _MINUTE)
        self._refusals = Quota("refusals", allowance.refusals, WINDOW_SECONDS)
        counter = metrics.counter(
            "echain_http_limited_total", "Requests refused for being too many, by the quota.", ("quota",)
        )
        self._limited: Callable[[str], Counter] = counter.labels

    def address(self, peer: str, headers: Mapping[bytes, bytes], lines: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the address that a request comes from: the last hop that is no proxy of ours.

        ``headers`` know whether hops are named at all; ``lines`` are the same as they came, where one header
        may stand in several (RFC 9110, 5.3).
        """
        if _FORWARDED not in headers:
            return peer
        forwarded = b",".join([value for name, value in lines if name == _FORWARDED])
        return self._proxies.origin(peer, forwarded.decode("latin-1"))

    async def refused(self, caller: Caller | None, address: str) -> ShutOut | None:
        """Count a secret that was refused; return what to answer if there were too many before.

        It counts against its address, or against whoever signed in and shows one: neighbours guess nothing.
        """
        turn = await self._quotas.take(self._refusals, _caller(caller, address))
        return None if turn.given else self._shut_out(turn)

    def _shut_out(self, turn: Turn) -> ShutOut:
        self._limited(self._refusals.name).inc()
        return ShutOut(retryAfterSeconds=max(1, turn.seconds))

    async def take(self, charge: Charge, caller: Caller | None, address: str) -> list[Header]:
        """Count a request and return where its caller stands.

        Raises:
            LimitReached: there were too many.
            ShutOut: it is no read, and too many wrong secrets came from its caller, or from an unknown
                one's address.
        """
        subject = _caller(caller, address)
        if charge != "read":
            spent = self._quotas.spent(self._refusals, subject)
            if spent is not None:
                raise self._shut_out(spent)
        quota = _own(self._quota(charge, caller), charge, caller)
        turn = await self._quotas.take(quota, subject)
        if turn.given and caller is not None and caller.key is not None:
            # Without it a new key, or another one, would give its user all turns anew.
            total = self._reads_by_keys if charge == "read" else self._writes_by_keys
            of_all = await self._quotas.take(total, f"{caller.kind}:{caller.id}")
            if not of_all.given or of_all.left < turn.left:
                quota, turn = total, of_all
        if not turn.given:
            self._limited(quota.name).inc()
            raise LimitReached(retryAfterSeconds=max(1, turn.seconds), quota=quota.name, most=quota.most)
        return _standing(quota, turn)

    def _quota(self, charge: Charge, caller: Caller | None) -> Quota:
        if charge == "read":
            return self._reads
        if caller is None:
            return self._sign_ins if charge == "sign-in" else self._anonymous
        return self._gate if caller.kind == "gate" else self._user


def _own(quota: Quota, charge: Charge, caller: Caller | None) -> Quota:
    """Return the quota of a key that has one of its own, which is never more than what users have."""
    if caller is None:
        return quota
    most = caller.reads if charge == "read" else caller.writes
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
