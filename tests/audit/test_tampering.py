"""Somebody who owns the database, but not the key, changes the log: what they did is found and named.

Each attack runs as the superuser, who takes the triggers away first.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from tests.audit.ledger import (
    JAZZ,
    KEY,
    KEYS,
    NOW,
    OPERA,
    OTHER_KEY,
    check,
    named,
    seal_all,
    tell_ends,
    write,
)

from echain.infra.audit import store
from echain.infra.audit.chain import FIRST, PLATFORM, AuditKeys, Seal
from echain.infra.database import Connection, Database
from echain.infra.secret import Secret

OPEN = "ALTER TABLE {0} DISABLE TRIGGER {0}_stand"
ROWS = 8


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Connection]:
    """The superuser, for whom the log of two organizations and the platform is no longer append-only."""
    await write(database, *range(1, ROWS + 1))
    await write(database, *range(101, 104), organization=OPERA)
    await write(database, 201, organization=None)
    await seal_all(database)
    assert not (await check(database)).findings
    async with database.connection() as connection:
        for table in ("audit_entries", "audit_links"):
            await connection.execute(OPEN.format(table))
        yield connection


ENTRY = {
    "id": "'00000000-0000-0000-0000-0000000000ff'",
    "at": "at + interval '1 microsecond'",
    "actor_kind": "'gate'",
    "actor_id": "'somebody else'",
    "actor_address": "NULL",
    "credential": "''",
    "action": "'event.draft_deleted'",
    "resource": "'event:9'",
    "request_id": "'another'",
    "client": "decode(repeat('00', 32), 'hex')",
    "diff": "replace(diff, 'new', 'now')",
}
LINK = {
    "version": "2",
    "key_id": "'\\x00000000'",
    "hash": "decode(repeat('00', 32), 'hex')",
    "sealed_at": "sealed_at - interval '1 microsecond'",
}
FIFTH = f"(SELECT position FROM audit_links WHERE chain = '{JAZZ}' AND number = 5)"


@pytest.mark.parametrize("column", ENTRY)
async def test_an_altered_entry_is_named(database: Database, owner: Connection, column: str) -> None:
    await owner.execute(f"UPDATE audit_entries SET {column} = {ENTRY[column]} WHERE position = {FIFTH}")
    assert named(await check(database)) == [(JAZZ, 5)]


@pytest.mark.parametrize("column", LINK)
async def test_an_altered_link_is_named(database: Database, owner: Connection, column: str) -> None:
    await owner.execute(f"UPDATE audit_links SET {column} = {LINK[column]} WHERE position = {FIFTH}")
    assert named(await check(database)) == [(JAZZ, 5)]


async def test_no_column_is_left_out(database: Database) -> None:
    """A column that comes later is altered by the tests above, or this one fails."""
    rows = await database.fetch(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_name IN ('audit_entries', 'audit_links')"
    )
    elsewhere = {"organization_id", "position", "chain", "number"}
    assert {row["column_name"] for row in rows} == {*ENTRY, *LINK, *elsewhere}


async def test_an_altered_first_and_last_row_are_named(database: Database, owner: Connection) -> None:
    await owner.execute(
        f"UPDATE audit_entries SET diff = '{{}}' WHERE resource IN ('event:1', 'event:{ROWS}')"
    )
    assert named(await check(database)) == [(JAZZ, 1), (JAZZ, ROWS)]


async def test_an_entry_that_was_removed_is_named(database: Database, owner: Connection) -> None:
    await owner.execute(f"DELETE FROM audit_entries WHERE position = {FIFTH}")
    report = await check(database)
    assert named(report) == [(JAZZ, 5)]
    assert "missing" in report.findings[0].what


async def test_a_row_that_was_removed_with_its_link_is_named(database: Database, owner: Connection) -> None:
    await owner.execute(f"DELETE FROM audit_entries WHERE position = {FIFTH}")
    await owner.execute("DELETE FROM audit_links WHERE chain = $1 AND number = 5", JAZZ)
    report = await check(database)
    assert named(report)[0] == (JAZZ, 5)
    assert report.findings[0].what == "the row is missing"
    # Nobody can know what the sixth followed upon; it is said, not passed over.
    assert named(report)[1:] == [(JAZZ, 6)]


async def test_a_removed_row_whose_followers_move_up_is_named(database: Database, owner: Connection) -> None:
    await owner.execute(f"DELETE FROM audit_entries WHERE position = {FIFTH}")
    await owner.execute("DELETE FROM audit_links WHERE chain = $1 AND number = 5", JAZZ)
    for number in range(6, ROWS + 1):
        await owner.execute(
            "UPDATE audit_links SET number = $2 - 1 WHERE chain = $1 AND number = $2", JAZZ, number
        )
    found = named(await check(database))
    assert (JAZZ, 5) in found
    assert (JAZZ, ROWS) in found  # the head knows of one more


async def cut_off(owner: Connection, keep: int) -> None:
    await owner.execute(
        "DELETE FROM audit_entries WHERE position IN"
        " (SELECT position FROM audit_links WHERE chain = $1 AND number > $2)",
        JAZZ,
        keep,
    )
    await owner.execute("DELETE FROM audit_links WHERE chain = $1 AND number > $2", JAZZ, keep)


async def put_head_back(owner: Connection, number: int) -> None:
    await owner.execute(
        "UPDATE audit_heads SET (number, hash) ="
        " (SELECT number, hash FROM audit_links WHERE chain = $1 AND number = $2) WHERE chain = $1",
        JAZZ,
        number,
    )


async def test_an_end_that_was_cut_off_is_missed(database: Database, owner: Connection) -> None:
    await cut_off(owner, 6)
    report = await check(database)
    assert named(report) == [(JAZZ, ROWS)]
    assert "ends at 6" in report.findings[0].what


async def test_a_head_that_was_put_back_is_noticed(database: Database, owner: Connection) -> None:
    await put_head_back(owner, 6)
    assert named(await check(database)) == [(JAZZ, ROWS)]
    await owner.execute("DELETE FROM audit_heads WHERE chain = $1", JAZZ)
    assert named(await check(database)) == [(JAZZ, ROWS)]


async def test_an_end_cut_off_with_its_head_put_back_is_missed_by_whoever_wrote_the_head_down(
    database: Database, owner: Connection
) -> None:
    digest = (await check(database)).ends[JAZZ][1]
    await cut_off(owner, 6)
    await put_head_back(owner, 6)
    # The one thing that a log alone cannot show; `audit.sealed` in the program's own log is the witness.
    assert not (await check(database)).findings
    report = await check(database, chain=JAZZ, expected={ROWS: digest})
    assert named(report) == [(JAZZ, ROWS)]


async def test_an_end_cut_off_with_its_head_put_back_is_missed_by_the_platforms_chain(
    database: Database, owner: Connection
) -> None:
    await write(database, ROWS + 1)
    await tell_ends(database)
    await cut_off(owner, 6)
    await put_head_back(owner, 6)
    assert named(await check(database)) == [(JAZZ, ROWS + 1)]
    assert named(await check(database, chain=JAZZ)) == [(JAZZ, ROWS + 1)]


async def test_a_whole_chain_that_vanished_is_missed_by_the_platforms_chain(
    database: Database, owner: Connection
) -> None:
    await write(database, ROWS + 1)
    await tell_ends(database)
    await cut_off(owner, 0)
    await owner.execute("DELETE FROM audit_heads WHERE chain = $1", JAZZ)
    assert named(await check(database)) == [(JAZZ, None)]


async def test_an_end_that_was_rewritten_has_another_hash_than_was_told(
    database: Database, owner: Connection
) -> None:
    """Who cuts the end off and has other entries sealed in its place is found by what was told."""
    await write(database, ROWS + 1)
    await tell_ends(database)
    await cut_off(owner, 6)
    await put_head_back(owner, 6)
    await write(database, 7, 8, 9, 10)
    await seal_all(database)
    assert named(await check(database)) == [(JAZZ, ROWS + 1)]


async def test_the_sealer_goes_on_above_what_was_cut_off(database: Database, owner: Connection) -> None:
    """It does not fill the gap, so that the next check finds it however much later."""
    await cut_off(owner, 6)
    await write(database, 9)
    await seal_all(database)
    report = await check(database)
    assert (JAZZ, 7) in named(report)
    assert "to 8 are missing" in report.findings[0].what


INSERT = """
    INSERT INTO audit_entries (id, organization_id, at, actor_kind, actor_id, credential, action, resource,
                               request_id, diff)
    VALUES (gen_random_uuid(), $1, now(), 'user', 'mallory', '', 'event.draft_created', 'event:66', '', '{}')
    RETURNING position
