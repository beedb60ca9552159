"""One entry of the audit log: who did what to which thing, written where it is done."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from echain.infra.audit.redaction import Diff, redacted, scrubbed
from echain.infra.database import Tx
from echain.kernel.evm import Address
from echain.kernel.ids import uuid7

Kind: TypeAlias = Literal["user", "gate", "operator", "system", "anonymous"]

_ACTION: Final = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_.]*")
_RESOURCE: Final = re.compile(r"[a-z][a-z_]*:[A-Za-z0-9:._-]{1,160}")
_ACTOR: Final = re.compile(r"[A-Za-z0-9 :._-]{0,80}")

_RECORD: Final = """
    WITH client AS (
        INSERT INTO audit_clients (entry_id, sealed) SELECT $1::uuid, $12::bytea WHERE $12 IS NOT NULL
    )
    INSERT INTO audit_entries (id, organization_id, at, actor_kind, actor_id, actor_address, credential,
                               action, resource, request_id, client, diff)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $13)
"""


class Actor(msgspec.Struct, frozen=True):
    """Who acts. ``credential`` is what they showed: ``session:<id>``, ``key:<id>`` or nothing."""

    kind: Kind
    id: str
    address: Address | None = None
    credential: str = ""


SYSTEM: Final = Actor("system", "echain")
"""What the platform does by itself: jobs, senders, the sealer."""

ANONYMOUS: Final = Actor("anonymous", "")
"""Who came without credentials, as the reader of a mail does."""


class Client(msgspec.Struct, frozen=True):
    """Where a request came from: a commitment for the entry, and the sealed address beside it."""

    commitment: bytes
    sealed: bytes


class Mark(msgspec.Struct, frozen=True):
    """What an entry says of who acts and from where, for a statement that writes the entry by itself."""

    actor: Actor
    request_id: str = ""
    client: Client | None = None
    entry_id: UUID = msgspec.field(default_factory=uuid7)


def operator(name: str) -> Actor:
    """Return who works at the command line, by the name of their account on that machine."""
    return Actor("operator", re.sub(r"[^A-Za-z0-9 :._-]", "_", name)[:80])


async def record(
    tx: Tx,
    actor: Actor,
    action: str,
    *,
    resource: str,
    now: datetime,
    organization: UUID | None = None,
    diff: Diff | None = None,
    request_id: str = "",
    client: Client | None = None,
    entry_id: UUID | None = None,
) -> None:
    """Write one entry that exists if and only if ``tx`` commits; take the locks of the change before it.

    ``action`` is ``thing.done`` as a literal where it is used, ``resource`` is ``kind:id``. No
    ``organization`` puts it into the platform's chain. Of ``diff`` only declared fields show their values,
    see `redaction`. ``entry_id`` must be what ``client`` was sealed for.

    Raises:
        ValueError: ``action``, ``resource`` or the actor's id has another shape.
    """
    values = values_of(
        actor,
        action,
        resource=resource,
        now=now,
        organization=organization,
        diff=diff,
        request_id=request_id,
        client=client,
        entry_id=entry_id,
    )
    await tx.execute(_RECORD, *values)


def values_of(
    actor: Actor,
    action: str,
    *,
    resource: str,
    now: datetime,
    organization: UUID | None = None,
    diff: Diff | None = None,
    request_id: str = "",
    client: Client | None = None,
    entry_id: UUID | None = None,
) -> tuple[object, ...]:
    """Return what `record` writes, in its order, for a statement that writes more than the entry."""
    if not _ACTION.fullmatch(action):
        raise ValueError(f"{action!r} is no action; write thing.done")
    if not _RESOURCE.fullmatch(resource):
        raise ValueError("a resource is kind:id, of letters, digits and ._:-")
    if not _ACTOR.fullmatch(actor.id):
        raise ValueError("an actor's id has letters, digits and ._:- only")
    return (
        uuid7() if entry_id is None else entry_id,
        organization,
        now,
        actor.kind,
        actor.id,
        actor.address,
        actor.credential,
        action,
        resource,
        scrubbed(request_id),
        None if client is None else client.commitment,
        None if client is None else client.sealed,
        redacted(diff or {}),
    )
