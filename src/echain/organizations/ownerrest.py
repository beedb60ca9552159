"""Routes of what makes and unmakes owners, which the wallet of one signs anew each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from echain.accounts import confirmations
from echain.accounts.confirmations import Confirmed
from echain.accounts.types import ConfirmationInvalid, ConfirmationNeeded, WalletNeeded
from echain.chain.contractwallet import ContractWallets, SignatureUnverifiable
from echain.edge.http import Auth, Call, Endpoint, Nothing, delete, post, put
from echain.infra.database import Database, Tx
from echain.kernel.errors import EchainError
from echain.organizations import managing
from echain.organizations.managing import Change, Holdings
from echain.organizations.rest import MEMBER_ERRORS, PATH, TAG, MemberPath, OrganizationPath
from echain.organizations.types import EventsRunning, Gone, LastOwner, Left, Member, MemberNotFound, Role

CONFIRMATION_ERRORS: Final[Sequence[type[EchainError]]] = (
    ConfirmationNeeded,
    ConfirmationInvalid,
    SignatureUnverifiable,
)


UNMAKE: Final = "organization.unmake_owner"


class NewRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a member is to be."""

    role: Role


class Heir(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The member who is to be the owner."""

    user_id: UUID


class Signatures(msgspec.Struct, frozen=True):
    """Asks for fresh signatures; contract wallets are asked through ``wallets``."""

    database: Database
    wallets: ContractWallets | None

    async def of(self, call: Call[Any, Any, Any], action: str, target: str) -> Confirmed:
        """Return the proof that the caller's wallet signed for this.

        Raises:
            ConfirmationNeeded, ConfirmationInvalid, SignatureUnverifiable: see `confirmations.verify`.
        """
        header = call.headers.get(confirmations.HEADER)
        return await confirmations.verify(
            self.database, self.wallets, call.user, header, action=action, target=target, now=call.now
        )

    async def of_unmaking(self, call: Call[MemberPath, Any, Any]) -> Confirmed | None:
        """Return the proof that the caller's wallet signed for unmaking another owner; None for anybody else.

        Raises:
            OrganizationNotFound, PermissionMissing: see `managing.check_owner`.
            ConfirmationNeeded, ConfirmationInvalid, SignatureUnverifiable: see `confirmations.verify`.
        """
        organization_id, user = call.path.id, call.path.user
        if user == call.user.id or not await managing.owns(self.database, organization_id, user):
            return None
        await managing.check_owner(self.database, call.user, organization_id)
        return await self.of(call, UNMAKE, f"{organization_id}:{user}")


async def _consume(tx: Tx, call: Call[MemberPath, Any, Any], change: Change, proof: Confirmed | None) -> None:
    """Use up what confirmed a change of a role; refuse to unmake who became an owner only meanwhile."""
    if proof is not None:
        await confirmations.consume(tx, proof)
    elif change.before is Role.OWNER and call.path.user != call.user.id:
        raise confirmations.needed(UNMAKE, f"{call.path.id}:{call.path.user}")


def endpoints(database: Database, holdings: Holdings, signatures: Signatures) -> list[Endpoint]:
    """Return the routes of roles, of leaving and removing, of handing over and of deleting."""
    return [
        _role_endpoint(database, signatures),
        _removal_endpoint(database, signatures),
        _hand_over_endpoint(database, signatures),
        _delete_endpoint(database, holdings, signatures),
    ]


def _role_endpoint(database: Database, signatures: Signatures) -> Endpoint:
    @put(
        PATH + "/{id}/members/{user}",
        summary="Change a member's role",
        tag=TAG,
        answer=Member,
        path_params=MemberPath,
        body=NewRole,
        auth=Auth.USER,
        errors=(*MEMBER_ERRORS, MemberNotFound, LastOwner, *CONFIRMATION_ERRORS),
        description="To make somebody an owner asks for a confirmation of `organization.make_owner`, and to "
        "make another owner something else one of `organization.unmake_owner`, with the target "
        "`<organization>:<user>`.",
    )
    async def change(call: Call[MemberPath, Nothing, NewRole]) -> Member:
        organization_id, user, role = call.path.id, call.path.user, call.body.role
        if role is Role.OWNER:
            await managing.check_owner(database, call.user, organization_id)
            proof = await signatures.of(call, "organization.make_owner", f"{organization_id}:{user}")
        else:
            proof = await signatures.of_unmaking(call)
        async with database.transaction() as tx:
            change = await managing.change_role(tx, call.user, organization_id, user, role, now=call.now)
            await _consume(tx, call, change, proof)
            await call.audit(
                tx,
                "member.role_changed",
                resource=f"user:{user}",
                organization=organization_id,
                diff={"role": [change.before, change.after]},
            )
            return await managing.member(tx, organization_id, user)

    return change


def _removal_endpoint(database: Database, signatures: Signatures) -> Endpoint:
    @delete(
        PATH + "/{id}/members/{user}",
        summary="Remove a member, or leave",
        tag=TAG,
        answer=Left,
        path_params=MemberPath,
        auth=Auth.USER,
        errors=(*MEMBER_ERRORS, MemberNotFound, LastOwner, *CONFIRMATION_ERRORS),
        description="Everybody may remove themselves; owners anybody, managers those at gates. To remove "
        f"another owner asks for a confirmation of `{UNMAKE}` with the target `<organization>:<user>`.",
    )
    async def remove(call: Call[MemberPath, Nothing, Nothing]) -> Left:
        user = call.path.user
        proof = await signatures.of_unmaking(call)
        async with database.transaction() as tx:
            change = await managing.remove_member(tx, call.user, call.path.id, user, now=call.now)
            await _consume(tx, call, change, proof)
            await call.audit(
                tx,
                "member.left" if user == call.user.id else "member.removed",
                resource=f"user:{user}",
                organization=call.path.id,
                diff={"role": [change.before, None]},
            )
        return Left(user)

    return remove


def _hand_over_endpoint(database: Database, signatures: Signatures) -> Endpoint:
    @post(
        PATH + "/{id}/owner",
        summary="Hand an organization over",
        tag=TAG,
        answer=Member,
        path_params=OrganizationPath,
        body=Heir,
        auth=Auth.USER,
        errors=(*MEMBER_ERRORS, MemberNotFound, WalletNeeded, *CONFIRMATION_ERRORS),
        description="The member is the owner in your place, and you are a manager. Asks for a confirmation "
        "of `organization.hand_over` with the target `<organization>:<user>`.",
    )
    async def hand_over(call: Call[OrganizationPath, Nothing, Heir]) -> Member:
        organization_id, heir = call.path.id, call.body.user_id
        await managing.check_owner(database, call.user, organization_id)
        proof = await signatures.of(call, "organization.hand_over", f"{organization_id}:{heir}")
        async with database.transaction() as tx:
            change = await managing.hand_over(tx, call.user, organization_id, heir, now=call.now)
            await confirmations.consume(tx, proof)
            await call.audit(
                tx,
                "organization.handed_over",
                resource=f"user:{heir}",
                organization=organization_id,
                diff={"role": [change.before, change.after]},
            )
            return await managing.member(tx, organization_id, heir)

    return hand_over


def _delete_endpoint(database: Database, holdings: Holdings, signatures: Signatures) -> Endpoint:
    @delete(
        PATH + "/{id}",
        summary="Delete an organization",
        tag=TAG,
        answer=Gone,
        path_params=OrganizationPath,
        auth=Auth.USER,
        errors=(*MEMBER_ERRORS, EventsRunning, WalletNeeded, *CONFIRMATION_ERRORS),
        description="Its drafts go with it; its wallets are their users' alone again. Asks for a "
        "confirmation of `organization.delete` with the organization's id as target.",
    )
    async def end(call: Call[OrganizationPath, Nothing, Nothing]) -> Gone:
        organization_id = call.path.id
        await managing.check_owner(database, call.user, organization_id)
        proof = await signatures.of(call, "organization.delete", str(organization_id))
        async with database.transaction() as tx:
            await managing.delete(tx, call.user, organization_id, holdings, now=call.now)
            await confirmations.consume(tx, proof)
            await call.audit(
                tx,
                "organization.deleted",
                resource=f"organization:{organization_id}",
                organization=organization_id,
            )
        return Gone(organization_id)

    return end
