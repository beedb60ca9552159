"""Routes by which administrators manage each other and suspend users."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from echain.accounts import admins, confirmations
from echain.accounts.admins import Administrators
from echain.accounts.admintypes import (
    Administrator,
    AdministratorNotFound,
    AdministratorPath,
    AdministratorProtected,
    AlreadyAdministrator,
    AlreadySuspended,
    ConfiguredAdministrator,
    LastAdministrator,
    NewAdministrator,
    NotSuspended,
    User,
    UserDetail,
    UserFilter,
    UserNotFound,
    UserPath,
    UserSuspended,
)
from echain.accounts.authentication import Authenticator
from echain.accounts.confirmations import Confirmed
from echain.accounts.types import ConfirmationInvalid, ConfirmationNeeded
from echain.chain.contractwallet import ContractWallets, SignatureUnverifiable
from echain.edge.http import Auth, Call, Endpoint, Nothing, delete, get, post
from echain.infra.database import Database
from echain.kernel.evm import checksum, parse_address
from echain.kernel.paging import Page

TAG: Final = "admin"

_CONFIRMED: Final = (ConfirmationNeeded, ConfirmationInvalid, SignatureUnverifiable)
_ASKS: Final = " Asks for a fresh signature: `POST /api/v1/auth/confirmations` with "


def endpoints(
    database: Database,
    authenticator: Authenticator,
    administrators: Administrators,
    wallets: ContractWallets | None = None,
) -> list[Endpoint]:
    """Return the routes under ``/api/v1/admin`` that are about people.

    Signatures of contract wallets are asked for through ``wallets``.
    """
    desk = _Desk(database, authenticator, administrators, wallets)
    return [*_administrators(desk), *_users(desk), *_suspending(desk)]


class _Desk:
    """What the routes share."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        administrators: Administrators,
        wallets: ContractWallets | None,
    ) -> None:
        self.database = database
        self.authenticator = authenticator
        self.administrators = administrators
        self._wallets = wallets

    async def confirmed(self, call: Call[Any, Nothing, Any], action: str, target: str) -> Confirmed:
        """Return the proof that the caller's wallet has just signed for this.

        Raises:
            ConfirmationNeeded, ConfirmationInvalid, SignatureUnverifiable: as `confirmations.verify` says.
        """
        return await confirmations.verify(
            self.database,
            self._wallets,
            call.user,
            call.headers.get(confirmations.HEADER),
            action=action,
            target=target,
            now=call.now,
        )


def _administrators(desk: _Desk) -> list[Endpoint]:
    @get(
        "/api/v1/admin/admins",
        summary="List the platform's administrators",
        tag=TAG,
        answer=list[Administrator],
        auth=Auth.ADMIN,
    )
    async def listed(_: Call[Nothing, Nothing, Nothing]) -> list[Administrator]:
        return await desk.administrators.listed(desk.database)

    @post(
        "/api/v1/admin/admins",
        summary="Make a wallet an administrator",
        tag=TAG,
        answer=Administrator,
        body=NewAdministrator,
        status=201,
        auth=Auth.ADMIN,
        errors=(AlreadyAdministrator, UserSuspended, *_CONFIRMED),
        description="The wallet need not have signed in yet."
        + _ASKS
        + "the action `admin.grant` and the address in its EIP-55 spelling as its target.",
    )
    async def grant(call: Call[Nothing, Nothing, NewAdministrator]) -> Administrator:
        address = parse_address(call.body.address)
        proof = await desk.confirmed(call, "admin.grant", checksum(address))
        async with desk.database.transaction() as tx:
            await confirmations.consume(tx, proof)
            granted, users = await desk.administrators.grant(tx, call.user.address, address, now=call.now)
            await call.audit(tx, "admin.granted", resource=f"wallet:{checksum(address)}")
        desk.authenticator.forget(set(users))
        return granted

    @delete(
        "/api/v1/admin/admins/{address}",
        summary="Take the role from an administrator",
        tag=TAG,
        answer=list[Administrator],
        path_params=AdministratorPath,
        auth=Auth.ADMIN,
        errors=(AdministratorNotFound, ConfiguredAdministrator, LastAdministrator, *_CONFIRMED),
        description="Answers with those who are left."
        + _ASKS
        + "the action `admin.revoke` and the address in its EIP-55 spelling as its target.",
    )
    async def revoke(call: Call[AdministratorPath, Nothing, Nothing]) -> list[Administrator]:
        address = parse_address(call.path.address)
        proof = await desk.confirmed(call, "admin.revoke", checksum(address))
        async with desk.database.transaction() as tx:
            await confirmations.consume(tx, proof)
            users = await desk.administrators.revoke(tx, call.user.address, address)
            await call.audit(tx, "admin.revoked", resource=f"wallet:{checksum(address)}")
        desk.authenticator.forget(set(users))
        return await desk.administrators.listed(desk.database)

    return [listed, grant, revoke]


