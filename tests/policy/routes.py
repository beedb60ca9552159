"""Who may call which route: what was decided, written down by hand beside the code that must keep to it.

A new route gets its row here, or the tests fail. A row is a policy, or one for each kind of thing that the
route's id may name. The words are those of `policies`.
"""

from __future__ import annotations

from typing import Final

from tests.policy.policies import (
    Policy,
    admin,
    anyone,
    gate,
    member,
    member_or_gate,
    more,
    owner,
    signed_in,
)

EVENT: Final = "events.not_found"
TICKET: Final = "tickets.not_found"
GATE: Final = "admission.gate_not_found"
HOOK: Final = "webhooks.subscription_not_found"
LANGUAGES: Final = ("", "/de", "/es", "/fr", "/ja", "/ar")
DELIVERY: Final = "webhooks.delivery_not_found"
ORGANIZATION: Final = "organizations.not_found"
UNMAKE: Final = "organization.unmake_owner"

ROUTES: Final[dict[str, Policy | tuple[Policy, ...]]] = {
    # The system itself.
    "GET /api/health": anyone(),
    "GET /health/live": anyone(),
    "GET /health/ready": anyone(),
    "GET /api/v1/openapi.json": anyone(),
    "GET /docs": anyone(),
    "GET /docs/docs.css": anyone(),
    "GET /docs/docs.js": anyone(),
    "GET /docs/icon.svg": anyone(),
    # Signing in, sessions, keys: a session's own affairs, which no key opens.
    "GET /.well-known/jwks.json": anyone(),
    "GET /api/v1/auth/nonce": anyone(),
    "GET /api/v1/auth/nonce/{address}": anyone(),
    "POST /api/v1/auth/verify": anyone(),
    "POST /api/v1/auth/login": anyone(),
    "POST /api/v1/auth/refresh": anyone(),
    "POST /api/v1/auth/logout": signed_in(),
    "GET /api/v1/auth/me": signed_in(),
    "GET /api/v1/auth/sessions": signed_in(),
    "DELETE /api/v1/auth/sessions": signed_in(),
    "PUT /api/v1/auth/sessions/{id}": owner("session", "auth.session_not_found"),
    "DELETE /api/v1/auth/sessions/{id}": owner("session", "auth.session_not_found"),
    # Providers: the browser goes to them and comes back; they tell us of sign-outs in signed words.
    "GET /api/v1/auth/oauth": anyone(),
    "GET /api/v1/auth/oauth/{provider}/start": anyone(),
    "GET /api/v1/auth/oauth/{provider}/callback": anyone(),
    "POST /api/v1/auth/oauth/{provider}/link": signed_in(),
    "POST /api/v1/auth/oauth/{provider}/logout": anyone(),
    "POST /api/v1/auth/wallets": signed_in(),
    "GET /api/v1/auth/identities": signed_in(),
    "DELETE /api/v1/auth/identities/{id}": owner("identity", "auth.identity_not_found"),
    "POST /api/v1/auth/confirmations": signed_in(wallet=True),
    "GET /api/v1/auth/export": signed_in(),
    "GET /api/v1/auth/export/{section}": signed_in(),
    "DELETE /api/v1/auth/account": signed_in(confirm="account.erase", fresh=True),
    "GET /api/v1/api-keys": signed_in(),
    "GET /api/v1/api-keys/scopes": anyone(),
    "POST /api/v1/api-keys": signed_in(),
    "PUT /api/v1/api-keys/{id}": owner("api_key", "auth.api_key_not_found"),
    "DELETE /api/v1/api-keys/{id}": owner("api_key", "auth.api_key_not_found"),
    # Organizations. Who is no member learns nothing of one; a role opens what it opens.
    "GET /api/v1/organizations": signed_in("organizations:read"),
    "POST /api/v1/organizations": signed_in("organizations:write"),
    "GET /api/v1/organizations/{id}": member(
        "organization", "MEMBERSHIP", ORGANIZATION, "organizations:read"
    ),
    "PUT /api/v1/organizations/{id}": member("organization", "MEMBERS", ORGANIZATION, "organizations:write"),
    "DELETE /api/v1/organizations/{id}": member(
        "organization", "MEMBERS", ORGANIZATION, "organizations:write", confirm="organization.delete"
    ),
    "POST /api/v1/organizations/{id}/owner": member(
        "organization", "MEMBERS", ORGANIZATION, "organizations:write", confirm="organization.hand_over"
    ),
    "POST /api/v1/organizations/{id}/wallets": member(
        "organization", "MEMBERS", ORGANIZATION, "organizations:write", wallet=True
    ),
    "DELETE /api/v1/organizations/{id}/wallets/{address}": member(
        "organization_wallet", "MEMBERS", ORGANIZATION, "organizations:write"
    ),
    "GET /api/v1/organizations/{id}/members": member(
        "organization", "GATE_STAFF", ORGANIZATION, "organizations:read"
    ),
    "PUT /api/v1/organizations/{id}/members/{user}": (
        member("gate_member", "MEMBERS", ORGANIZATION, "organizations:write"),
        member("owner_member", "MEMBERS", ORGANIZATION, "organizations:write", confirm=UNMAKE),
    ),
    "DELETE /api/v1/organizations/{id}/members/{user}": (
        member("gate_member", "GATE_STAFF", ORGANIZATION, "organizations:write"),
        member("finance_member", "MEMBERS", ORGANIZATION, "organizations:write"),
        member("owner_member", "MEMBERS", ORGANIZATION, "organizations:write", confirm=UNMAKE),
        owner("membership", ORGANIZATION, "organizations:write"),
    ),
    "GET /api/v1/organizations/{id}/audit": member(
        "organization", "AUDIT_READ", ORGANIZATION, "organizations:read"
    ),
    "GET /api/v1/organizations/{id}/invitations": member(
        "organization", "GATE_STAFF", ORGANIZATION, "organizations:read"
    ),
    "POST /api/v1/organizations/{id}/invitations": member(
        "organization", "GATE_STAFF", ORGANIZATION, "organizations:write"
    ),
    "DELETE /api/v1/organizations/{id}/invitations/{invitation}": (
        member("gate_invitation", "GATE_STAFF", ORGANIZATION, "organizations:write"),
        member("finance_invitation", "MEMBERS", ORGANIZATION, "organizations:write"),
    ),
    # Who holds an invitation's token is whom it is for.
    "POST /api/v1/organizations/invitations/offer": signed_in("organizations:write"),
    "POST /api/v1/organizations/invitations/accept": signed_in("organizations:write"),
    "POST /api/v1/organizations/invitations/decline": anyone(),
    "GET /invitation": anyone(),
    "POST /invitation": anyone(),
    # Events and drafts. What is published is public; a draft is its organization's alone.
    "GET /api/v1/events": more(scope="events:read"),
    "POST /api/v1/events": (
        signed_in("events:write", wallet=True),
        member("organization", "EVENTS_WRITE", ORGANIZATION, "events:write"),
    ),
    "GET /api/v1/events/search": anyone(),
    "GET /api/v1/events/{id}": (
        more("event", EVENT, "events:read"),
        member("draft", "EVENTS_READ", EVENT, "events:read"),
    ),
    "PUT /api/v1/events/{id}": member("draft", "EVENTS_WRITE", EVENT, "events:write"),
    "DELETE /api/v1/events/{id}": (
        member("draft", "EVENTS_WRITE", EVENT, "events:write"),
        member("event", "EVENTS_PUBLISH", EVENT, "events:write"),
    ),
    "POST /api/v1/events/{id}/publish": member("draft", "EVENTS_PUBLISH", EVENT, "events:write"),
    "POST /api/v1/events/{id}/tiers/{tier}/price": member("event", "EVENTS_PUBLISH", EVENT, "events:write"),
    "POST /api/v1/events/{id}/register": signed_in("events:write", of="event", missing=EVENT, wallet=True),
    "GET /api/v1/events/{id}/availability": anyone("event", EVENT),
    "GET /api/v1/metadata/{hash}": anyone("document", "events.metadata_not_found"),
    # Pictures, stored files and pages: public, but for sending.
    "POST /api/v1/media": signed_in("media:write"),
    "GET /api/v1/media/{cid}": anyone("file", "media.not_found"),
    "GET /ipfs/{cid}": anyone("file", "media.not_found"),
    "GET /": anyone(),
    "GET /events/{id}/calendar.ics": anyone("event", EVENT),
    **{f"GET {prefix}/events": anyone() for prefix in LANGUAGES},
    **{f"GET {prefix}/events/{{id}}": anyone("event", EVENT) for prefix in LANGUAGES},
    **{f"GET {prefix}/events/{{id}}/money": anyone("event", EVENT) for prefix in LANGUAGES},
    **{f"GET {prefix}/tickets": anyone() for prefix in LANGUAGES},
    "GET /covers/{id}": anyone(),
    "GET /static/{version}/{name}": anyone(),
    "GET /static/{version}/{folder}/{name}": anyone(),
    # Tickets and sales.
    "GET /api/v1/events/{id}/sales": member("event", "SALES_READ", EVENT, "tickets:read"),
    "GET /api/v1/events/{id}/attendees": member("event", "ATTENDEES_READ", EVENT, "tickets:read"),
    "POST /api/v1/events/{id}/withdraw": member("event", "MONEY", EVENT, "tickets:write"),
    "POST /api/v1/events/{id}/verify": anyone("event", EVENT),
    "GET /api/v1/tickets": anyone(),
    "GET /api/v1/tickets/{id}": anyone("ticket", TICKET),
    "GET /api/v1/tickets/{id}/history": anyone("ticket", TICKET),
    "POST /api/v1/tickets/purchase": signed_in("tickets:write", of="event", missing=EVENT, wallet=True),
    "POST /api/v1/tickets/{id}/transfer": owner("held", TICKET, "tickets:write", wallet=True),
    "POST /api/v1/tickets/{id}/refund": owner("held", TICKET, "tickets:write", wallet=True),
    "GET /api/v1/tickets/{id}/qr": owner("held", TICKET, "tickets:read", wallet=True),
    # The door.
    "POST /api/v1/gates": member("event", "GATES", EVENT, "gates:write"),
    "GET /api/v1/gates": member("event", "GATES", EVENT, "gates:read"),
    "POST /api/v1/gates/{id}/revoke": member("gate", "GATES", GATE, "gates:write"),
    "POST /api/v1/gates/{id}/enable": member("gate", "GATES", GATE, "gates:write"),
    "POST /api/v1/gates/{id}/scan": gate("gate", GATE),
    "GET /api/v1/gates/{id}/tickets": member_or_gate("gate", "ADMIT", GATE, "gates:read"),
    "POST /api/v1/gates/{id}/undo": member_or_gate("gate", "ADMIT", GATE, "gates:write"),
    "POST /api/v1/tickets/{id}/checkin": member_or_gate(
        "ticket", "ADMIT", TICKET, "tickets:write", judged=True
    ),
    "GET /api/v1/poaps": anyone(),
    # The books, and the chain behind them.
    "GET /api/v1/events/{id}/transparency": anyone("event", EVENT),
    "GET /api/v1/transparency": anyone(),
    "GET /api/v1/chains": anyone(),
    "POST /api/v1/transactions": signed_in("chain:write"),
    "GET /api/v1/transactions/{hash}": anyone("transaction", "transactions.unknown"),
    # Webhooks in and out.
    "POST /webhooks/coinbase": anyone(),
    "GET /api/v1/webhook-subscriptions": signed_in("webhooks:read"),
    "POST /api/v1/webhook-subscriptions": (
        signed_in("webhooks:write", wallet=True),
        member("organization", "WEBHOOKS", ORGANIZATION, "webhooks:write"),
    ),
    "GET /api/v1/webhook-subscriptions/{id}": member("subscription", "WEBHOOKS", HOOK, "webhooks:read"),
    "PUT /api/v1/webhook-subscriptions/{id}": member("subscription", "WEBHOOKS", HOOK, "webhooks:write"),
    "DELETE /api/v1/webhook-subscriptions/{id}": member("subscription", "WEBHOOKS", HOOK, "webhooks:write"),
    "POST /api/v1/webhook-subscriptions/{id}/ping": member(
        "subscription", "WEBHOOKS", HOOK, "webhooks:write"
    ),
    "POST /api/v1/webhook-subscriptions/{id}/replay": member(
        "subscription", "WEBHOOKS", HOOK, "webhooks:write"
    ),
    "POST /api/v1/webhook-subscriptions/{id}/rotate": member(
        "subscription", "WEBHOOKS", HOOK, "webhooks:write"
    ),
    "GET /api/v1/webhook-subscriptions/{id}/deliveries": member(
        "subscription", "WEBHOOKS", HOOK, "webhooks:read"
    ),
    "GET /api/v1/webhook-subscriptions/{id}/deliveries/{delivery}": (
        member("delivery", "WEBHOOKS", HOOK, "webhooks:read"),
        member("delivery_alone", "WEBHOOKS", DELIVERY, "webhooks:read", within=HOOK),
    ),
    "POST /api/v1/webhook-subscriptions/{id}/deliveries/{delivery}/skip": (
        member("delivery", "WEBHOOKS", HOOK, "webhooks:write"),
        member("delivery_alone", "WEBHOOKS", DELIVERY, "webhooks:write", within=HOOK),
    ),
    # The desk of the platform's administrators.
    "GET /api/v1/admin/admins": admin(),
    "POST /api/v1/admin/admins": admin(confirm="admin.grant"),
    "DELETE /api/v1/admin/admins/{address}": admin(
        "administrator", "admin.administrator_not_found", confirm="admin.revoke"
    ),
    "GET /api/v1/admin/users": admin(),
    "GET /api/v1/admin/users/{id}": admin("user", "admin.user_not_found"),
    "POST /api/v1/admin/users/{id}/suspend": admin("user", "admin.user_not_found", confirm="user.suspend"),
    "POST /api/v1/admin/users/{id}/reinstate": admin(
        "suspended_user", "admin.user_not_found", confirm="user.reinstate"
    ),
    "GET /api/v1/admin/organizations": admin(),
    "GET /api/v1/admin/organizations/{id}": admin("organization", "organizations.not_found"),
    "GET /api/v1/admin/alarms": admin(),
    "GET /api/v1/admin/alarms/{id}": admin("alarm", "security.alarm_not_found"),
    "POST /api/v1/admin/alarms/{id}/acknowledge": admin("alarm", "security.alarm_not_found"),
    "GET /api/v1/admin/queues": admin(),
    "GET /api/v1/admin/jobs": admin(),
    "POST /api/v1/admin/jobs/{id}/retry": admin("dead_job", "jobs.not_found"),
    "GET /api/v1/admin/chains": admin(),
    "GET /api/v1/admin/audit": admin(),
    # Telling people.
    "GET /api/v1/notifications": signed_in("notifications:read"),
    "GET /api/v1/notifications/unread": signed_in("notifications:read"),
    "POST /api/v1/notifications/read": signed_in("notifications:write"),
    "POST /api/v1/notifications/{id}/read": owner("notification", "notify.not_found", "notifications:write"),
    "GET /api/v1/me/notification-preferences": signed_in("notifications:read"),
    "PUT /api/v1/me/notification-preferences": signed_in("notifications:write"),
    "GET /api/v1/me/email": signed_in("notifications:read"),
    "PUT /api/v1/me/email": signed_in("notifications:write"),
    "POST /api/v1/me/email/resend": signed_in("notifications:write"),
    "DELETE /api/v1/me/email": signed_in("notifications:write"),
    "POST /api/v1/email/verify": anyone(),
    "GET /email/verify": anyone(),
    "POST /email/verify": anyone(),
    "GET /unsubscribe": anyone(),
    "POST /unsubscribe": anyone(),
    "GET /api/v1/push/key": anyone(),
    "GET /api/v1/push/subscriptions": signed_in("notifications:read"),
    "POST /api/v1/push/subscriptions": signed_in("notifications:write"),
    "DELETE /api/v1/push/subscriptions/{id}": owner(
        "push", "notify.subscription_not_found", "notifications:write"
    ),
}

DOORS: Final[dict[str, Policy]] = {
    "/socket.io": anyone(),
    "/socket.io/": anyone(),
    "/ws/events": anyone(),
    "/sse/events": anyone(),
    "/health/live": anyone(),
    "/health/ready": anyone(),
}
"""Where live connections begin: whoever comes from an allowed origin. What they may hear is in `CHANNELS`."""

CHANNELS: Final[dict[str, str]] = {
    "event": "anyone",
    "market": "anyone",
    "user": "the wallet that it names",
    "organizer": "members of the organization of the wallet that it names",
    "platform": "administrators",
}
