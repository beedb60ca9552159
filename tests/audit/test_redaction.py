"""What a diff may say: declared fields, in bounds; of all others that they changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.audit.ledger import ADA, NOW, SEALS

from echain.infra import audit
from echain.infra.audit.redaction import DECLARED, DEEPEST, LONGEST_TEXT, MOST_BYTES, MOST_ITEMS
from echain.infra.crypto import DataKeys, Unopenable
from echain.infra.database import Database
from echain.infra.secret import HIDDEN, Secret
from echain.kernel.ids import uuid7


def shown(name: str, value: object) -> Any:
    return json.loads(audit.redacted({name: [None, value]}))[name][1]


@pytest.mark.parametrize(
    "name", ["email", "token", "secret", "displayName", "endpoint", "device", "url", "x"]
)
def test_of_a_field_that_is_not_declared_only_that_it_changed(name: str) -> None:
    assert name not in DECLARED
    assert audit.redacted({name: ["before", "after"]}) == f'{{"{name}":["{HIDDEN}","{HIDDEN}"]}}'
    assert shown(name, ["a list"]) == HIDDEN
    # A switch gives nothing away, and whether there is something neither.
    assert shown(name, True) is True
    assert shown(name, None) is None


def test_fields_inside_others_must_be_declared_too() -> None:
    assert shown("tiers", [{"name": "Floor", "holder": "Erika", "priceWei": "1"}]) == [
        {"name": "Floor", "holder": HIDDEN, "priceWei": "1"}
    ]
    assert shown("unheard", {"title": "Jazz", "owner": {"email": "a"}}) == {
        "title": "Jazz",
        "owner": {"email": HIDDEN},
    }


@pytest.mark.parametrize(
    "personal",
    [
        *("ada@example.com", "Ada <ada.l@mail.example.co.uk>", "mailto:a+b@c.de"),
        *("eca_" + "x" * 43, "ecg_" + "0" * 20, "whsec_" + "Zm9v" * 8, "https://hooks.example/x?key=1"),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln",
    ],
)
def test_what_people_write_into_texts_is_taken_out(personal: str) -> None:
    text = shown("title", f"Jazz {personal} tonight")
    assert "Jazz" in text
    assert HIDDEN in text
    assert personal.rsplit(maxsplit=1)[-1] not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**53, "9007199254740992"),
        (7, 7),
        (0.5, 0.5),
        (UUID(int=1), str(UUID(int=1))),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (bytes(20), "0x" + "0" * 40),
        (b"\x01", "0x01"),
        ({"b", "a"}, ["a", "b"]),
        ("a\x00\x1b[31mb", "a  [31mb"),
        (object(), HIDDEN),
    ],
)
def test_values_have_one_text(value: object, text: object) -> None:
    assert shown("title", value) == text


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=400)
names = st.sampled_from(sorted(DECLARED)) | st.text(max_size=60)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=80) | st.dictionaries(names, inner, max_size=60),
    max_leaves=120,
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((depth(one) for one in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth(one) for one in value), default=0)
    return 0


@given(st.dictionaries(names, st.lists(values, min_size=2, max_size=2), max_size=12))
def test_whatever_is_given_stays_in_bounds(diff: dict[str, list[Any]]) -> None:
    text = audit.redacted(diff)
    assert len(text.encode()) <= MOST_BYTES
    for pair in json.loads(text).values():
        assert len(pair) == 2
        for value in pair:
            assert depth(value) <= DEEPEST
            assert not isinstance(value, list) or len(value) <= MOST_ITEMS + 1
            assert not isinstance(value, str) or len(value) <= LONGEST_TEXT + 1


def test_only_what_differs_is_told() -> None:
    assert audit.changed({"a": 1, "b": 2}, {"b": 2, "c": 3}) == {"a": [1, None], "c": [None, 3]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "no action"},
        {"action": "Event.made"},
        {"resource": "event"},
        {"resource": "user:ada@example.com"},
        {"actor": audit.Actor("user", "ada@example.com")},
    ],
)
async def test_nothing_else_fits_into_the_other_fields(database: Database, wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"actor": ADA, "action": "event.made", "resource": "event:1"} | wrong
    async with database.transaction() as tx:
        with pytest.raises(ValueError, match=r"is no action|is kind:id|actor's id"):
            await audit.record(tx, given["actor"], given["action"], resource=given["resource"], now=NOW)


def test_a_clients_address_opens_in_its_own_entry_and_with_its_own_commitment_alone() -> None:
    entry_id = uuid7()
    client = SEALS.seal(entry_id, "203.0.113.9")
    assert SEALS.open(entry_id, client.sealed, client.commitment) == "203.0.113.9"
    other = SEALS.seal(entry_id, "203.0.113.9")
    # The same address twice is not seen to be the same.
    assert other.commitment != client.commitment
    assert SEALS.open(entry_id, other.sealed, client.commitment) is None
    with pytest.raises(Unopenable):
        SEALS.open(uuid7(), client.sealed, client.commitment)
    with pytest.raises(Unopenable):
        audit.ClientSeals(DataKeys([Secret("77" * 32)])).open(entry_id, client.sealed, client.commitment)
