"""Every column of every table: what leads to a person is shown to them, erased, or stays for a reason."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from datetime import timedelta
from itertools import chain
from typing import Any
from uuid import UUID

from tests.notify.pushservice import Browser as PushBrowser
from tests.privacy.fates import ERASED, HARMLESS, NOBODYS, STAYS, UNLINKED
from tests.privacy.home import Home, Person

from echain.accounts.oidcstore import IDENTITIES
from echain.entry.datakeys import COLUMNS
from echain.infra.database import Database
from echain.infra.jobs import enqueue
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import uuid7
from echain.kernel.time import utc_now
from echain.notify.addresses import farewell_context
from echain.notify.addressstore import ADDRESS
from echain.notify.kinds import FAREWELL, Farewell
from echain.organizations.invitationstore import EMAIL

TYPES = ("uuid", "text", "_text", "jsonb", "json", "bytea", "tsvector", "_uuid", "_bytea", "varchar", "inet")
CHAIN = 84532


async def columns(database: Database) -> dict[str, dict[str, bool]]:
    """Return by table every column that could hold somebody, and whether it refers to their own tables."""
    rows = await database.fetch(
        """
        SELECT CASE table_schema WHEN 'public' THEN '' ELSE table_schema || '.' END || table_name AS place,
               column_name AS name, udt_name = ANY($1) AS telling,
               EXISTS (
                   SELECT FROM pg_constraint
                    WHERE contype = 'f' AND conrelid = format('%I.%I', table_schema, table_name)::regclass
                      AND confrelid = ANY (ARRAY['users', 'wallets', 'sessions', 'identities']::regclass[])
                      AND (SELECT attnum FROM pg_attribute
                            WHERE attrelid = conrelid AND attname = column_name) = ANY (conkey)) AS refers
          FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_schema IN ('public', 'jobs') AND table_type = 'BASE TABLE'
           AND NOT EXISTS (SELECT FROM pg_inherits
                            WHERE inhrelid = format('%I.%I', table_schema, table_name)::regclass)
        """,
        list(TYPES),
    )
    found: dict[str, dict[str, bool]] = {}
    for row in rows:
        table = found.setdefault(row["place"], {})
        if row["telling"]:
            table[row["name"]] = row["refers"]
    return found


def fates_of(table: str) -> list[str]:
    """Return every column of a table that somebody has thought about."""
    listed = (fate.get(table, "").split() for fate in (ERASED, UNLINKED, HARMLESS))
    return [*chain.from_iterable(listed), *STAYS.get(table, {})]


async def test_every_column_that_could_lead_to_a_person_has_one_fate(home: Home) -> None:
    found = await columns(home.database)
    assert sorted(NOBODYS.keys() - found.keys()) == [], "declared, but there is no such table"
    for table, its in found.items():
        if table in NOBODYS:
            assert not any(its.values()), f"{table} refers to people"
            assert fates_of(table) == [], f"{table} is said to be nobody's"
        else:
            assert sorted(fates_of(table)) == sorted(its), f"{table}: give each column its fate in fates.py"
            for name, refers in its.items():
                assert not (refers and name in STAYS.get(table, {})), f"{table}.{name} cannot stay"


async def places(database: Database, marks: dict[str, list[str]]) -> dict[str, set[str]]:
    """Return in which columns of the whole database each kind of mark is found, however it is written."""
    found: dict[str, set[str]] = {kind: set() for kind in marks}
    for table, names in (await columns(database)).items():
        if not names:
            continue
        schema, _, bare = table.rpartition(".")
        whole = ", ".join(f'"{name}"::text AS "{name}"' for name in names)
        for row in await database.fetch(f'SELECT {whole} FROM "{schema or "public"}"."{bare}"'):
            for name, text in row.items():
                for kind, spellings in marks.items():
                    if text is not None and any(one in text.lower() for one in spellings):
                        found[kind].add(f"{table}.{name}")
    return found


def spellings(*texts: str | bytes) -> list[str]:
    """Return how texts and bytes may stand in a dump: plain, in hexadecimal, in base64."""
    found: list[str] = []
    for text in texts:
        data = text.encode() if isinstance(text, str) else text
        found += [data.hex(), b64encode(data).decode().rstrip("=")[:-1].lower()]
        if isinstance(text, str):
            found.append(text.lower())
    return found


async def sealed_values(database: Database) -> list[bytes]:
    """Return everything that is sealed anywhere, as it lies."""
    found: list[bytes] = []
    for column in COLUMNS:
        rows = await database.fetch(
            f"SELECT {column.column} AS sealed FROM {column.table} WHERE {column.column} IS NOT NULL"
        )
        found += [row["sealed"] for row in rows]
    return found


class Planted:
    """Somebody with a row of everything that the platform keeps of people, and words to find it by."""

    def __init__(self, home: Home, person: Person) -> None:
        self.home = home
        self.person = person
        self.email = "ada.planted@harbour.example"
        self.device = "planteddevice"
        self.words = "planted words of ada"
        self.house = "Planted House"

    @property
    def marks(self) -> dict[str, list[str]]:
        person = self.person
        return {
            "user": spellings(str(person.user_id), person.user_id.bytes),
            "wallet": spellings(checksum(person.address), bytes(person.address)),
            "email": spellings(self.email),
            "device": spellings(self.device),
            "words": spellings(self.words),
            "house": spellings(self.house),
        }

    async def execute(self, statement: str, *args: Any) -> None:
        await self.home.database.execute(statement, *args)

    async def plant(self) -> None:
        """Do what people do through the front door, and write what others would have written of them."""
        ada = self.person
        await ada.ask("PUT", "/me/email", {"email": self.email})
        await ada.ask("POST", "/organizations", {"name": self.house})
        await ada.ask("POST", "/api-keys", {"name": self.words, "scopes": ["tickets:read"]})
        await ada.ask("POST", "/push/subscriptions", PushBrowser("https://push.example.com/p").subscription)
        await ada.ask("POST", "/auth/confirmations", {"action": "account.erase", "target": str(ada.user_id)})
        await ada.client("GET", f"/api/v1/auth/nonce/{checksum(ada.address)}")
        await ada.ask(
            "POST",
            "/webhook-subscriptions",
            {
                "url": "https://hooks.example.com/ada",
                "description": self.words,
                "channels": [f"user:{checksum(ada.address)}"],
            },
            **{"idempotency-key": self.words.replace(" ", "-")},
        )
        await self._by_others()
        await self._on_events()

    async def _by_others(self) -> None:
        ada, now, keys = self.person, utc_now(), self.home.keys

        plain = self.email.encode()
        await self.execute(
            "INSERT INTO email_addresses VALUES ($1, $2, $3, $4)",
            *(ada.user_id, ADDRESS.seal(keys, ada.user_id, plain), ADDRESS.indexes(keys, plain)[0], now),
        )
        farewell = uuid7()
        sealed = keys.seal(plain, context=farewell_context(farewell))
        async with self.home.database.transaction() as tx:
            await enqueue(
                tx, FAREWELL, [Farewell(farewell, sealed, checksum(ada.address), "en", ada.user_id)]
            )
        self.farewell = sealed
        notification = uuid7()
        await self.execute(
            "INSERT INTO notifications VALUES ($1, $2, $3, 'security', 'o', NULL, NULL, $4, TRUE, $5)",
            *(notification, ada.user_id, ada.address, {"told": {"text": self.words}}, now),
        )
        await self.execute(
            """
            INSERT INTO notification_deliveries (id, notification_id, user_id, kind, channel, target,
                                                 created_at)
            VALUES ($1, $2, $3, 'security', 'email', $3, $4)
            """,
            *(uuid7(), notification, ada.user_id, now),
        )
        await self.execute("UPDATE sessions SET device = $2 WHERE user_id = $1", ada.user_id, self.device)
        session = await self.home.database.fetchval("SELECT id FROM sessions WHERE user_id = $1", ada.user_id)
        await ada.ask("PUT", f"/auth/sessions/{session}", {"name": self.words})
        told = json.dumps({"title": "t", "text": f"{self.device}: {self.words}", "kind": "security"})
        channel = f"user:{checksum(ada.address)}"
        await self.execute(
            "INSERT INTO outbox (channels, type, data) VALUES ($1, 'notification', $2)", channel, told
        )
        await self.execute(
            "INSERT INTO messages VALUES (1, $1, 'notification', $2, NULL, NULL, $3)", channel, told, now
        )
        invited = uuid7()
        other = await self.home.person()
        house = await other.ask("POST", "/organizations", {"name": "The House"})
        await self.execute(
            """
            INSERT INTO invitations (id, organization_id, role, token_hash, sealed, email_index, invited_by,
                                     created_at, expires_at)
            VALUES ($1, $2, 'gate', $3, $4, $5, $6, $7, $8)
            """,
            *(invited, UUID(house["id"]), bytes(32), EMAIL.seal(keys, invited, plain)),
            *(EMAIL.indexes(keys, plain)[0], ada.user_id, now, now + timedelta(days=7)),
        )
        await self.execute(
            "INSERT INTO members VALUES ($1, $2, 'manager', $3)", *(UUID(house["id"]), ada.user_id, now)
        )
        await self.execute(
            "INSERT INTO webhook_subscriptions (id, owner, organization_id, url, types, settled_only,"
            " description, created_at, updated_at) VALUES ($1, $2, $3, 'https://x.example', '{}', FALSE, '',"
            " $4, $4)",
            *(uuid7(), ada.address, UUID(house["id"]), now),
        )
        await self.execute(
            "INSERT INTO platform_admins VALUES ($1, $2, $3)", *(other.address, ada.address, now)
        )
        await self.execute(
            """
            INSERT INTO alarms (id, kind, severity, subject, facts, count, first_at, last_at, joins_until,
                                acknowledged_at, acknowledged_by)
            VALUES ($1, 'storm', 1, 'x', '{}', 1, $2, $2, $2, $2, $3)
            """,
            *(uuid7(), now, ada.user_id),
        )
        await self._by_provider()

    async def _by_provider(self) -> None:
        ada, now, keys = self.person, utc_now(), self.home.keys

        identity = uuid7()
        told = json.dumps({"name": self.words, "email": self.email}).encode()
        await self.execute(
            "INSERT INTO identities VALUES ($1, $2, 'https://id.example', $3, 'example', $4, $5, $5)",
            *(identity, ada.user_id, self.device, IDENTITIES.seal(keys, identity, told), now),
        )
        session = await self.home.database.fetchval(
            "SELECT id FROM sessions WHERE user_id = $1 LIMIT 1", ada.user_id
        )
        await self.execute(
            "INSERT INTO identity_sessions VALUES ($1, $2, $3)", session, identity, self.device
        )
        await self.execute(
            "INSERT INTO images (id, user_id, width, height, created_at) VALUES ($1, $2, 1, 1, $3)",
            *(uuid7(), ada.user_id, now),
        )

    async def _on_events(self) -> None:
        """An event of somebody's, at which this person registered, held a ticket and stood at the desk."""
        ada, now = self.person, utc_now()
        contract = Address(uuid7().bytes + bytes(4))
        await self.execute(
            "INSERT INTO event_registrations VALUES ($1, $2, $3, $4)", CHAIN, contract, ada.address, now
        )
        scan = uuid7()
        await self.execute(
            """
            INSERT INTO scans (id, operator, chain_id, ticket_contract, token_id, verdict, scanned_at)
            VALUES ($1, $2, $3, $4, 1, 'admitted', $5)
            """,
            *(scan, ada.address, CHAIN, contract, now),
        )
        await self.execute(
            """
            INSERT INTO admissions (id, chain_id, ticket_contract, token_id, holder, operator, scan_id,
                                    admitted_at, undone_at, undone_by)
            VALUES ($1, $2, $3, 1, $4, $4, $5, $6, $6, $4)
            """,
            *(uuid7(), CHAIN, contract, ada.address, scan, now),
        )
        await self.execute(
            "INSERT INTO tickets VALUES ($1, $2, 1, $3, 'valid', 0, 1, 0, 1, $4, 1)",
            *(CHAIN, contract, ada.address, now),
        )
        await self.execute(
            "INSERT INTO watched_transactions VALUES ($1, $2, NULL, NULL, NULL, $3, $4)",
            *(bytes(32), CHAIN, ada.address, now),
        )
        draft = uuid7()
        await self.execute(
            """
            INSERT INTO event_drafts (id, organizer, chain_id, content, created_at, updated_at, deleted_at)
            VALUES ($1, $2, $3, $4, $5, $5, $5)
            """,
            *(draft, ada.address, CHAIN, {"title": self.words}, now),
        )
        await self.execute(
            """
            INSERT INTO metadata_documents (hash, body, draft_id, organizer, chain_id, content, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            """,
            *(bytes(32), self.words.encode(), draft, ada.address, CHAIN, {"title": self.words}, now),
        )


