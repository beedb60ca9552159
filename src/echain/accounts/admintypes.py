"""What administrators of the platform see and do about people, and each reason to refuse it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from echain.edge.http import AddressText
from echain.kernel.errors import EchainError, Kind


class Administrator(msgspec.Struct, frozen=True, rename="camel"):
    """A wallet that administers the platform.

    ``configured`` ones stand in ECHAIN_ADMINS and cannot be revoked here; they were granted by nobody.
    """

    address: AddressText
    configured: bool
    granted_by: AddressText | None
    granted_at: datetime | None


class NewAdministrator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The wallet that gets the role; it need not have signed in yet."""

    address: AddressText


class AdministratorPath(msgspec.Struct, frozen=True):
    """An administrator in a path."""

    address: AddressText


class User(msgspec.Struct, frozen=True, rename="camel"):
    """A user as administrators see them: nothing that the chain or the platform does not know anyway."""

    id: UUID
    addresses: list[AddressText]
    created_at: datetime
    last_sign_in_at: datetime | None
    suspended_at: datetime | None
    administrator: bool


class UserDetail(User, frozen=True, rename="camel"):
    """With how many live sessions and API keys they have, and when a session was used last."""

    sessions: int
    api_keys: int
    refreshed_at: datetime | None


class UserPath(msgspec.Struct, frozen=True):
    """A user in a path."""

    id: UUID


class UserFilter(msgspec.Struct, frozen=True):
    """A part of the users, the newest first.

    ``search`` is a user's id, a wallet's address, or how one begins, with at least four digits after the 0x.
    """

    search: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^$|^0x[0-9a-fA-F]{4,40}$|^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
            description="A user's id, or the beginning of a wallet's address",
        ),
    ] = ""
    suspended: bool | None = None
    cursor: UUID | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


class AdministratorNotFound(EchainError):
    """This wallet is no administrator of the platform."""

    kind = Kind.NOT_FOUND
    code = "admin.administrator_not_found"


class AlreadyAdministrator(EchainError):
    """This wallet administers the platform already."""

    kind = Kind.CONFLICT
    code = "admin.already_administrator"


class ConfiguredAdministrator(EchainError):
    """This administrator stands in ECHAIN_ADMINS; take the address out there and restart."""

    kind = Kind.CONFLICT
    code = "admin.configured_administrator"


class LastAdministrator(EchainError):
    """This is the last administrator, and ECHAIN_ADMINS names none; appoint another one first."""

    kind = Kind.CONFLICT
    code = "admin.last_administrator"


class AdministratorProtected(EchainError):
    """Administrators cannot be suspended; revoke the role first."""

    kind = Kind.CONFLICT
    code = "admin.administrator_protected"


class UserNotFound(EchainError):
    """There is no such user."""

    kind = Kind.NOT_FOUND
    code = "admin.user_not_found"


class AlreadySuspended(EchainError):
    """This user is suspended already."""

    kind = Kind.CONFLICT
    code = "admin.already_suspended"


class NotSuspended(EchainError):
    """This user is not suspended."""

    kind = Kind.CONFLICT
    code = "admin.not_suspended"


class UserSuspended(EchainError):
    """This account is suspended; ask the platform's administrators."""

    kind = Kind.FORBIDDEN
    code = "auth.user_suspended"
