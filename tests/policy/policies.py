"""How the table of routes says who may: one `Policy` a route, or one for each kind of thing a route names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Who(Enum):
    """Who may call."""

    ANYONE = "anyone; credentials are not looked at"
    MORE = "anyone; who signed in may see more, and credentials that do not hold are refused"
    SIGNED_IN = "every signed-in user; what it shows and changes is the caller's own"
    OWNER = "the user or wallet whose thing it is"
    MEMBER = "members of the thing's organization whose role has the permission"
    GATE = "the gate that the path names"
    MEMBER_OR_GATE = "such members, or a gate of that event"
    ADMIN = "administrators of the platform"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Who may call one route.

    ``of`` is the kind of thing that the request names, a word that the scenario knows; where it names
    none, nothing can be foreign. ``missing`` is the code of the 404 that answers for a thing that does not
    exist, and in the same words for one with which the caller has nothing to do; ``within`` is that of the
    enclosing thing, where the path names two and it is the inner one that ``of`` is about. ``scope`` is what
    an API key of somebody who may needs; without one no key opens the route. ``wallet`` routes refuse users
    who signed in without one. ``confirm`` names the action of the fresh signature that is asked for; with
    ``fresh`` whoever has no wallet to sign with has signed in anew instead. Where it is ``judged`` a gate is
    let through whatever it shows, and hears a verdict.
    """

    who: Who
    of: str = ""
    missing: str = ""
    within: str = ""
    permission: str = ""
    scope: str = ""
    wallet: bool = False
    confirm: str = ""
    fresh: bool = False
    judged: bool = False


def anyone(of: str = "", missing: str = "") -> Policy:
    return Policy(who=Who.ANYONE, of=of, missing=missing)


def more(of: str = "", missing: str = "", scope: str = "") -> Policy:
    return Policy(who=Who.MORE, of=of, missing=missing, scope=scope)


def signed_in(
    scope: str = "",
    *,
    of: str = "",
    missing: str = "",
    wallet: bool = False,
    confirm: str = "",
    fresh: bool = False,
) -> Policy:
    """With ``of`` the thing is public: who has nothing to do with it may still do this to it."""
    return Policy(
        who=Who.SIGNED_IN, of=of, missing=missing, scope=scope, wallet=wallet, confirm=confirm, fresh=fresh
    )


def owner(of: str, missing: str, scope: str = "", *, wallet: bool = False, confirm: str = "") -> Policy:
    return Policy(who=Who.OWNER, of=of, missing=missing, scope=scope, wallet=wallet, confirm=confirm)


def member(
    of: str,
    permission: str,
    missing: str,
    scope: str = "",
    *,
    wallet: bool = False,
    confirm: str = "",
    within: str = "",
) -> Policy:
    return Policy(
        who=Who.MEMBER,
        of=of,
        permission=permission,
        missing=missing,
        within=within,
        scope=scope,
        wallet=wallet,
        confirm=confirm,
    )


def gate(of: str, missing: str) -> Policy:
    return Policy(who=Who.GATE, of=of, missing=missing)


def member_or_gate(
    of: str, permission: str, missing: str, scope: str = "", *, judged: bool = False
) -> Policy:
    return Policy(
        who=Who.MEMBER_OR_GATE,
        of=of,
        permission=permission,
        missing=missing,
        scope=scope,
        judged=judged,
    )


def admin(of: str = "", missing: str = "", *, confirm: str = "") -> Policy:
    return Policy(who=Who.ADMIN, of=of, missing=missing, confirm=confirm)


ROLES: Final[dict[str, frozenset[str]]] = {
    "MEMBERSHIP": frozenset({"owner", "manager", "finance", "gate"}),
    "EVENTS_READ": frozenset({"owner", "manager", "finance"}),
    "EVENTS_WRITE": frozenset({"owner", "manager"}),
    "EVENTS_PUBLISH": frozenset({"owner", "manager"}),
    "SALES_READ": frozenset({"owner", "manager", "finance"}),
    "ATTENDEES_READ": frozenset({"owner", "manager", "gate"}),
    "MONEY": frozenset({"owner", "finance"}),
    "GATES": frozenset({"owner", "manager"}),
    "ADMIT": frozenset({"owner", "manager", "gate"}),
    "WEBHOOKS": frozenset({"owner", "manager"}),
    "GATE_STAFF": frozenset({"owner", "manager"}),
    "MEMBERS": frozenset({"owner"}),
    "AUDIT_READ": frozenset({"owner", "manager"}),
}
"""Which roles have a permission, as it was decided; the code says it a second time. To be a member at all is
none of the code's permissions."""
