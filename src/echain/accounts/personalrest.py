"""Routes by which people see all that is held of them, and have it erased. No API key opens them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import asyncpg
import msgspec
import structlog

from echain.accounts import confirmations, erasing
from echain.accounts.authentication import Authenticator
from echain.accounts.confirmations import Confirmed
from echain.accounts.erasing import AccountBusy, Export, Part, SectionUnknown, SignInNotFresh
from echain.accounts.types import ConfirmationInvalid, ConfirmationNeeded, WalletNeeded
from echain.chain.contractwallet import ContractWallets, SignatureUnverifiable
from echain.edge.http import SESSIONS_ONLY, Auth, Call, Endpoint, Nothing, Reply, delete, get
from echain.edge.http.limits import LimitReached
from echain.infra.database import AccountGone, Database
from echain.infra.personal import Holding, Section
from echain.infra.quota import Quota, Quotas
from echain.kernel.errors import EchainError

TAG: Final = SESSIONS_ONLY
EXPORTS: Final = Quota("exports", 10, 3_600)
"""Each reads everything that is held of a person."""

_NO_STORE: Final = (("Cache-Control", "no-store"),)
_TRIES: Final = 3

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.accounts")


class SectionPath(msgspec.Struct, frozen=True):
    """A kind of what is held."""

    section: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class Following(msgspec.Struct, frozen=True):
    """Where the rows before ended: ``next`` of the answer that showed them."""

    after: Annotated[str, msgspec.Meta(min_length=1, max_length=400)]


class Erased(msgspec.Struct, frozen=True):
    """The account is gone; signing in again makes a new one. docs/privacy.md says what stays, and why."""

    erased: bool


def endpoints(
    database: Database,
    users: Authenticator,
    quotas: Quotas,
    holdings: Sequence[Holding],
    *,
    wallets: ContractWallets | None,
    refusals: Sequence[type[EchainError]] = (),
) -> list[Endpoint]:
    """Return the routes; ``holdings`` are of every part that keeps anything of people, accounts last.

    Contract wallets are asked through ``wallets`` whether they confirm. ``refusals`` are what parts say
    where others depend on a person.
    """
    return [
        *_showing(database, quotas, erasing.sections_of(holdings)),
        _erasing(database, users, holdings, wallets, refusals),
    ]


def _showing(database: Database, quotas: Quotas, sections: Mapping[str, Section]) -> list[Endpoint]:

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


def _erasing(
    database: Database,
    users: Authenticator,
    holdings: Sequence[Holding],
    wallets: ContractWallets | None,
    refusals: Sequence[type[EchainError]],
) -> Endpoint:
    async def erased(call: Call[Any, Any, Any], confirmed: Confirmed | None) -> None:
        async with database.transaction() as tx:
            if confirmed is not None:
                await confirmations.consume(tx, confirmed)
            # Before: from where this came goes with the rest.
            await call.audit(tx, "account.erased", resource=f"user:{call.user.id}")
            await erasing.erase(tx, call.user.id, holdings, now=call.now)

    @delete(
        "/api/v1/auth/account",
        summary="Erase my account and what is known of me",
        tag=TAG,
        answer=Erased,
        auth=Auth.USER,
        errors=(
            *(ConfirmationNeeded, ConfirmationInvalid, SignatureUnverifiable),
            *(SignInNotFresh, WalletNeeded, AccountGone, AccountBusy, *refusals),
        ),
        description="Confirmed by the wallet: action `account.erase`, the target is your user id. Who has no "
        "wallet signs in anew, at most five minutes before. What stays, and why: docs/privacy.md.",
    )
    async def erase(call: Call[Nothing, Nothing, Nothing]) -> Reply:
        confirmed = None
        if call.user.address is None:
            await erasing.require_fresh(database, call.user, now=call.now)
        else:
            confirmed = await confirmations.verify(
                database,
                wallets,
                call.user,
                call.headers.get(confirmations.HEADER),
                action="account.erase",
                target=str(call.user.id),
                now=call.now,
            )
        for left in reversed(range(_TRIES)):
            try:
                await erased(call, confirmed)
                break
            except (asyncpg.DeadlockDetectedError, AccountBusy):
                # Somebody who told this person something held what was wanted here, and the other way round.
                if not left:
                    raise
        users.forget_all()
        _log.info("accounts.erased")
        return Reply(
            Erased(erased=True),
            headers=_NO_STORE,
            cookies=users.cookies.clear() if call.user.cookie else (),
        )

    return erase
