"""Which role allows what, and who may make whom what; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echain.organizations.types import Permission, Role

GRANTS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.OWNER: frozenset(Permission),
    Role.MANAGER: frozenset(Permission) - {Permission.MONEY, Permission.MEMBERS},
    Role.FINANCE: frozenset({Permission.EVENTS_READ, Permission.SALES_READ, Permission.MONEY}),
    Role.GATE: frozenset({Permission.ADMIT, Permission.ATTENDEES_READ}),
}
"""What each role allows. `docs/organizations.md` shows it as a table, and a test compares them."""

STAFFS: Final[Mapping[Role, frozenset[Role]]] = {
    Role.OWNER: frozenset(Role),
    Role.MANAGER: frozenset({Role.GATE}),
    Role.FINANCE: frozenset(),
    Role.GATE: frozenset(),
}
"""Into which roles each role may invite, and from which it may remove."""


def allows(role: Role, permission: Permission) -> bool:
    """Return whether a role allows something."""
    return permission in GRANTS[role]


def roles_with(permission: Permission) -> list[Role]:
    """Return the roles that allow something."""
    return [role for role in Role if permission in GRANTS[role]]


def may_staff(role: Role, other: Role) -> bool:
    """Return whether somebody in ``role`` may invite people to ``other``, and remove them from it."""
    return other in STAFFS[role]
