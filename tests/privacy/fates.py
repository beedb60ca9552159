"""What becomes of each column that could lead to a person when that person is erased.

A table that cannot is in `NOBODYS`, with the reason. In any other each column that holds an id, a text, bytes
or JSON stands under exactly one of the four fates. A new column that stands nowhere fails the tests.
"""

from __future__ import annotations

from typing import Final

ONCHAIN: Final = "what the chain says, to everybody; the indexer would bring it back"

NOBODYS: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            *("chain_attempts", "chain_blocks", "chain_contracts", "chain_cursors", "chain_deployments"),
            *("chain_logs", "chain_senders", "chain_transactions", "contract_escrow", "event_creations"),
            *("event_cancellations", "event_updates", "events", "gate_keys", "gate_settings", "grants"),
            *("payouts", "poaps", "price_updates", "refunds", "sales", "ticket_marks", "tickets"),
            *("tier_additions", "tiers", "transfers"),
        ),
        ONCHAIN,
    ),
    "alembic_version": "the schema's own",
    "audit_heads": "hashes of the log's chains",
    "audit_links": "hashes of the log's entries",
    "audit_unsealed": "places in the log",
    "event_reminders": "events, not people",
    "files": "bytes that events show, named by their hash; who sent them is in `images`",
    "image_variants": "sizes of a picture",
    "jobs.log": "of jobs the kind and what went wrong, which names nobody; a week",
    "jobs.progress": "numbers",
    "jobs.schedules": "rhythms",
    "payment_charges": "what a provider says of a payment; no account is named in it",
    "relay_cursor": "numbers",
    "relay_handlers": "numbers",
    "security_audits": "contracts",
    "security_deeds": "what wallets did on the chain within three hours",
    "security_refusals": "networks that showed wrong credentials within an hour; whose they are is not known",
    "security_sights": "contracts",
    "settled_later": "numbers of messages",
    "unsettled": "numbers of messages",
    "webhook_inbox": "what providers told; no account is named in it",
}

ERASED: Final[dict[str, str]] = {
    # The row goes, and with it whatever else stands in it.
    "access_tokens": "hash session_id",
    "api_keys": "id user_id address name prefix hash scopes",
    "audit_clients": "entry_id sealed",
    "confirmations": "id user_id session_id address action target message",
    "email_addresses": "user_id sealed found_by",
    "email_verifications": "id user_id sealed found_by token_hash",
    "event_registrations": "ticket_contract address",
    "idempotency_keys": "caller key request_hash answer",
    "identities": "id user_id issuer subject provider sealed",
    "identity_sessions": "session_id identity_id sid",
    "members": "organization_id user_id role",
    "notification_deliveries": "id notification_id user_id kind channel target state reason",
    "notification_settings": "user_id language time_zone digest choices",
    "notifications": "id user_id address kind occasion event_id data",
    "oidc_starts": "id state_hash browser_hash provider sealed return_to user_id session_id",
    "push_subscriptions": "id user_id sealed found_by device",
    "refresh_tokens": "hash session_id salt client successor",
    "sessions": "id user_id address device ended_by name method",
    "sign_in_nonces": "nonce browser_hash address",
    "users": "id",
    "wallets": "address user_id",
    # Of a user's own; an organization's stay with it.
    "webhook_channels": "channel subscription_id",
    "webhook_deliveries": "id subscription_id type channel body error excerpt",
    "webhook_keys": "id subscription_id name sealed",
    # Carry a sealed address until they have run.
    "jobs.queue": "payload",
}

UNLINKED: Final[dict[str, str]] = {
    # The row stays, and leads to nobody.
    "admissions": "operator undone_by",
    "alarms": "acknowledged_by",
    "audit_arrivals": "sealed_client",
    "images": "user_id",
    "invitations": "sealed email_index invited_by ended_by",
    "messages": "data",
    "outbox": "data",
    "platform_admins": "granted_by",
    "scans": "operator",
    "watched_transactions": "submitted_by",
    "webhook_subscriptions": "owner",
}

_LOG: Final[dict[str, str]] = {
    "actor_id": "sealed into a chain; the id leads to no account any more",
    "actor_address": "sealed into a chain; the wallet is public",
    "credential": "sealed into a chain; the session is no more",
    "resource": "sealed into a chain; the id leads to no account any more",
    "diff": "sealed into a chain; names nobody, see the log's rules",
    "request_id": "sealed into a chain",
    "client": "a commitment that opens with what was erased alone",
}

STAYS: Final[dict[str, dict[str, str]]] = {
    "admissions": {"holder": "who held the ticket then, as the chain says; a ticket admits once"},
    "alarm_causes": {
        "cause": "safety of the platform; 90 days",
        "facts": "safety of the platform; 90 days",
    },
    "alarms": {
        "subject": "safety of the platform; 90 days",
        "facts": "safety of the platform; 90 days",
    },
    "audit_arrivals": _LOG,
    "audit_entries": _LOG,
    "event_drafts": {
        "organizer": "of published events, the chain's word; of an organization's, its wallet",
        "content": "of published events, which ticket holders need; of an organization's",
    },
    "gates": {
        "created_by": "the event's organizer, as the chain says",
        "name": "the event's entrance",
    },
    "messages": {"channel": "the wallet of a message without words; a day"},
    "metadata_documents": {
        "organizer": "of published events, the chain's word",
        "content": "of published events: its hash is on the chain",
        "body": "of published events: its hash is on the chain",
        "search": "the words of the same",
    },
    "organization_wallets": {"address": "whose events are the organization's, which goes on"},
    "organizations": {"name": "of those that go on; of others it is taken out"},
    "outbox": {"channels": "the wallet of a message without words; until it is told"},
    "platform_admins": {"address": "whoever has the role must give it up before"},
    "watched_transactions": {"sender": "who signed it, as the chain says", "raw": "the transaction itself"},
    "webhook_subscriptions": {"url": "an organization's", "description": "an organization's"},
}

HARMLESS: Final[dict[str, str]] = {
    # Ids and words of other things in tables that have something of people.
    "admissions": "id ticket_contract gate_id scan_id undone_by_gate check_in_job",
    "alarm_causes": "alarm_id",
    "alarms": "id kind",
    "audit_arrivals": "id organization_id actor_kind action",
    "audit_entries": "id organization_id actor_kind action",
    "event_drafts": "id metadata_hash organization_id",
    "gates": "id ticket_contract event_tag secret_hash",
    "images": "id",
    "invitations": "id organization_id role token_hash ended_how",
    "jobs.queue": "queue_manager_id entrypoint dedupe_key headers",
    "messages": "type",
    "metadata_documents": "hash draft_id category",
    "organization_wallets": "organization_id",
    "organizations": "id",
    "outbox": "type",
    "scans": "id gate_id ticket_contract verdict code_hash",
    "watched_transactions": "hash",
    "webhook_subscriptions": "id types disabled_reason lease organization_id",
}
