"""Routes by which administrators look after the platform: organizations, jobs, chains, the audit log."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from echain.chain.deploy import Deployment
from echain.chain.endpoint import EndpointHealth
from echain.chain.rpc import Rpc
from echain.edge.http import AddressText, Auth, Call, Endpoint, Nothing, get, post
from echain.infra.audit import reading
from echain.infra.audit.reading import AuditEntry, AuditFilter
from echain.infra.database import Database
from echain.infra.jobs import ledger
from echain.infra.jobs.ledger import Counts, NoSuchJob, NotDead
from echain.kernel.evm import checksum
from echain.kernel.paging import Page
from echain.organizations import overview
from echain.organizations.overview import OrganizationReport, OrganizationSearch, OrganizationSummary
from echain.organizations.types import OrganizationNotFound
from echain.security import contracts, driftstore, sightstore

TAG: Final = "admin"

_MAILBOX: Final = re.compile(r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+")
_LONGEST_ERROR: Final = 300


class OrganizationPath(msgspec.Struct, frozen=True):
    """An organization in a path."""

    id: UUID


class JobPath(msgspec.Struct, frozen=True):
    """A job in a path."""

    id: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class JobFilter(msgspec.Struct, frozen=True):
    """Which jobs, the newest first."""

    queue: Literal["sync", "webhook", "notification", "media", "chain"] | None = None
    state: Literal["waiting", "later", "running", "dead"] | None = "dead"
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


class Job(msgspec.Struct, frozen=True, rename="camel"):
    """A job that has not ended. What it was told is not shown; ``error`` is its last, without addresses."""

    id: int
    kind: str
    queue: str
    state: str
    tries: int
    created_at: datetime
    due_at: datetime
    error: str | None


class QueueCounts(msgspec.Struct, frozen=True, rename="camel"):
    """How many jobs of a queue are in which state, and for how long the longest waiting one is due."""

    queue: str
    waiting: int
    later: int
    running: int
    dead: int
    oldest_seconds: float


class Retried(msgspec.Struct, frozen=True):
    """How many dead letters wait again."""

    retried: int


class ChainReport(msgspec.Struct, frozen=True, rename="camel"):
    """A chain that is served: how far it is indexed, its nodes, and what its factory said when last seen."""

    chain_id: int
    indexed_block: int | None
    final_block: int | None
    factory: AddressText | None
    seen: dict[str, str]
    nodes: list[EndpointHealth]


def endpoints(
    database: Database, rpcs: Mapping[int, Rpc], deployments: Callable[[], Mapping[int, Deployment]]
) -> list[Endpoint]:
    """Return the routes; ``deployments`` says where the contracts stand by now."""
    return [
        *_organizations(database),
        *_jobs(database),
        _chains(database, rpcs, deployments),
        _audit(database),
    ]


def _organizations(database: Database) -> list[Endpoint]:
    @get(
        "/api/v1/admin/organizations",
        summary="List organizations",
        tag=TAG,
        answer=list[OrganizationSummary],
        query=OrganizationSearch,
        auth=Auth.ADMIN,
    )
    async def organizations(
        call: Call[Nothing, OrganizationSearch, Nothing],
    ) -> Page[OrganizationSummary]:
        return await overview.organizations(database, call.query)

    @get(
        "/api/v1/admin/organizations/{id}",
        summary="Show an organization with its members",
        tag=TAG,
        answer=OrganizationReport,
        path_params=OrganizationPath,
        auth=Auth.ADMIN,
        errors=(OrganizationNotFound,),
    )
    async def organization(call: Call[OrganizationPath, Nothing, Nothing]) -> OrganizationReport:
        return await overview.organization(database, call.path.id)

    return [organizations, organization]


def _jobs(database: Database) -> list[Endpoint]:
    @get(
        "/api/v1/admin/queues",
        summary="Count the jobs of every queue",
        tag=TAG,
        answer=list[QueueCounts],
        auth=Auth.ADMIN,
    )
    async def queues(_: Call[Nothing, Nothing, Nothing]) -> list[QueueCounts]:
        return [_counted(one) for one in await ledger.count(database)]

    @get(
        "/api/v1/admin/jobs",
        summary="List jobs, dead letters unless told otherwise",
        tag=TAG,
        answer=list[Job],
        query=JobFilter,
        auth=Auth.ADMIN,
    )
    async def jobs(call: Call[Nothing, JobFilter, Nothing]) -> list[Job]:
        part = call.query
        found = await ledger.listing(database, queue=part.queue, state=part.state, limit=part.limit)
        return [
            Job(
                one.job_id,
                one.kind,
                one.queue,
                one.state,
                one.tries,
                one.created_at,
                one.due_at,
                _said(one.error),
            )
            for one in found
        ]

    @post(
        "/api/v1/admin/jobs/{id}/retry",
        summary="Let a dead letter wait again with all its tries",
        tag=TAG,
        answer=Retried,
        path_params=JobPath,
        auth=Auth.ADMIN,
        errors=(NoSuchJob, NotDead),
    )
    async def retry(call: Call[JobPath, Nothing, Nothing]) -> Retried:
        job_id = call.path.id
        async with database.transaction() as tx:
            retried = await ledger.revive_in(tx, job_id)
            await call.audit(tx, "job.retried", resource=f"job:{job_id}")
        return Retried(retried)

    return [queues, jobs, retry]


def _chains(
    database: Database, rpcs: Mapping[int, Rpc], deployments: Callable[[], Mapping[int, Deployment]]
) -> Endpoint:
    @get(
        "/api/v1/admin/chains",
        summary="Show every chain with its nodes and contracts",
        tag=TAG,
        answer=list[ChainReport],
        auth=Auth.ADMIN,
    )
    async def chains(_: Call[Nothing, Nothing, Nothing]) -> list[ChainReport]:
        known = deployments()
        things = {one: contracts.thing_of(one, known[one].factory) for one in rpcs if one in known}
        reports: list[ChainReport] = []
        async with database.connection() as connection:
            seen = await sightstore.all_of(connection, list(things.values()))
            for chain_id, rpc in rpcs.items():
                cursor = await driftstore.cursor(connection, chain_id)
                deployment = known.get(chain_id)
                reports.append(
                    ChainReport(
                        chain_id=chain_id,
                        indexed_block=None if cursor is None else cursor["number"],
                        final_block=None if cursor is None or cursor["final"] < 0 else cursor["final"],
                        factory=None if deployment is None else checksum(deployment.factory),
                        seen=seen.get(things.get(chain_id, ""), {}),
                        nodes=rpc.health(),
                    )
                )
        return reports

    return chains


def _audit(database: Database) -> Endpoint:
    @get(
        "/api/v1/admin/audit",
        summary="What was changed on the platform, by whom, the newest first",
        tag=TAG,
        answer=list[AuditEntry],
        query=AuditFilter,
        auth=Auth.ADMIN,
    )
    async def audit(call: Call[Nothing, AuditFilter, Nothing]) -> Page[AuditEntry]:
        async with database.connection() as connection:
            return await reading.page(connection, call.query)

    return audit


def _counted(one: Counts) -> QueueCounts:
    return QueueCounts(one.queue, one.waiting, one.later, one.running, one.dead, one.oldest_seconds)


def _said(error: str | None) -> str | None:
    """Return an error's first line without what looks like somebody's address: other servers write it."""
    if not error:
        return None
    return _MAILBOX.sub("•••", error.splitlines()[0])[:_LONGEST_ERROR]