"""


async def test_an_entry_beside_the_chain_is_named(database: Database, owner: Connection) -> None:
    position = await owner.fetchval(INSERT, JAZZ)
    await owner.execute("DELETE FROM audit_unsealed WHERE position = $1", position)
    (found,) = (await check(database)).findings
    assert (found.chain, found.number, found.position) == (JAZZ, None, position)


@pytest.mark.parametrize("days", [None, 2])
async def test_an_entry_beside_the_chain_that_is_dated_back_is_named(
    database: Database, owner: Connection, days: int | None
) -> None:
    """Also by who checks only what was sealed lately: the moment that it claims is the forger's."""
    position = await owner.fetchval(INSERT.replace("now()", "now() - interval '1 year'"), JAZZ)
    await owner.execute("DELETE FROM audit_unsealed WHERE position = $1", position)
    since = None if days is None else datetime.now(UTC) - timedelta(days=days)
    (found,) = (await check(database, since=since)).findings
    assert (found.chain, found.number, found.position) == (JAZZ, None, position)


async def test_an_entry_that_is_dated_back_by_a_plain_insert_is_named(database: Database) -> None:
    """Nothing is disabled or altered: who may insert has it sealed as any other."""
    await write(database, 1)
    await database.execute(INSERT.replace("now()", "now() - interval '61 minutes'"), JAZZ)
    await write(database, 3)
    await seal_all(database)
    (found,) = (await check(database)).findings
    assert (found.chain, found.number) == (JAZZ, 2)
    assert "1:01:0" in found.what
    assert "dated back" in found.what


