"""Every route, called by everybody, about what is theirs, what is others' and what there is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from tests.edge.http_client import Answered
from tests.policy.policies import Policy, Who
from tests.policy.program import policies_of
from tests.policy.requests import BODIES, QUERIES, RAW, REFUSES_ALL, body_of, path_of
from tests.policy.routes import ROUTES
from tests.policy.verdicts import SAFE, Refused, verdict
from tests.policy.world import MISSING, Caller, Thing, World

PAGE = "a page"
"""What stands for the code of an error that is told to people."""


def things_for(made: World, policy: Policy, caller: Caller) -> Iterator[tuple[str, Thing | None]]:
    """Yield what a caller is tried with: of what belongs to people, their own and one other's."""
    if not policy.of:
        yield "", None
        return
    known = made.things[policy.of]
    if policy.who is not Who.OWNER:
        yield from known.items()
        return
    other = "other attendee" if caller.person != "other attendee" else "attendee"
    for whose in (caller.person, other, MISSING):
        if whose in known:
            yield whose, known[whose]


def wrong(name: str, answer: Answered, expected: Refused | None) -> str:
    """Return what is wrong with an answer, nothing when it is as the table says.

    Who is let through may hear that it cannot be done now or like this: any 400 or 409 is taken, whatever its
    code, for which one it is depends on the state of the thing, and the slices' tests judge that.
    """
    if expected is not None:
        code = code_of(answer)
        if expected.is_told(answer.status, expected.code if code == PAGE else code):
            return ""
        return f"{answer.status} {code} instead of {expected.status} {expected.code}"
    code = code_of(answer)
    if REFUSES_ALL.get(name) == code:
        return ""
    judged = answer.status in (401, 403, 422, 429) or answer.status >= 500
    missing = {each.missing for each in policies_of(name)} - {""}
    policy_code = answer.status == 404 and bool(missing) and code in {*missing, PAGE}
    return f"{answer.status} {code} instead of being let through" if judged or policy_code else ""


def code_of(answer: Answered) -> str:
    kind = answer.header("content-type") or ""
    if answer.status < 400:
        return ""
    if kind.startswith("text/html"):
        return PAGE
    return answer.json["error"]["code"]


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(ROUTES))
async def test_everybody_gets_what_the_table_says(everything: World, name: str) -> None:
    """Each cell is one request, whose effect is undone."""
    method = name.partition(" ")[0]
    row = policies_of(name)
    found: list[str] = []
    words: dict[str, set[str]] = {}
    for policy in row:
        for caller in everything.callers:
            for whose, thing in things_for(everything, policy, caller):
                expected = verdict(row, policy, caller, thing, safe=method in SAFE)
                answer = await everything.send(
                    caller, method, path_of(name, thing), body=body_of(name, thing), raw=RAW.get(name, b"")
                )
                problem = wrong(name, answer, expected)
                if problem:
                    found.append(f"{caller.name}, {whose} {policy.of}: {problem}")
                if answer.status == 404 and expected is not None and expected.status == 404:
                    words.setdefault(f"{caller.name}: {expected.code}", set()).add(message_of(answer))
                if policy.judged and caller.kind == "gate" and thing and thing.event != caller.event:
                    assert answer.data["verdict"] != "admitted", (caller.name, whose)
    assert not found, f"{name}\n" + "\n".join(found)
    assert all(len(each) == 1 for each in words.values()), f"{name} tells what it hides: {words}"


def message_of(answer: Answered) -> str:
    """Return all that the answer says but the moment and the request's id."""
    if not (answer.header("content-type") or "").startswith("application/json"):
        return answer.body.decode()
    headers = sorted(pair for pair in answer.headers if pair[0] not in ("x-request-id", "content-length"))
    return f"{answer.json['error']} {headers}"


def test_no_request_is_prepared_for_a_route_that_there_is_not() -> None:
    assert {*BODIES, *QUERIES, *REFUSES_ALL} <= set(ROUTES)


@pytest.mark.asyncio(loop_scope="session")
async def test_all_who_may_exist_are_tried(everything: World) -> None:
    """A caller that goes missing takes a column of the matrix along."""
    kinds = Counter(caller.kind for caller in everything.callers)
    roles = {role for caller in everything.callers for role in caller.roles.values()}
    assert roles == {"owner", "manager", "finance", "gate"}
    assert kinds["nobody"] == 1
    assert kinds["gate"] == 3
    assert sum(bool(caller.refused) for caller in everything.callers) >= 4
    assert {caller.wallet for caller in everything.callers if caller.roles} == {True, False}
    assert sum(caller.admin for caller in everything.callers) == 1
    assert len({caller.name for caller in everything.callers}) == len(everything.callers)
