"""`echain keys`: what seals what, and everything sealed anew while people change their addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.notify.pushservice import Browser
from tests.notify.town import KEYS, Town

from echain.entry.datakeys import COLUMNS, attend
from echain.infra.config import load
from echain.infra.crypto import DataKeys, Unopenable
from echain.infra.database import Database
from echain.infra.secret import Secret

OLD, NEW = "11" * 32, "44" * 32
OLD_NAME, NEW_NAME = KEYS.names[0], DataKeys([Secret(NEW)]).names[0]


async def test_every_sealed_column_is_attended_to(database: Database) -> None:
    rows = await database.fetch(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name LIKE '%sealed%'"
    )
    assert {(row["table_name"], row["column_name"]) for row in rows} == {
        (column.table, column.column) for column in COLUMNS
    }


async def test_a_rotation_leaves_nothing_to_the_old_key(town: Town, tmp_path: Path) -> None:
    ada = await town.resident("ada@x.example")
    await town.ask(ada, "POST", "/push/subscriptions", Browser("https://push.example/x").subscription)

    def config(keys: str):
        return load({"ECHAIN_HOME": str(tmp_path), "ECHAIN_DATABASE_URL": town.url, "ECHAIN_DATA_KEYS": keys})

    assert await attend(config(OLD), rotate=False) == [f"{OLD_NAME}         3  seals"]
    assert await attend(config(NEW), rotate=False) == [
        f"{NEW_NAME}         0  seals",
        f"{OLD_NAME}         3  MISSING from ECHAIN_DATA_KEYS",
    ]
    with pytest.raises(Unopenable):
        await attend(config(NEW), rotate=True)
    assert await attend(config(f"{NEW},{OLD}"), rotate=True) == [
        "3 values sealed anew",
        f"{NEW_NAME}         3  seals",
        f"{OLD_NAME}         0  opens; retire it when it seals nothing",
    ]
    assert await attend(config(NEW), rotate=True) == ["0 values sealed anew", f"{NEW_NAME}         3  seals"]