def named(fate: dict[str, str]) -> set[str]:
    return {f"{table}.{column}" for table, listed in fate.items() for column in listed.split()}


async def test_nothing_leads_to_an_erased_person_but_what_is_declared_to_stay(home: Home) -> None:
    """Plants all there is, looks the whole database through, erases, and looks again."""
    device = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    ada = await home.person(user_agent=device)
    planted = Planted(home, ada)
    await planted.plant()
    stay = {f"{table}.{column}" for table, listed in STAYS.items() for column in listed}
    chain_says = {
        f"{table}.{name}"
        for table, its in (await columns(home.database)).items()
        if table in NOBODYS
        for name in its
    }
    before = await places(home.database, planted.marks)
    sealed = await sealed_values(home.database)
    for kind, where in before.items():
        assert where <= named(ERASED) | named(UNLINKED) | stay | chain_says, kind
    led = before["user"] | before["wallet"]
    for column in sorted(named(ERASED) | named(UNLINKED)):
        table, _, name = column.rpartition(".")
        if (
            name
            in (
                "user_id",
                "address",
                "operator",
                "undone_by",
                "owner",
                "submitted_by",
                "invited_by",
                "granted_by",
                "acknowledged_by",
                "caller",
            )
            and table != "oidc_starts"
        ):
            assert column in led, f"nothing was planted in {column}"

    answer = await ada.erase()
    assert answer.status == 200, answer.body

    after = await places(home.database, planted.marks)
    assert after["email"] == after["device"] == after["words"] == set()
    assert not after["house"], "what an organization was called stands nowhere, nor in the log"
    for kind in ("user", "wallet"):
        assert after[kind] <= stay | chain_says, kind
    assert "audit_entries.actor_id" in after["user"], "the log stands"
    assert len(sealed) > len(await sealed_values(home.database)) > 0, "somebody else's are left"
    for value in await sealed_values(home.database):
        assert await opens_to_nobody(home, value, planted)
    whole = await places(home.database, {"sealed": spellings(planted.farewell)})
    assert whole["sealed"] == set()


