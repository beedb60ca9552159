"""The committed artifacts are those of the committed contracts; no compiler is needed to see that."""

import json

import pytest

from contracts import artifacts


def committed(name: str) -> dict:
    return json.loads((artifacts.ARTIFACTS / f"{name}.json").read_text())


def test_the_committed_artifacts_are_of_the_sources_as_they_stand() -> None:
    sources = artifacts.source_hash()
    stale = [name for name in artifacts.CONTRACTS if committed(name)["sourceHash"] != sources]
    assert stale == [], "run `make artifacts`"


def test_the_bytecode_fits_on_a_chain_and_names_no_machine() -> None:
    for name in artifacts.CONTRACTS:
        code = bytes.fromhex(committed(name)["bytecode"].removeprefix("0x"))
        assert 0 < len(code) <= 49_152
        assert str(artifacts.ROOT) not in (artifacts.ARTIFACTS / f"{name}.json").read_text()


def test_every_promise_of_the_interfaces_is_in_the_abi() -> None:
    known = {
        "EventFactory": {"createEvent", "getEvents", "EventCreated", "EventFactory_NotOrganizer"},
        "EventTicket": {"purchaseTickets", "refund", "TicketsPurchased", "Transfer", "EventTicket_SoldOut"},
        "Poap": {"checkInAttendee", "getUserPOAPs", "CheckIn", "Locked", "Poap_GateNotEnabled"},
    }
    for name, words in known.items():
        assert words <= {entry.get("name") for entry in committed(name)["abi"]}


def test_a_file_that_differs_is_named_with_what_to_do() -> None:
    path = artifacts.ARTIFACTS / "Poap.json"
    expected = {at: at.read_text() for at in sorted(artifacts.ARTIFACTS.glob("*.json"))}
    artifacts.check(expected)
    with pytest.raises(SystemExit, match=r"Poap\.json\nRun `make artifacts`"):
        artifacts.check({**expected, path: "{}"})
    del expected[path]
    with pytest.raises(SystemExit, match=r"Poap\.json"):
        artifacts.check(expected)


def test_a_storage_layout_is_told_without_the_compilers_own_numbers() -> None:
    layout = {
        "storage": [
            {"label": "_runs", "slot": "3", "offset": 0, "type": "t_mapping(t_uint256,t_struct(Run)77)"}
        ],
        "types": {
            "t_mapping(t_uint256,t_struct(Run)77)": {
                "label": "mapping(uint256 => struct Run)",
                "value": "t_struct(Run)77",
            },
            "t_struct(Run)77": {
                "label": "struct Run",
                "members": [{"label": "price", "slot": "0", "offset": 0, "type": "t_uint96"}],
            },
            "t_uint96": {"label": "uint96"},
        },
    }
    assert list(artifacts.storage_rows(layout)) == [
        "3+0 mapping(uint256 => struct Run) _runs",
        "0+0 uint96 _runs[].price",
    ]
