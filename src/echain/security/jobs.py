"""Background work: raises alarms, looks at contracts, balances and the audit log by the clock, forgets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
import structlog
from eth_abi.exceptions import DecodingError

from echain.chain.deploy import Deployment
from echain.chain.rpc import ChainUnreachable, Inconsistent, Lie, Rpc, RpcRefused, WrongChain
from echain.infra.database import Database
from echain.infra.jobs import Handler, JobKind, Run, Schedule
from echain.infra.metrics import Metrics
from echain.kernel.evm import Address, checksum
from echain.kernel.time import Clock
from echain.security import contracts, deedstore, drift, driftstore, refusalstore, service, store
from echain.security.kinds import AUDIT, BALANCES, CONTRACTS, RAISE, SWEEP, Tick
from echain.security.service import Watchmen
from echain.security.types import AlarmKind, Cause, Raised, Severity

CONTRACTS_SECONDS: Final = 60.0
BALANCES_SECONDS: Final = 300.0
SWEEP_SECONDS: Final = 600.0
AUDIT_CRON: Final = "17 3 * * *"

_DEEDS_KEPT: Final = timedelta(hours=3)
_REFUSALS_KEPT: Final = timedelta(hours=1)
_SWEPT_AT_ONCE: Final = 1_000
_AUDITED: Final = timedelta(days=2)
"""A daily look reads what was sealed since the day before yesterday: a day that was missed is made up for."""

_AWAY: Final = (ChainUnreachable, RpcRefused, WrongChain, Lie, Inconsistent, DecodingError)
"""What a node may say instead of an answer that can be read."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.security")


class Watched(msgspec.Struct, frozen=True):
    """A chain that is watched: its node, how many blocks a question covers, what is little money."""

    rpc: Rpc
    unit_scale: int
    log_span: int
    alarm_balance_wei: int


class Tools(msgspec.Struct, frozen=True):
    """What the handlers need.

    ``deployments`` says where the contracts stand by now. ``platform`` is the address that the platform
    signs with. ``audit`` checks what the audit log sealed within a span of time and says what is wrong.
    """

    chains: Mapping[int, Watched]
    deployments: Callable[[], Mapping[int, Deployment]]
    platform: Address
    watchmen: Watchmen
    audit: Callable[[Database, timedelta], Awaitable[Sequence[str]]]
    metrics: Metrics
    clock: Clock


def handlers(tools: Tools) -> dict[JobKind[Any], Handler[Any]]:
    """Return what runs the jobs of security."""
    monitor = Monitor(tools)
    return {
        RAISE: monitor.raise_alarm,
        CONTRACTS: monitor.look_at_contracts,
        BALANCES: monitor.look_at_balances,
        AUDIT: monitor.look_at_audit,
        SWEEP: monitor.sweep,
    }


def schedules() -> list[Schedule[Any]]:
    """Return what the clock asks for."""
    return [
        Schedule(CONTRACTS, Tick(), every_seconds=CONTRACTS_SECONDS),
        Schedule(BALANCES, Tick(), every_seconds=BALANCES_SECONDS),
        Schedule(AUDIT, Tick(), cron=AUDIT_CRON),
        Schedule(SWEEP, Tick(), every_seconds=SWEEP_SECONDS),
    ]