@pytest.mark.parametrize(
    ("apart", "word"),
    [
        *((timedelta(minutes=59), ""), (timedelta(minutes=61), "dated back")),
        *((timedelta(minutes=-4), ""), (timedelta(minutes=-6), "dated ahead")),
    ],
)
async def test_the_moment_of_an_entry_fits_that_of_its_seal(
    database: Database, apart: timedelta, word: str
) -> None:
    await write(database, 1, at=NOW)
    await seal_all(database, at=NOW + apart)
    findings = (await check(database)).findings
    assert [word in finding.what for finding in findings] == [True] * bool(word)


async def test_what_waited_for_a_sealer_that_stood_still_is_one_finding(database: Database) -> None:
    """Else thousands of them would hide what else there is: a check ends at a thousand."""
    await write(database, *range(1, 6), at=NOW)
    await seal_all(database, at=NOW + timedelta(hours=3))
    await write(database, 6, at=NOW + timedelta(hours=3))
    await write(database, 7, at=NOW)
    await seal_all(database, at=NOW + timedelta(hours=3))
    report = await check(database)
    assert named(report) == [(JAZZ, 1), (JAZZ, 7)]
    assert report.findings[0].what.startswith("rows to 5 say that they were written up to 3:00:00 before")


@pytest.mark.parametrize("claims", ["our key", "another key"])
async def test_a_row_with_a_hash_made_under_a_wrong_key_is_named(
    database: Database, owner: Connection, claims: str
) -> None:
    position = await owner.fetchval(INSERT, JAZZ)
    row = await owner.fetchrow(
        f"SELECT {store.COLUMNS} FROM audit_entries AS entry WHERE position = $1",
        position,
    )
    previous = await owner.fetchval(
        "SELECT hash FROM audit_links WHERE chain = $1 AND number = $2", JAZZ, ROWS
    )
    assert row is not None
    assert isinstance(previous, bytes)
    wrong = AuditKeys([Secret(OTHER_KEY)])
    sealed_at = datetime.now(UTC)
    digest = wrong.hash(previous, store.entry_of(row), Seal(ROWS + 1, wrong.current, sealed_at))
    shown = KEYS.current if claims == "our key" else wrong.current
    await owner.execute("DELETE FROM audit_unsealed WHERE position = $1", position)
    await owner.execute(
        "INSERT INTO audit_links VALUES ($1, $2, $3, 1, $4, $5, $6)",
        JAZZ,
        ROWS + 1,
        position,
        shown,
        digest,
        sealed_at,
    )
    await owner.execute(
        "UPDATE audit_heads SET number = $2, hash = $3 WHERE chain = $1", JAZZ, ROWS + 1, digest
    )
    assert named(await check(database)) == [(JAZZ, ROWS + 1)]


