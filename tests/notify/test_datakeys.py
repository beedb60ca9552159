"""`echain keys`: what seals what, and everything sealed anew while people change their addresses."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from tests.infra.postoffice import post_office
from tests.notify.pushservice import Browser
from tests.notify.town import KEYS, Town

from echain.accounts.accesstokens import AccessTokens
from echain.entry import report
from echain.entry.datakeys import COLUMNS, attend, token_keys
from echain.entry.settings import read
from echain.infra.config import load
from echain.infra.crypto import DataKeys, Unopenable
from echain.infra.database import Database
from echain.infra.secret import Secret

OLD, NEW = "11" * 32, "44" * 32
OLD_NAME, NEW_NAME = KEYS.names[0], DataKeys([Secret(NEW)]).names[0]


def test_keys_that_nobody_gives_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    first = read({"ECHAIN_HOME": str(tmp_path)})
    again = read({"ECHAIN_HOME": str(tmp_path)})
    assert (first.data_keys, first.vapid_key) == (again.data_keys, again.vapid_key)
    assert first.data_keys[0] != first.vapid_key
    for name in ("data.key", "vapid.key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    given = read({"ECHAIN_HOME": str(tmp_path), "ECHAIN_DATA_KEYS": NEW, "ECHAIN_VAPID_KEY": OLD})
    assert [key.reveal() for key in given.data_keys] == [NEW]
    assert given.vapid_key == Secret(OLD)


@pytest.mark.parametrize(
    ("login", "good", "said"),
    [
        ("ada:right@", True, "the server lets us in"),
        ("ada:wrong@", False, "the server refuses the login (535)"),
        (None, True, "ECHAIN_SMTP_URL is not set"),
    ],
)
async def test_doctor_tells_whether_mail_can_be_sent(
    tmp_path: Path, login: str | None, good: bool, said: str
) -> None:
    async with post_office(login=("ada", "right")) as office:
        mail = {
            "ECHAIN_SMTP_URL": f"smtp://{login}127.0.0.1:{office.port}",
            "ECHAIN_MAIL_FROM": "t@x.example",
        }
        config = load({"ECHAIN_HOME": str(tmp_path)} | (mail if login else {}))
        console = Console(file=StringIO(), soft_wrap=True)
        assert await report._mail(config, console) is good
        assert isinstance(console.file, StringIO)
        printed = console.file.getvalue()
    assert said in printed
    assert "wrong" not in printed
    assert office.letters == []


async def test_every_sealed_column_is_attended_to(database: Database) -> None:
    rows = await database.fetch(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name LIKE '%sealed%' AND data_type = 'bytea'"
    )
    # What arrives there is moved to audit_clients within a second, and sealed anew where it then lies.
    passing = {("audit_arrivals", "sealed_client")}
    assert {(row["table_name"], row["column_name"]) for row in rows} - passing == {
        (column.table, column.column) for column in COLUMNS
    }


def test_the_keys_of_access_tokens_are_named_as_the_published_ones_are(tmp_path: Path) -> None:
    settings = load({"ECHAIN_HOME": str(tmp_path), "ECHAIN_TOKEN_KEYS": f"{NEW},{OLD}"})
    published = [key.kid for key in AccessTokens(settings.token_keys, issuer=settings.public_url).keys]
    assert token_keys(settings) == [
        f"{published[0]}  signs access tokens",
        f"{published[1]}  checks access tokens",
    ]
    assert len(set(published)) == 2


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
