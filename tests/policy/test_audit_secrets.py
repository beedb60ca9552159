"""Secrets and personal data go in at every route that takes them; the audit log has none of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from tests.edge.http_client import Client
from tests.notify.pushservice import Browser as PushBrowser
from tests.policy.test_audited import asked, invited, sign_in
from tests.policy.world import OURS, World, draft

from echain.kernel.time import utc_now

EMAIL: Final = "erika.mustermann@planted.example"
DEVICE: Final = "Erikas-Planted-Phone"
TOKEN: Final = "eck_" + "Planted0" * 5 + "abc"
JWT: Final = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJwbGFudGVkIn0.c2lnbmVk"
ENDPOINT: Final = "https://push.planted.example/capability/s3cr3t"
HOOK: Final = "https://hooks.example.com/planted-path?key=planted-query"
PLANTED: Final = (EMAIL, DEVICE, TOKEN, JWT, "planted", "Planted", "s3cr3t")
TEXT: Final = f"Write to {EMAIL}, or with {TOKEN}, {JWT} or {HOOK}"
SECRET_FIELDS: Final = {"secret", "key", "token", "accessToken", "refreshToken", "link", "auth", "p256dh"}

DUMP: Final = """
    SELECT string_agg(entry::text, chr(10)) FROM (
        SELECT entry::text FROM audit_entries AS entry
        UNION ALL
        SELECT concat_ws(' ', credential, action, resource, request_id, diff) FROM audit_arrivals
    ) AS whole (entry)
"""


def secrets_in(value: Any) -> Iterator[str]:
    """Yield every secret that an answer shows once."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in SECRET_FIELDS and isinstance(inner, str):
                yield inner
            yield from secrets_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from secrets_in(inner)


def requests(made: World) -> list[tuple[str, str, str, Any]]:
    """Return who sends what; each takes something that must not be told."""
    event = made.things["event"][OURS]["id"]
    content = draft(utc_now() + timedelta(days=30))
    content |= {"description": TEXT, "image": HOOK, "title": f"Jazz {EMAIL}"}
    content["place"] = {"name": TEXT[:150], "address": EMAIL}
    content["tiers"][0]["name"] = f"Floor {EMAIL}"
    own_draft = made.things["draft"][OURS]["id"]
    session = made.things["session"]["owner"]["id"]
    key = made.things["api_key"]["owner"]["id"]
    hook = made.things["subscription"][OURS]["id"]
    organization = made.organizations[OURS]
    push = PushBrowser(ENDPOINT).subscription
    return [
        ("owner", "POST", "/events", content),
        ("owner", "PUT", f"/events/{own_draft}", content | {"version": 1}),
        ("owner", "POST", f"/events/{own_draft}/publish", None),
        ("owner", "DELETE", f"/events/{own_draft}", None),
        ("owner", "PUT", f"/auth/sessions/{session}", {"name": DEVICE}),
        ("owner", "POST", "/api-keys", {"name": f"{DEVICE} {EMAIL}", "scopes": ["events:read"]}),
        ("owner", "PUT", f"/api-keys/{key}", {"name": f"{DEVICE} {EMAIL}"}),
        ("owner", "POST", "/gates", {"eventId": event, "name": f"Gate {EMAIL}"}),
        ("owner", "POST", "/webhook-subscriptions", {"url": HOOK, "description": TEXT[:120]}),
        ("owner", "PUT", f"/webhook-subscriptions/{hook}", {"url": HOOK, "description": TEXT[:120]}),
        ("owner", "POST", f"/webhook-subscriptions/{hook}/rotate", {}),
        ("owner", "POST", "/organizations", {"name": f"Konzerte {EMAIL}"}),
        ("owner", "PUT", f"/organizations/{organization}", {"name": f"Konzerte {EMAIL}"}),
        ("owner", "POST", f"/organizations/{organization}/invitations", {"role": "gate"}),
        ("owner", "POST", "/push/subscriptions", push),
        ("attendee", "POST", f"/events/{event}/register", None),
    ]


@pytest.mark.asyncio(loop_scope="session")
async def test_nothing_that_is_secret_or_personal_gets_into_the_log(everything: World) -> None:
    made, shown = everything, set[str]()
    headers = {"user-agent": DEVICE, "x-request-id": TOKEN}
    async with made.database.begin():
        for person, method, path, body in requests(made):
            client = Client(made.app, {"authorization": f"Bearer {made.people[person].token}", **headers})
            answer = await client(method, f"/api/v1{path}", json_body=body)
            # A node may refuse what is prepared after the document was kept; what was kept is audited.
            assert answer.status < 300 or path.endswith("/publish"), (method, path, answer.body)
            shown.update(secrets_in(answer.json))
        shown.update(secrets_in((await sign_in(made, "/verify")).data))
        token = await asked(made)
        await Client(made.app, headers)("POST", "/api/v1/email/verify", json_body={"token": token})
        invitation = await invited(made)
        await made.people["attendee"].ask(
            "POST", "/api/v1/organizations/invitations/accept", {"token": invitation}
        )
        told = await made.database.fetchval(DUMP)
    assert len(shown) >= 6
    for secret in (*PLANTED, *shown, token, invitation):
        assert secret not in told, secret
    # It was all written down, though: what the log hides it shows as hidden.
    for action in ("event.draft_created", "api_key.created", "webhook.subscribed", "email.verified"):
        assert action in told
    assert "•••" in told
    # Neither where a webhook goes nor what an organization is called is kept for ever.
    assert "example.com" not in told
    assert "Konzerte" not in told
    assert "called" in told