def _users(desk: _Desk) -> list[Endpoint]:
    @get(
        "/api/v1/admin/users",
        summary="List users, or find one by wallet or id",
        tag=TAG,
        answer=list[User],
        query=UserFilter,
        auth=Auth.ADMIN,
    )
    async def users(call: Call[Nothing, UserFilter, Nothing]) -> Page[User]:
        return await desk.administrators.users(desk.database, call.query)

    @get(
        "/api/v1/admin/users/{id}",
        summary="Show a user",
        tag=TAG,
        answer=UserDetail,
        path_params=UserPath,
        auth=Auth.ADMIN,
        errors=(UserNotFound,),
    )
    async def user(call: Call[UserPath, Nothing, Nothing]) -> UserDetail:
        return await desk.administrators.user(desk.database, call.path.id, now=call.now)

    return [users, user]


def _suspending(desk: _Desk) -> list[Endpoint]:
    @post(
        "/api/v1/admin/users/{id}/suspend",
        summary="End a user's sessions and keys, and let them in no more",
        tag=TAG,
        answer=UserDetail,
        path_params=UserPath,
        auth=Auth.ADMIN,
        errors=(UserNotFound, AlreadySuspended, AdministratorProtected, *_CONFIRMED),
        description="Their tickets stay theirs, and their events go on: the chain knows no suspension."
        + _ASKS
        + "the action `user.suspend` and the user's id as its target.",
    )
    async def suspend(call: Call[UserPath, Nothing, Nothing]) -> UserDetail:
        user_id = call.path.id
        proof = await desk.confirmed(call, "user.suspend", str(user_id))
        async with desk.database.transaction() as tx:
            await confirmations.consume(tx, proof)
            ended = await desk.administrators.suspend(tx, user_id, now=call.now)
            await call.audit(tx, "user.suspended", resource=f"user:{user_id}")
        desk.authenticator.forget(set(ended))
        return await _shown(desk, user_id, call)

    @post(
        "/api/v1/admin/users/{id}/reinstate",
        summary="Let a suspended user sign in again",
        tag=TAG,
        answer=UserDetail,
        path_params=UserPath,
        auth=Auth.ADMIN,
        errors=(UserNotFound, NotSuspended, *_CONFIRMED),
        description="Sessions and keys that were ended stay so."
        + _ASKS
        + "the action `user.reinstate` and the user's id as its target.",
    )
    async def reinstate(call: Call[UserPath, Nothing, Nothing]) -> UserDetail:
        user_id = call.path.id
        proof = await desk.confirmed(call, "user.reinstate", str(user_id))
        async with desk.database.transaction() as tx:
            await confirmations.consume(tx, proof)
            await admins.reinstate(tx, user_id)
            await call.audit(tx, "user.reinstated", resource=f"user:{user_id}")
        return await _shown(desk, user_id, call)

    return [suspend, reinstate]


async def _shown(desk: _Desk, user_id: UUID, call: Call[UserPath, Nothing, Nothing]) -> UserDetail:
    return await desk.administrators.user(desk.database, user_id, now=call.now)
