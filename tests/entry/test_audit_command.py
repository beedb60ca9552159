"""`echain audit`: what an operator sees of the log, and what is found when somebody was at it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.audit.ledger import ADA, JAZZ, KEY, KEYS, NOW, OTHER_KEY, seal_all, write
from tests.entry.conftest import Installation

from echain.entry.settings import read
from echain.infra import audit
from echain.infra.crypto import DataKeys
from echain.infra.database import Database
from echain.infra.secret import Secret
from echain.kernel.ids import uuid7

DATA_KEY = "d4" * 32
HACKED = "UPDATE audit_entries SET actor_id = 'somebody else' WHERE resource = 'event:2'"
Desk = Callable[..., tuple[int, str]]


@pytest.fixture
def desk(install: Callable[..., Installation], database_url: str) -> Desk:
    """Run `echain audit` with more words and return its exit code and what it prints."""
    one = install(ECHAIN_DATABASE_URL=database_url, ECHAIN_AUDIT_KEYS=KEY, ECHAIN_DATA_KEYS=DATA_KEY)

    def ask(*words: str, keys: str = KEY) -> tuple[int, str]:
        done = subprocess.run(
            [*one.command[:-1], "audit", *words],
            env=dict(one.environment) | {"ECHAIN_AUDIT_KEYS": keys},
            cwd=one.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    return ask


async def alter(database: Database) -> None:
    await database.execute("ALTER TABLE audit_entries DISABLE TRIGGER audit_entries_stand")
    await database.execute(HACKED)


async def test_a_sound_log_is_said_to_be_sound_and_an_altered_row_is_named(
    desk: Desk, database: Database
) -> None:
    await write(database, 1, 2, 3)
    await write(database, 4, organization=None)
    await seal_all(database)
    await write(database, 5)
    code, said = desk("verify")
    assert code == 0
    assert "4 rows in" in said
    assert "nothing was changed" in said
    assert "1 entries wait to be sealed" in said
    await alter(database)
    code, said = desk("verify")
    assert code == 1
    assert f"WRONG  organization {JAZZ}, row 2 (entry 2): the row is not as it was sealed" in said
    # The others are not touched by it, and the platform's chain neither.
    assert said.count("WRONG") == 1
    assert desk("verify", "--organization", "platform")[0] == 0
    assert desk("verify", "--organization", str(JAZZ))[0] == 1


async def test_an_end_that_was_written_down_is_asked_for(desk: Desk, database: Database) -> None:
    await write(database, 1, 2, 3)
    await seal_all(database)
    said = desk("verify", "--organization", str(JAZZ))[1]
    end = re.search(rf"organization {JAZZ}: (3:[0-9a-f]{{64}})", said)
    assert end is not None
    assert desk("verify", "--organization", str(JAZZ), "--expect", end[1])[0] == 0
    code, said = desk("verify", "--organization", str(JAZZ), "--expect", f"4:{end[1][2:]}")
    assert code == 1
    assert "row 4: the row was seen before, but the chain ends at 3" in said
    code, said = desk("verify", "--organization", str(JAZZ), "--expect", f"3:{'0' * 64}")
    assert code == 1
    assert "row 3 (entry 3): the row has another hash than was seen before" in said


async def test_without_the_key_nothing_is_taken_for_sound(desk: Desk, database: Database) -> None:
    await write(database, 1)
    await seal_all(database)
    code, said = desk("verify", keys=OTHER_KEY)
    assert code == 1
    assert f"sealed with key {KEYS.current.hex()}, not one of ECHAIN_AUDIT_KEYS" in said
    assert desk("verify", keys=f"{OTHER_KEY},{KEY}")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "--expect", "1:00"),
        ("verify", "--expect", f"1:{'0' * 64}"),
        ("verify", "--organization", "nobody"),
        ("show", "--since", "yesterday"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(desk: Desk, words: tuple[str, ...]) -> None:
    assert desk(*words)[0] == 2


async def test_entries_are_shown_newest_first_and_by_what_is_asked_for(
    desk: Desk, database: Database
) -> None:
    seals = audit.ClientSeals(DataKeys([Secret(DATA_KEY)]))
    await write(database, 1, 2)
    entry_id = uuid7()
    async with database.transaction() as tx:
        await audit.record(
            tx,
            audit.operator("erin"),
            "job.retried",
            resource="job:7",
            now=NOW,
            client=seals.seal(entry_id, "203.0.113.9"),
            entry_id=entry_id,
        )
    await seal_all(database)
    await write(database, 3)
    code, said = desk("show")
    assert code == 0
    lines = said.strip().splitlines()
    assert [re.search(r"(event|job):\d", line)[0] for line in lines] == [  # pyright: ignore[reportOptionalSubscript]
        *("event:3", "job:7", "event:2", "event:1")
    ]
    assert "waits" in lines[0]
    assert "203.0.113.9" in lines[1]

    def shown(*words: str) -> list[str]:
        return [json.loads(line)["resource"] for line in desk("show", "--json", *words)[1].splitlines()]

    assert shown("--organization", str(JAZZ)) == ["event:3", "event:2", "event:1"]
    assert shown("--organization", "platform") == ["job:7"]
    assert shown("--actor", ADA.id, "--limit", "2") == ["event:3", "event:2"]
    assert shown("--resource", "event:2") == ["event:2"]
    assert shown("--action", "job.") == ["job:7"]
    assert shown("--since", "2027-01-01") == []
    (one,) = map(json.loads, desk("show", "--json", "--resource", "job:7")[1].splitlines())
    assert one["actor"] == {"kind": "operator", "id": "erin", "address": None, "credential": ""}
    assert one["client"] == "203.0.113.9"
    assert one["number"] == 1
    assert one["organizationId"] is None


async def test_an_address_that_was_erased_or_altered_is_not_shown(desk: Desk, database: Database) -> None:
    """Erasing it leaves the chain whole; another address in its place does not belong to the entry."""
    seals = audit.ClientSeals(DataKeys([Secret(DATA_KEY)]))
    entry_id = uuid7()
    async with database.transaction() as tx:
        await audit.record(
            tx,
            ADA,
            "event.made",
            resource="event:1",
            now=NOW,
            client=seals.seal(entry_id, "203.0.113.9"),
            entry_id=entry_id,
        )
    await seal_all(database, at=NOW)
    other = seals.seal(entry_id, "198.51.100.1").sealed
    await database.execute("UPDATE audit_clients SET sealed = $1", other)
    (one,) = map(json.loads, desk("show", "--json")[1].splitlines())
    assert one["client"] == "ALTERED"
    await database.execute("DELETE FROM audit_clients")
    (one,) = map(json.loads, desk("show", "--json")[1].splitlines())
    assert one["client"] is None
    assert desk("verify")[0] == 0


def test_keys_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    first, again = (read({"ECHAIN_HOME": str(tmp_path)}) for _ in range(2))
    assert first.audit_keys == again.audit_keys
    assert len({*first.audit_keys, *first.data_keys, *first.token_keys}) == 3
    assert (tmp_path / "audit.key").stat().st_mode & 0o777 == 0o600
    given = read({"ECHAIN_HOME": str(tmp_path), "ECHAIN_AUDIT_KEYS": f"{OTHER_KEY},{KEY}"})
    assert [key.reveal() for key in given.audit_keys] == [OTHER_KEY, KEY]