async def opens_to_nobody(home: Home, value: bytes, planted: Planted) -> bool:
    """Return whether a sealed value that is left opens, in its row, to nothing of the erased person."""
    for column in COLUMNS:
        rows = await home.database.fetch(
            f"SELECT {column.id_column} AS id FROM {column.table} WHERE {column.column} = $1", value
        )
        for row in rows:
            plain = column.open(home.keys, row["id"], value)
            if planted.email.encode() in plain or planted.words.encode() in plain:
                return False
    return True


async def test_what_is_planted_is_shown_to_its_owner(home: Home) -> None:
    """Every table with a fate other than being harmless or transient shows up in the export."""
    ada = await home.person()
    planted = Planted(home, ada)
    await planted.plant()
    shown = await ada.export()
    empty = {name for name, part in shown["sections"].items() if not part["rows"]}
    assert empty <= {"events", "poaps", "auditAbout", "organizationWallets"}, "nothing shown of these"
    text = json.dumps(shown, ensure_ascii=False)
    assert planted.email in text
    assert planted.device in text
    assert planted.words in text


async def test_the_statements_of_all_parts_stand_beside_other_traffic(home: Home) -> None:
    """Two people with everything are erased at once, and a third, who shares nothing, is not held up."""
    people = [await home.person() for _ in range(3)]
    for place, person in enumerate(people[:2]):
        await person.ask("PUT", "/me/email", {"email": f"person{place}@harbour.example"})
    answers = await asyncio.gather(*(person.erase() for person in people))
    assert [answer.status for answer in answers] == [200] * 3
