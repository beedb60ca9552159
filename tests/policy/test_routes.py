"""The table of who may what is whole, and the program's own declarations do not contradict it."""

from __future__ import annotations

from typing import Any, cast

from tests.policy.policies import ROLES, Policy, Who
from tests.policy.program import name_of, policies_of
from tests.policy.routes import CHANNELS, DOORS, ROUTES

from echain.edge.http import Auth, Endpoint
from echain.edge.http.endpoint import scopes_of
from echain.edge.live.access import Origins
from echain.edge.live.desk import Desk
from echain.edge.live.server import Server
from echain.edge.live.verbs import Verbs
from echain.kernel.messages import TYPES

DOOR_OF_AUTH = {
    "PUBLIC": {Who.ANYONE},
    "OPTIONAL": {Who.MORE, Who.MEMBER},
    "USER": {Who.SIGNED_IN, Who.OWNER, Who.MEMBER},
    "GATE": {Who.GATE},
    "ANY": {Who.MEMBER_OR_GATE},
    "ADMIN": {Who.ADMIN},
}
"""What the edge lets through, by what the table says; within, the slices decide."""


def test_every_route_has_a_policy_and_every_policy_a_route(program: list[Endpoint]) -> None:
    """Whoever adds a route says in `tests/policy/routes.py` who may call it."""
    assert {name_of(one) for one in program} == set(ROUTES)


def test_the_edge_asks_for_the_credentials_that_the_policy_needs(program: list[Endpoint]) -> None:
    for endpoint in program:
        said = {policy.who for policy in policies_of(name_of(endpoint))}
        assert said <= DOOR_OF_AUTH[endpoint.auth.name], name_of(endpoint)


def test_every_way_in_that_the_edge_knows_has_its_policies() -> None:
    assert {auth.name for auth in Auth} <= set(DOOR_OF_AUTH)


def test_a_key_opens_a_route_by_the_scope_of_its_policy_and_no_other(program: list[Endpoint]) -> None:
    for endpoint in program:
        for policy in policies_of(name_of(endpoint)):
            assert {policy.scope} - {""} == scopes_of([endpoint]), name_of(endpoint)


def test_policies_are_whole(program: list[Endpoint]) -> None:
    """A thing that can be foreign has a word for not being there; a member's route names a permission."""
    for endpoint in program:
        for policy in policies_of(name_of(endpoint)):
            assert bool(policy.of) == bool(policy.missing), name_of(endpoint)
            by_role = policy.who in (Who.MEMBER, Who.MEMBER_OR_GATE)
            assert (policy.permission in ROLES) if by_role else not policy.permission, name_of(endpoint)
            assert missing_is_declared(endpoint, policy), name_of(endpoint)


def missing_is_declared(endpoint: Endpoint, policy: Policy) -> bool:
    """Whether the document says that the route may answer so."""
    return not policy.missing or policy.missing in {error.code for error in endpoint.errors}


def test_every_door_of_live_connections_has_a_policy() -> None:
    class Nowhere:
        """A desk of which nothing is asked but its parts."""

        def __getattr__(self, name: str) -> Any:
            return Nowhere() if name not in ("message_bytes", "backlog_bytes") else 1

    server = Server(cast("Desk", Nowhere()), Verbs({}), Origins([]), cookie="", ready=lambda: True)
    assert {*server._routes, "/health/live", "/health/ready"} == set(DOORS)


def test_every_kind_of_channel_that_messages_go_to_has_a_policy() -> None:
    named = {channel.split(":")[0] for kind in TYPES.values() for channel in kind.channels}
    assert named <= set(CHANNELS)