async def test_a_row_squeezed_in_between_is_named(database: Database, owner: Connection) -> None:
    position = await owner.fetchval(INSERT, JAZZ)
    await owner.execute("DELETE FROM audit_unsealed WHERE position = $1", position)
    for number in range(ROWS, 4, -1):
        await owner.execute(
            "UPDATE audit_links SET number = $2 + 1 WHERE chain = $1 AND number = $2", JAZZ, number
        )
    await owner.execute(
        "INSERT INTO audit_links SELECT chain, 5, $2, version, key_id, hash, sealed_at"
        " FROM audit_links WHERE chain = $1 AND number = 4",
        JAZZ,
        position,
    )
    assert (JAZZ, 5) in named(await check(database))


async def test_two_rows_that_changed_places_are_named(database: Database, owner: Connection) -> None:
    await owner.execute("UPDATE audit_links SET position = -position WHERE chain = $1 AND number = 3", JAZZ)
    await owner.execute(f"UPDATE audit_links SET position = -position WHERE position = {FIFTH}")
    await owner.execute(
        "UPDATE audit_links SET position = CASE number WHEN 3 THEN $2::bigint ELSE $3::bigint END"
        " WHERE chain = $1 AND number IN (3, 5)",
        JAZZ,
        5,
        3,
    )
    assert named(await check(database)) == [(JAZZ, 3), (JAZZ, 5)]


async def test_two_rows_that_changed_places_with_their_hashes_are_named(
    database: Database, owner: Connection
) -> None:
    for before, after in ((3, 1003), (5, 3), (1003, 5)):
        await owner.execute(
            "UPDATE audit_links SET number = $3 WHERE chain = $1 AND number = $2", JAZZ, before, after
        )
    found = named(await check(database))
    assert (JAZZ, 3) in found
    assert (JAZZ, 5) in found


async def test_a_row_moved_to_another_organization_is_named(database: Database, owner: Connection) -> None:
    await owner.execute(f"UPDATE audit_entries SET organization_id = $1 WHERE position = {FIFTH}", OPERA)
    assert named(await check(database)) == [(JAZZ, 5)]


async def test_a_row_moved_with_its_link_is_named_in_both_chains(
    database: Database, owner: Connection
) -> None:
    await owner.execute(f"UPDATE audit_entries SET organization_id = $1 WHERE position = {FIFTH}", OPERA)
    await owner.execute(
        "UPDATE audit_links SET chain = $2, number = 4 WHERE chain = $1 AND number = 5", JAZZ, OPERA
    )
    found = named(await check(database))
    assert (JAZZ, 5) in found
    assert (OPERA, 4) in found


async def test_an_entry_that_waited_and_was_removed_is_noticed(database: Database, owner: Connection) -> None:
    await write(database, 9)
    await owner.execute("DELETE FROM audit_entries WHERE resource = 'event:9'")
    (found,) = (await check(database)).findings
    assert "waited" in found.what
    # And it stops nobody.
    await write(database, 10)
    await seal_all(database)
    assert (await check(database)).ends[JAZZ][0] == ROWS + 1


async def test_a_chain_that_goes_on_with_a_key_of_before_is_named(
    database: Database, owner: Connection
) -> None:
    """A key that leaked and was replaced seals nothing new."""
    both = AuditKeys([Secret(OTHER_KEY), Secret(KEY)])
    await write(database, 9)
    await seal_all(database, both)
    await write(database, 10)
    assert not (await check(database, keys=both)).findings
    await seal_all(database, AuditKeys([Secret(KEY), Secret(OTHER_KEY)]))
    report = await check(database, keys=both)
    assert named(report) == [(JAZZ, ROWS + 2)]
    assert "older key" in report.findings[0].what


async def test_without_the_first_key_the_rows_that_it_sealed_are_not_taken(
    database: Database, owner: Connection
) -> None:
    found = named(await check(database, chain=JAZZ, keys=AuditKeys([Secret(OTHER_KEY)])))
    assert found == [(JAZZ, number) for number in range(1, ROWS + 1)]