class Monitor:
    """Handles the jobs. A node that cannot be asked is no alarm here: other alerts tell of it."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        counter = tools.metrics.counter(
            "echain_security_alarms_total", "Alarms that were raised or got worse", ("kind",)
        )
        # From the start: what appears for the first time has, to Prometheus, not grown.
        self._raised = {kind: counter.labels(kind.value) for kind in AlarmKind}

    async def raise_alarm(self, run: Run[Cause]) -> None:
        """Count a cause; tell the log and the metrics of an alarm that is new, or worse than it was.

        They are told last in the transaction: when its commit fails they hear of it twice, and never not.
        """
        async with run.effect() as tx:
            watchmen = self._tools.watchmen
            raised = await service.raise_alarm(tx, run.payload, watchmen, now=self._tools.clock())
            if raised is not None:
                self._tell(raised)

    def _tell(self, raised: Raised) -> None:
        self._raised[raised.kind].inc()
        tell = _log.error if raised.severity is Severity.SEVERE else _log.warning
        tell(
            "security.alarm",
            alarm=str(raised.id),
            kind=raised.kind.value,
            severity=raised.severity.name.lower(),
            subject=raised.subject,
            facts=dict(raised.facts),
            count=raised.count,
        )

    async def look_at_contracts(self, run: Run[Tick]) -> None:
        """Look at every chain's factory; what one node does not answer waits for the next time."""
        deployments = self._tools.deployments()
        for chain_id, chain in self._tools.chains.items():
            deployment = deployments.get(chain_id)
            if deployment is not None:
                try:
                    await self._look_at_contract(run, chain, deployment.factory)
                except _AWAY as error:
                    _log.info("security.contract_unseen", chain=chain_id, reason=str(error))

    async def _look_at_contract(self, run: Run[Tick], chain: Watched, factory: Address) -> None:
        chain_id = chain.rpc.chain_id
        async with run.database.connection() as connection:
            cursor = await driftstore.cursor(connection, chain_id)
            since = await contracts.looked_upto(connection, chain_id, factory)
        upto = -1 if cursor is None else cursor["final"]
        if upto < 0:
            return
        sight = await contracts.look(
            chain.rpc, factory, self._tools.platform, since=since, upto=upto, span=chain.log_span
        )
        async with run.database.transaction() as tx:
            await contracts.judge(tx, sight, now=self._tools.clock())

    async def look_at_balances(self, run: Run[Tick]) -> None:
        """Compare what contracts hold with our books, and look what the platform has left for its work."""
        for chain_id, chain in self._tools.chains.items():
            try:
                seen = await drift.look(chain.rpc, run.database, chain.unit_scale)
                held_wei = int(
                    await chain.rpc.call("eth_getBalance", (checksum(self._tools.platform), "latest")), 16
                )
            except _AWAY as error:
                _log.info("security.balance_unseen", chain=chain_id, reason=str(error))
                continue
            async with run.database.transaction() as tx:
                if seen is not None:
                    await drift.judge(tx, seen, now=self._tools.clock())
                if held_wei < chain.alarm_balance_wei:
                    await service.suspect(tx, [self._poor(chain_id, held_wei)])

    def _poor(self, chain_id: int, held_wei: int) -> Cause:
        now = self._tools.clock()
        subject = f"chain {chain_id} address {checksum(self._tools.platform)}"
        name = f"balance {subject} {now:%Y-%m-%d}"
        return Cause(AlarmKind.KEY_BALANCE_LOW, subject, name, {"balance": str(held_wei)}, now)

    async def look_at_audit(self, run: Run[Tick]) -> None:
        """Check what the audit log sealed lately."""
        wrong = await self._tools.audit(run.database, _AUDITED)
        if not wrong:
            return
        now = self._tools.clock()
        facts = {"findings": str(len(wrong)), "first": wrong[0][:200]}
        cause = Cause(AlarmKind.AUDIT_BROKEN, "audit log", f"audit {now:%Y-%m-%d}", facts, now)
        async with run.database.transaction() as tx:
            await service.suspect(tx, [cause])

    async def sweep(self, run: Run[Tick]) -> None:
        """Forget what is too old to matter."""
        now = self._tools.clock()
        async with run.database.transaction() as tx:
            await deedstore.sweep(tx, before=now - _DEEDS_KEPT)
            await refusalstore.sweep(tx, before=now - _REFUSALS_KEPT)
        swept = _SWEPT_AT_ONCE
        while swept == _SWEPT_AT_ONCE:
            async with run.database.transaction() as tx:
                swept = await store.sweep(tx, before=now - service.KEPT, limit=_SWEPT_AT_ONCE)
