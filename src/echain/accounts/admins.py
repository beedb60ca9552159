"""The platform's administrators, and what they may do to accounts.

An administrator is a wallet: one of ECHAIN_ADMINS, or one that an administrator appointed. Only sessions that
this wallet signed in have the role: dangerous actions ask it for a signature anyway, and who can sign in
for its owner in another way gets no further.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from uuid import UUID

from echain.accounts import adminstore, store
from echain.accounts.admintypes import (
    Administrator,
    AdministratorNotFound,
    AdministratorProtected,
    AlreadyAdministrator,
    AlreadySuspended,
    ConfiguredAdministrator,
    LastAdministrator,
    NotSuspended,
    User,
    UserDetail,
    UserFilter,
    UserNotFound,
    UserSuspended,
)
from echain.edge.http.errors import AdministratorsOnly
from echain.infra import outbox
from echain.infra.database import Connection, Database, Row, Tx
from echain.kernel.evm import Address, checksum
from echain.kernel.messages import Message
from echain.kernel.paging import Page, PageInfo

_PLATFORM = "platform"
_ADDRESS_DIGITS = 40


Leave = Callable[[Tx, UUID, datetime], Awaitable[None]]
"""Ends what slices above keep open in the name of a user who is suspended; `entry` hands it in."""


class Administrators:
    """Knows the administrators: those of the configuration, and with the database the appointed ones."""

    def __init__(self, configured: Collection[Address] = (), leave: Leave | None = None) -> None:
        self.configured = frozenset(configured)
        self._leave = leave

    async def include(self, database: Database | Connection, address: Address | None) -> bool:
        """Return whether a wallet administers the platform now."""
        if address is None:
            return False
        return address in self.configured or await adminstore.is_granted(database, address)

    async def wallets(self, connection: Database | Connection) -> list[Address]:
        """Return all administrators' wallets, those of the configuration first."""
        granted = [Address(row["address"]) for row in await adminstore.granted(connection)]
        return [*sorted(self.configured), *(one for one in granted if one not in self.configured)]

    async def listed(self, connection: Database | Connection) -> list[Administrator]:
        """Return all administrators, those of the configuration first."""
        rows = await adminstore.granted(connection)
        return [
            *(Administrator(checksum(one), True, None, None) for one in sorted(self.configured)),
            *(
                Administrator(
                    checksum(Address(row["address"])),
                    False,
                    checksum(Address(row["granted_by"])),
                    row["granted_at"],
                )
                for row in rows
                if row["address"] not in self.configured
            ),
        ]

    async def grant(
        self, tx: Tx, by: Address | None, address: Address, *, now: datetime
    ) -> tuple[Administrator, Sequence[UUID]]:
        """Give a wallet the role; return it with its user, to be forgotten once this has committed.

        Raises:
            AdministratorsOnly: who gives it has lost it meanwhile.
            AlreadyAdministrator: the wallet has it.
            UserSuspended: it is a suspended user's.
        """
        # Users before the table, here and in `suspend`.
        for row in await store.users_of(tx, [address]):
            if await adminstore.suspended(tx, row["user_id"]):
                raise UserSuspended
        granter = self._administrator(await adminstore.lock_granted(tx), by)
        if address in self.configured or not await adminstore.grant(tx, address, granter, now=now):
            raise AlreadyAdministrator
        users = await _changed(tx, granter, address, granted=True)
        return Administrator(checksum(address), False, checksum(granter), now), users

    async def revoke(self, tx: Tx, by: Address | None, address: Address) -> Sequence[UUID]:
        """Take the role from a wallet; return its user, to be forgotten once this has committed.

        Administrators who revoke each other at the same time take turns: one of them stays.

        Raises:
            AdministratorsOnly: who takes it has lost it meanwhile.
            ConfiguredAdministrator: ECHAIN_ADMINS gives it.
            AdministratorNotFound: the wallet does not have it.
            LastAdministrator: nobody would have it then.
        """
        granted = await adminstore.lock_granted(tx)
        revoker = self._administrator(granted, by)
        if address in self.configured:
            raise ConfiguredAdministrator
        if address not in granted:
            raise AdministratorNotFound
        if not self.configured and granted == {address}:
            raise LastAdministrator
        await adminstore.revoke(tx, address)
        return await _changed(tx, revoker, address, granted=False)

    async def suspend(self, tx: Tx, user_id: UUID, *, now: datetime) -> Sequence[UUID]:
        """End all of a user's sessions and keys and let them in no more; return what was live.

        What they offered in organizations ends too.

        Raises:
            UserNotFound, AlreadySuspended: as they say.
            AdministratorProtected: one of the user's wallets administers the platform.
        """
        done = await adminstore.suspend(tx, user_id, now=now)
        if done is None:
            raise UserNotFound
        if not done:
            raise AlreadySuspended
        granted = await adminstore.lock_granted(tx)
        if (granted | self.configured) & set(await store.addresses_of(tx, user_id)):
            raise AdministratorProtected
        ended = await adminstore.end_everything(tx, user_id, now=now)
        if self._leave is not None:
            await self._leave(tx, user_id, now)
        return ended

    async def users(self, database: Database, part: UserFilter) -> Page[User]:
        """Return a part of the users, the newest first, or those that are searched for."""
        rows = await _searched(database, part)
        admins = set(await self.wallets(database))
        shown = [_user(row, admins) for row in rows[: part.limit]]
        following = str(shown[-1].id) if len(rows) > part.limit and not part.search else None
        return Page(shown, PageInfo(per_page=part.limit, next_cursor=following))

    async def user(self, database: Database, user_id: UUID, *, now: datetime) -> UserDetail:
        """Return one user.

        Raises:
            UserNotFound: there is none of this id.
        """
        row = await adminstore.user(database, user_id)
        if row is None:
            raise UserNotFound
        usage = await adminstore.usage(database, user_id, now=now)
        user = _user(row, set(await self.wallets(database)))
        return UserDetail(
            **{field: getattr(user, field) for field in User.__struct_fields__},
            sessions=usage["sessions"],
            api_keys=usage["keys"],
            refreshed_at=usage["refreshed_at"],
        )

    def _administrator(self, granted: set[Address], address: Address | None) -> Address:
        if address is None or (address not in self.configured and address not in granted):
            raise AdministratorsOnly
        return address