async def test_what_was_sealed_before_is_left_out_when_asked_for_less(
    database: Database, owner: Connection
) -> None:
    await owner.execute(f"UPDATE audit_entries SET diff = '{{}}' WHERE position = {FIFTH}")
    later = datetime.now(UTC) + timedelta(milliseconds=1)
    await owner.execute(
        "SELECT pg_sleep(greatest(0, extract(epoch FROM $1::timestamptz - clock_timestamp())))", later
    )
    await write(database, 9, 10)
    await seal_all(database)
    report = await check(database, chain=JAZZ, since=later)
    assert (report.rows, report.findings) == (2, [])
    await owner.execute("UPDATE audit_entries SET diff = '{}' WHERE resource = 'event:10'")
    assert named(await check(database, chain=JAZZ, since=later)) == [(JAZZ, ROWS + 2)]


async def test_a_clock_that_was_set_back_hides_nothing_from_who_asks_for_less(database: Database) -> None:
    day = timedelta(days=1)
    for number, moment in ((1, NOW), (2, NOW + 10 * day), (3, NOW), (4, NOW + 11 * day)):
        await write(database, number, at=moment)
        await seal_all(database, at=moment)
    report = await check(database, since=NOW + 9 * day)
    assert (report.rows, report.findings) == (3, [])
    async with database.connection() as connection:
        await connection.execute(OPEN.format("audit_entries"))
        await connection.execute(
            "UPDATE audit_entries SET diff = '{}' WHERE resource IN ('event:1', 'event:2')"
        )
    assert named(await check(database, since=NOW + 9 * day)) == [(JAZZ, 2)]
    assert named(await check(database)) == [(JAZZ, 1), (JAZZ, 2)]


@pytest.mark.parametrize("table", ["audit_entries", "audit_links"])
@pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0}"])
async def test_the_tables_refuse_to_be_changed(database: Database, table: str, statement: str) -> None:
    await write(database, 1)
    await seal_all(database)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await database.execute(statement.format(table, "diff" if table == "audit_entries" else "hash"))


async def test_a_hash_is_what_the_encoding_says(database: Database) -> None:
    """Counted by hand once more, from the words of `canonical` and not from its code."""
    await write(database, 1, at=NOW)
    await seal_all(database)
    row = await database.fetchrow("SELECT * FROM audit_links JOIN audit_entries USING (position)")
    assert row is not None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def number(value: int) -> bytes:
        return value.to_bytes(8, "big", signed=True)

    def moment(at: datetime) -> bytes:
        return number(round((at - epoch) / timedelta(microseconds=1)))

    fields = [
        row["key_id"],
        row["organization_id"].bytes,
        number(1),
        moment(row["sealed_at"]),
        number(row["position"]),
        row["id"].bytes,
        moment(NOW),
        b"user",
        str(row["actor_id"]).encode(),
        bytes(range(20)),
        str(row["credential"]).encode(),
        b"event.draft_replaced",
        b"event:1",
        b"request-1",
        None,
        b'{"title":["old 1","new 1"]}',
    ]
    text = b"echain audit entry\x00\x01" + b"".join(
        b"\xff\xff\xff\xff" if field is None else len(field).to_bytes(4, "big") + field for field in fields
    )
    seal = HKDF(SHA256(), 32, salt=None, info=b"echain audit key: seal").derive(bytes.fromhex(KEY))
    assert hmac.digest(seal, FIRST + text, "sha256") == row["hash"]
    assert row["organization_id"] != PLATFORM


@pytest.mark.parametrize(
    ("resource", "diff"),
    [
        ("organization:nobody", '{"number":[null,1],"hash":[null,"0x00"]}'),
        (f"organization:{JAZZ}", '{"number":[null,"x"],"hash":[null,"0xzz"]}'),
        (f"organization:{JAZZ}", '{"number":7}'),
        (f"organization:{JAZZ}", "[]"),
    ],
)
async def test_a_planted_end_that_makes_no_sense_does_not_stop_the_check(
    database: Database, owner: Connection, resource: str, diff: str
) -> None:
    await owner.execute(
        "INSERT INTO audit_entries (id, at, actor_kind, actor_id, credential, action, resource, request_id,"
        " diff) VALUES (gen_random_uuid(), now(), 'system', 'echain', '', 'audit.sealed', $1, '', $2)",
        resource,
        diff,
    )
    await seal_all(database)
    assert not (await check(database)).findings
    await owner.execute(f"UPDATE audit_entries SET diff = '{{}}' WHERE position = {FIFTH}")
    assert named(await check(database)) == [(JAZZ, 5)]
