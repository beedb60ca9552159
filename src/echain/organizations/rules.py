"""Which role allows what, who may make whom what, and how much of everything there may be; pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from echain.kernel.errors import invalid_field
from echain.organizations.types import Permission, Role

MOST_MEMBERS: Final = 200
MOST_WALLETS: Final = 20
MOST_ORGANIZATIONS: Final = 50
"""Of which one user is a member; those that first drafts make are not counted."""

INVITATION_LIFE: Final = timedelta(days=7)
MOST_OPEN: Final = 50
INVITATIONS_A_DAY: Final = 100
"""Of one user, and of one organization."""
MAILS_A_DAY: Final = 20
"""Of one user, and of one organization: anybody may begin one, and must not mail the world from here."""
MAILS_TO_ONE_A_DAY: Final = 3
"""Whoever invites: an address whose owner never asked for mail gets no more than this."""

LONGEST_NAME: Final = 80
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of what shows nothing, or turns the direction of what does."""
_MOST_MARKS: Final = 2
_LINKS: Final = re.compile(r"://|\bwww\.", re.IGNORECASE)

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


def name_of(text: str, *, path: str = "name") -> str:
    """Return a name as it is kept: in NFC, without white space around it or runs of it inside.

    Raises:
        Invalid: nothing is left, it is longer than 80 characters, it holds a link, or what cannot be seen or
            covers its neighbours: control and format characters, and more than two marks on one letter.
    """
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not name:
        raise invalid_field(path, "is blank")
    if len(name) > LONGEST_NAME:
        raise invalid_field(path, f"is longer than {LONGEST_NAME} characters")
    if _LINKS.search(name):
        raise invalid_field(path, "holds a link; names are mailed to people who never asked for mail")
    marks = 0
    for character in name:
        category = unicodedata.category(character)
        if category in _UNSEEN:
            raise invalid_field(path, f"holds U+{ord(character):04X}, which cannot be seen")
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if marks > _MOST_MARKS:
            raise invalid_field(path, "piles marks upon a letter")
    return name


def hint_of(email: str) -> str:
    """Return as much of an address as reminds those who know it: the first letter and the domain's end."""
    local, _, domain = email.partition("@")
    return f"{local[:1]}…@…{domain[domain.rfind('.') :]}"
