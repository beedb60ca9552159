"""What a request may not carry: ids that are none, and fields that are not the sender's to write."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from tests.edge.http_client import Answered
from tests.policy.program import name_of, policies_of
from tests.policy.requests import BODIES, body_of, path_of
from tests.policy.routes import ROUTES
from tests.policy.test_matrix import things_for
from tests.policy.verdicts import verdict
from tests.policy.world import MISSING, Caller, Thing, World

from echain.edge.http import Endpoint, Nothing, RawBody

pytestmark = pytest.mark.timeout(600)

NO_IDS = (
    *("%00", "1%00", "..%2f..%2fetc%2fpasswd", "%2e%2e", "%ff%fe", "'%20OR%201=1--", "%F0%9F%8E%AB", "-1"),
    *("x" * 5_000, "0", "null", "%25", "{id}", "[]", "$ne", "00000000-0000-0000-0000-00000000000g"),
)
REFUSALS = {
    "route.not_found",
    "request.invalid",
    "request.malformed",
    "auth.confirmation_needed",
    "pages.file_unknown",
    "auth.oidc_provider_unknown",
    "account.section_unknown",
}

NAMED = sorted(name for name in ROUTES if "{" in name and not name.startswith(("GET /static", "GET /covers")))
"""Routes that name something. A cover is drawn for any id, so that none tells whether there is an event."""

ALIKE = (
    {"event", "draft"},
    {"user", "suspended_user"},
    {
        *("organization", "organization_wallet", "membership"),
        *("gate_member", "finance_member", "owner_member", "gate_invitation", "finance_invitation"),
    },
    {"subscription", "delivery", "delivery_alone"},
    {"ticket", "held"},
)
"""Kinds of which the first id in a path is of one kind."""


def kinds_of(name: str) -> set[str]:
    """Return the kinds of things whose ids a route knows."""
    named = {policy.of for policy in policies_of(name)}
    return named.union(*(alike for alike in ALIKE if alike & named))


def somebody(made: World, name: str) -> tuple[Caller, Thing | None]:
    """Return somebody who may call a route, about something of theirs."""
    row = policies_of(name)
    for policy in row:
        for caller in made.callers:
            for _, thing in things_for(made, policy, caller):
                allowed = verdict(row, policy, caller, thing, safe=False)
                if (allowed is None or allowed.code == "auth.confirmation_needed") and (
                    thing is None or thing.whose
                ):
                    return caller, thing
    raise AssertionError(f"nobody may {name}")


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", NAMED)
async def test_what_is_no_id_finds_nothing_and_breaks_nothing(everything: World, name: str) -> None:
    """Also ids of other things, which are ids as any: whoever may see one kind is not shown another by it."""
    caller, thing = somebody(everything, name)
    own = thing.parts if thing is not None else {}
    others = {
        each.parts["id"]
        for kind, known in everything.things.items()
        for whose, each in known.items()
        if whose != MISSING and "id" in each.parts and kind not in kinds_of(name)
    } - {own.get("id")}
    method, path = name.split(" ", 1)
    first = path[path.index("{") + 1 : path.index("}")]
    strange = [*NO_IDS, *sorted(others)[:40]]
    if own.get(first):
        strange += [own[first] + "%20", "%20" + own[first], own[first] + "%00", own[first] + "/"]
    for text in strange:
        target = path.replace(f"{{{first}}}", text.replace("{", "%7B").replace("}", "%7D"))
        target = target.format(**{"tier": "0", "delivery": text, "user": text, "invitation": text, **own})
        answer = await everything.send(caller, method, target, body=body_of(name, thing))
        assert refused(answer, {policy.missing for policy in policies_of(name)}), (text, answer.body[:300])


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", [name for name in NAMED if name.startswith("GET /api/v1/")])
async def test_an_id_in_capitals_is_the_same_id_or_none(everything: World, name: str) -> None:
    caller, thing = somebody(everything, name)
    if thing is None:
        return
    plain = await everything.send(caller, "GET", path_of(name, thing))
    loud = Thing({part: text.upper() for part, text in thing.parts.items()}, thing.whose)
    answer = await everything.send(caller, "GET", path_of(name, loud))
    assert answer.status == plain.status or refused(answer, {each.missing for each in policies_of(name)})
    if answer.status == plain.status == 200:
        assert answer.data.keys() == plain.data.keys() if isinstance(plain.data, dict) else True


def refused(answer: Answered, missing: set[str]) -> bool:
    if answer.status not in (400, 403, 404, 422):
        return False
    if not (answer.header("content-type") or "").startswith("application/json"):
        return answer.status == 404
    code = answer.error["code"]
    return code in REFUSALS | missing or code.endswith(("not_found", "unknown"))


# --- fields ---

NOT_YOURS: dict[str, Any] = {
    "id": "0197a3c4-0000-7000-8000-000000000000",
    "userId": "0197a3c4-0000-7000-8000-000000000000",
    "organizer": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
    "status": "published",
    "admin": True,
    "permissions": ["money"],
    "createdAt": "2020-01-01T00:00:00Z",
    "__proto__": {"admin": True},
}


def test_there_is_a_good_body_for_each_route_that_takes_one(program: list[Endpoint]) -> None:
    taking = {
        name_of(endpoint)
        for endpoint in program
        if endpoint.takes_body and endpoint.body not in (Nothing, RawBody)
    }
    assert taking - set(BODIES) <= OPTIONAL
    assert set(BODIES) <= taking


OPTIONAL = {"POST /api/v1/notifications/read"}
"""Bodies without which the request is as good."""


def places(body: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield where in a body objects stand."""
    if isinstance(body, dict):
        yield path
        for key, value in body.items():
            yield from places(value, (*path, key))
    elif isinstance(body, list):
        for index, value in enumerate(body):
            yield from places(value, (*path, index))


def spelled(path: tuple[str | int, ...], field: str) -> str:
    text = ""
    for part in (*path, field):
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", sorted(BODIES))
async def test_no_field_is_taken_that_is_not_the_senders_to_write(everything: World, name: str) -> None:
    """Refused wherever it stands, and named; a field that the body has is not counted."""
    caller, thing = somebody(everything, name)
    method, target = name.split(" ", 1)[0], path_of(name, thing)
    good = body_of(name, thing)
    for place in places(good):
        for field, value in NOT_YOURS.items():
            bad = copy.deepcopy(good)
            spot: Any = bad
            for part in place:
                spot = spot[part]
            if field in spot:
                continue
            spot[field] = value
            answer = await everything.send(caller, method, target, body=bad)
            assert (answer.status, answer.error["code"]) == (422, "request.invalid"), answer.body
            assert answer.fields.get(spelled(place, field)) == "unknown field", answer.fields


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", sorted(name for name in ROUTES if name.startswith("GET /api/v1/")))
async def test_no_parameter_is_taken_that_is_not_declared(everything: World, name: str) -> None:
    caller, thing = somebody(everything, name)
    target = path_of(name, thing)
    answer = await everything.send(caller, "GET", f"{target}{'&' if '?' in target else '?'}admin=true")
    if name in TAKES_OTHERS:
        assert answer.status != 422, answer.body
        return
    assert (answer.status, answer.error["code"]) == (422, "request.invalid"), answer.body
    assert "admin" in answer.fields


TAKES_OTHERS = {"GET /api/v1/auth/oauth/{provider}/callback"}
"""RFC 6749, 4.1.2: whoever is sent back by a provider ignores what it does not know."""
