"""Routes by which people see all that is held of them, and have it erased. No API key opens them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from echain.accounts import erasing
from echain.accounts.erasing import AccountGone, Export, Part, SectionUnknown
from echain.edge.http import SESSIONS_ONLY, Auth, Call, Endpoint, Nothing, Reply, get
from echain.edge.http.limits import LimitReached
from echain.infra.database import Database
from echain.infra.personal import Holding
from echain.infra.quota import Quota, Quotas

TAG: Final = SESSIONS_ONLY
EXPORTS: Final = Quota("exports", 10, 3_600)
"""Each reads everything that is held of a person."""

_NO_STORE: Final = (("Cache-Control", "no-store"),)
_TRIES: Final = 3


class SectionPath(msgspec.Struct, frozen=True):
    """A kind of what is held."""

    section: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class Following(msgspec.Struct, frozen=True):
    """Where the rows before ended: ``next`` of the answer that showed them."""

    after: Annotated[str, msgspec.Meta(min_length=1, max_length=400)]


class Erased(msgspec.Struct, frozen=True):
    """The account is gone; signing in again makes a new one. docs/privacy.md says what stays, and why."""

    erased: bool


def endpoints(database: Database, quotas: Quotas, holdings: Sequence[Holding]) -> list[Endpoint]:
    """Return the routes; ``holdings`` are of every part that keeps anything of people, accounts last."""
    sections = erasing.sections_of(holdings)

    @get(
        "/api/v1/auth/export",
        summary="Show all that is held of me",
        tag=TAG,
        answer=Export,
        auth=Auth.USER,
        errors=(LimitReached, AccountGone),
        description="Each kind's first 500 rows; where `next` is set, ask /auth/export/{section} for more.",
    )
    async def export(call: Call[Nothing, Nothing, Nothing]) -> Reply:
        turn = await quotas.take(EXPORTS, str(call.user.id))
        if not turn.given:
            raise LimitReached(retryAfterSeconds=max(1, turn.seconds), quota=EXPORTS.name, most=EXPORTS.most)
        async with database.transaction() as tx:
            # One snapshot: what moves from one part to another meanwhile is shown once.
            await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            shown = await erasing.export(tx, call.user.id, sections, now=call.now)
        return Reply(shown, headers=_NO_STORE)

    @get(
        "/api/v1/auth/export/{section}",
        summary="Show the next rows of one kind of what is held of me",
        tag=TAG,
        answer=Part,
        auth=Auth.USER,
        path_params=SectionPath,
        query=Following,
        errors=(SectionUnknown, AccountGone),
    )
    async def following(call: Call[SectionPath, Following, Nothing]) -> Reply:
        section = sections.get(call.path.section)
        if section is None:
            raise SectionUnknown
        async with database.connection() as connection:
            part = await erasing.rest(connection, call.user.id, section, after=call.query.after)
        return Reply(part, headers=_NO_STORE)

    return [export, following]