async def _changed(tx: Tx, by: Address, address: Address, *, granted: bool) -> Sequence[UUID]:
    told = {"address": checksum(address), "granted": granted, "by": checksum(by)}
    await outbox.publish(tx, [Message((_PLATFORM,), "admin_changed", told)])
    return await adminstore.tell_role_changed(tx, address)


async def reinstate(tx: Tx, user_id: UUID) -> None:
    """Let a suspended user sign in again; sessions and keys that ended stay so.

    Raises:
        UserNotFound, NotSuspended: as they say.
    """
    done = await adminstore.reinstate(tx, user_id)
    if done is None:
        raise UserNotFound
    if not done:
        raise NotSuspended


async def _searched(database: Database, part: UserFilter) -> Sequence[Row]:
    if part.search.startswith("0x"):
        digits = part.search[2:]
        first, last = (bytes.fromhex(digits.ljust(_ADDRESS_DIGITS, filling)) for filling in "0f")
        return await adminstore.users_by_wallet(database, first, last, limit=part.limit)
    if part.search:
        row = await adminstore.user(database, UUID(part.search))
        return [] if row is None else [row]
    return await adminstore.users(
        database, suspended=part.suspended, before=part.cursor, limit=part.limit + 1
    )


def _user(row: Row, admins: set[Address]) -> User:
    addresses = [Address(one) for one in row["addresses"] or ()]
    return User(
        id=row["id"],
        addresses=[checksum(one) for one in addresses],
        created_at=row["created_at"],
        last_sign_in_at=row["last_sign_in_at"],
        suspended_at=row["suspended_at"],
        administrator=not admins.isdisjoint(addresses),
    )
