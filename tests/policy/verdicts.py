"""What the table says becomes of one request: let through, or refused with exactly this status and code."""

from __future__ import annotations

from dataclasses import dataclass

from tests.policy.policies import ROLES, Policy, Who
from tests.policy.world import Caller, Thing

SAFE = ("GET", "HEAD")
DOORS = {Who.GATE: ("gate",), Who.MEMBER_OR_GATE: ("user", "gate")}


@dataclass(frozen=True)
class Refused:
    """How a request that may not be is answered."""

    status: int
    code: str
    or_absent: str = ""
    """The code of a 404 that is as good: two reasons hold, and which one is told gives nothing away."""

    def is_told(self, status: int, code: str) -> bool:
        """Whether an answer is this refusal."""
        return (status, code) == (self.status, self.code) or (status, code) == (404, self.or_absent)


def verdict(
    policies: tuple[Policy, ...], policy: Policy, caller: Caller, thing: Thing | None, *, safe: bool
) -> Refused | None:
    """Return the refusal of a request, None for one that is let through.

    ``policies`` is the route's whole row: where anyone may see some of its things, nobody is asked who they
    are before it is known which thing it is.
    """
    optional = any(each.who is Who.MORE for each in policies)
    if policy.who is Who.ANYONE:
        return _found(policy, thing)
    return _at_the_edge(policy, caller, optional=optional, safe=safe) or _within(policy, caller, thing)


def _found(policy: Policy, thing: Thing | None) -> Refused | None:
    absent = policy.missing and thing is not None and not exists(thing)
    return Refused(404, policy.missing) if absent else None


def exists(thing: Thing) -> bool:
    return thing.there and thing.whose != ""


def _at_the_edge(policy: Policy, caller: Caller, *, optional: bool, safe: bool) -> Refused | None:
    if caller.refused:
        return Refused(401, caller.refused)
    if caller.kind == "nobody":
        return None if optional else Refused(401, "auth.required")
    if policy.who is Who.ADMIN and (not caller.admin or caller.scopes is not None):
        return Refused(403, "auth.administrators_only")
    if not optional and caller.kind not in DOORS.get(policy.who, ("user",)):
        return Refused(403, "auth.forbidden")
    if caller.scopes is not None and policy.scope not in caller.scopes:
        return Refused(403, "auth.scope_missing")
    return Refused(403, "auth.csrf") if caller.forged and not safe else None


def _within(policy: Policy, caller: Caller, thing: Thing | None) -> Refused | None:
    if policy.wallet and not caller.wallet:
        # Of a public thing anybody may know that it is not there.
        return Refused(403, "auth.wallet_needed", or_absent=policy.missing)
    if policy.who in (Who.MEMBER, Who.MEMBER_OR_GATE):
        assert thing is not None, "a member's route names a thing"
        refused = _by_role(policy, caller, thing)
    elif policy.who is Who.GATE:
        assert thing is not None
        refused = None if thing.event and thing.event == caller.event else Refused(404, policy.missing)
    elif policy.who is Who.OWNER:
        assert thing is not None
        refused = None if thing.whose == caller.person else Refused(404, policy.missing)
    else:
        refused = _found(policy, thing)
    if refused is None and policy.confirm and (caller.wallet or not policy.fresh):
        return Refused(403, "auth.confirmation_needed")
    if refused is not None and policy.confirm and policy.who is Who.ADMIN:
        # Administrators see everything: that it is not there need not be hidden from them.
        return Refused(403, "auth.confirmation_needed", or_absent=refused.code)
    return refused


def _by_role(policy: Policy, caller: Caller, thing: Thing) -> Refused | None:
    if caller.kind == "gate" and policy.who is Who.MEMBER_OR_GATE:
        if policy.judged:
            return None
        return None if thing.event and thing.event == caller.event else Refused(404, policy.missing)
    role = caller.roles.get(thing.whose)
    if role is None:
        return Refused(404, policy.within or policy.missing)
    if role not in ROLES[policy.permission]:
        return Refused(403, "organizations.permission_missing")
    return None if thing.there else Refused(404, policy.missing)
