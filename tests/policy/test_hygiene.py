"""What every answer carries whatever it is about, so that no browser does with it what it is not for."""

from __future__ import annotations

import re

import pytest
from tests.edge.http_client import Answered
from tests.policy.program import name_of, policies_of
from tests.policy.requests import BODIES, RAW, body_of, path_of
from tests.policy.routes import ROUTES
from tests.policy.test_matrix import things_for
from tests.policy.world import Caller, World

from echain.edge.http import Endpoint, Nothing
from echain.edge.http.body import RawBody

pytestmark = pytest.mark.timeout(600)

CAPABILITIES = ("camera", "geolocation", "microphone", "payment", "usb")
REFERRERS = ("no-referrer", "same-origin", "strict-origin-when-cross-origin")


def directives(answer: Answered) -> dict[str, list[str]]:
    policy = answer.header("content-security-policy")
    assert policy is not None, "no content security policy"
    return {word: sources for word, *sources in (part.split() for part in policy.split(";") if part.strip())}


def check(answer: Answered) -> None:
    """Check one answer; which headers it needs is decided by what it is."""
    assert answer.header("x-content-type-options") == "nosniff"
    assert (answer.header("strict-transport-security") or "").startswith("max-age=63072000")
    assert answer.header("server") is None
    kind = (answer.header("content-type") or "").partition(";")[0]
    if answer.status == 304 or not answer.body:
        return
    policy = directives(answer)
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "https:", "data:"} & {
        source for name in ("default-src", "script-src", "style-src") for source in policy.get(name, [])
    }, policy
    assert policy["default-src"] in (["'none'"], ["'self'"]), policy
    if kind in ("text/html", "application/json"):
        assert policy["frame-ancestors"] == ["'none'"]
        assert answer.header("referrer-policy") in REFERRERS
    if kind == "text/html":
        assert policy["base-uri"] == ["'none'"]
        assert policy["form-action"] in (["'none'"], ["'self'"])
        assert answer.header("x-frame-options") == "DENY"
        granted = answer.header("permissions-policy") or ""
        assert all(re.search(rf"\b{name}=\((self)?\)", granted) for name in CAPABILITIES), granted
        page = answer.body.decode()
        assert not re.search(r"<[^>]+\son[a-z]+\s*=", page), "a handler in the page"
        assert not re.search(r"<[^>]+\sstyle\s*=", page), "a style in the page"
        for script in re.findall(r"<script[^>]*>", page):
            assert "src=" in script or re.search(r'type="application/(ld\+)?json"', script), script


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", sorted(ROUTES))
async def test_every_answer_tells_browsers_what_they_may_do_with_it(everything: World, name: str) -> None:
    """Of successes and of refusals alike."""
    method = name.split(" ", 1)[0]
    named = {caller.name: caller for caller in everything.callers}
    for caller in (named["nobody"], named["owner of the organization"], named["administrator"]):
        for policy in policies_of(name):
            for _, thing in things_for(everything, policy, caller):
                check(
                    await everything.send(
                        caller,
                        method,
                        path_of(name, thing),
                        body=body_of(name, thing),
                        raw=RAW.get(name, b""),
                    )
                )


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("PATCH", "/docs", 405), ("GET", "/%00", 404)]
)
async def test_answers_that_belong_to_no_route_do_so_too(
    everything: World, method: str, path: str, status: int
) -> None:
    answer = await everything.send(Caller("nobody"), method, path)
    assert answer.status == status
    check(answer)


def test_every_route_that_reads_json_is_tried_with_what_is_none(program: list[Endpoint]) -> None:
    """Routes without a body read nothing, and pictures and others' webhooks are no JSON."""
    assert {name_of(one) for one in program if one.body not in (Nothing, RawBody)} == set(BODIES)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", sorted(name for name in BODIES if name.startswith("POST")))
async def test_only_what_says_it_is_json_is_read(everything: World, name: str) -> None:
    """A form of another site can post neither JSON nor any other type (CORS asks before it does)."""
    named = {caller.name: caller for caller in everything.callers}
    caller = named["owner of the organization"]
    policy = policies_of(name)[0]
    _, thing = next(iter(things_for(everything, policy, caller)))
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        forged = Caller(caller.name, {**caller.headers, "content-type": kind})
        answer = await everything.send(forged, "POST", path_of(name, thing), raw=b'{"a":1}')
        assert answer.status in (403, 415), (kind, answer.body)
