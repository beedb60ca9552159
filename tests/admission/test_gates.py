"""Who may open, use and shut a gate, and what a gate may undo."""

from __future__ import annotations

from uuid import uuid4

import pytest
from tests.admission.house import Event, Gate, House, Person

from echain.admission.authentication import hashed, new_secret


async def opened(house: House) -> tuple[Event, Gate, Person]:
    event = await house.event()
    return event, await house.open_gate(event), await house.person()


async def test_a_gates_secret_is_shown_once_and_kept_as_a_hash(house: House) -> None:
    event, gate, _ = await opened(house)
    kept = await house.database.fetchrow("SELECT * FROM gates")
    assert kept is not None
    assert kept["secret_hash"] == hashed(gate.secret)
    assert gate.secret not in str(dict(kept))
    listed = await event.organizer.client("GET", f"/api/v1/gates?eventId={event.id}")
    assert [shown["id"] for shown in listed.data] == [gate.id]
    assert "secret" not in listed.data[0]
    assert gate.secret not in listed.body.decode()


async def test_an_answer_with_a_secret_is_kept_by_no_cache(house: House) -> None:
    event = await house.event()
    answer = await event.organizer.client(
        "POST", "/api/v1/gates", json_body={"eventId": str(event.id), "name": "Door"}
    )
    assert answer.header("cache-control") == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/gates", {"eventId": "EVENT", "name": "Mine"}),
        ("GET", "/api/v1/gates?eventId=EVENT", None),
        ("POST", "/api/v1/gates/GATE/revoke", {}),
        ("POST", "/api/v1/gates/GATE/enable", {}),
        ("POST", "/api/v1/gates/GATE/undo", {"admissionId": "ADMISSION"}),
        ("GET", "/api/v1/gates/GATE/tickets", None),
        ("POST", "/api/v1/tickets/TICKET/checkin", {}),
    ],
)
async def test_another_organizer_finds_nothing_and_changes_nothing(
    house: House, method: str, path: str, body: dict[str, str] | None
) -> None:
    event, gate, ada = await opened(house)
    ticket = await house.sell(event, 7, ada)
    admission = (await gate.scan(await house.code(ada, ticket))).data["admissionId"]
    stranger = (await house.event()).organizer
    before = await house.database.fetch("SELECT * FROM gates"), await house.scans()

    def named(text: str) -> str:
        named = text.replace("EVENT", str(event.id)).replace("GATE", gate.id)
        return named.replace("ADMISSION", admission).replace("TICKET", ticket)

    content = None if body is None else {key: named(value) for key, value in body.items()}
    answer = await stranger.client(method, named(path), json_body=content)
    assert answer.status == 404, answer.body
    assert (await house.database.fetch("SELECT * FROM gates"), await house.scans()) == before
    assert await house.admitted(event) == [7]


async def test_a_gate_of_another_event_is_not_found_and_its_scans_are_not_ours(house: House) -> None:
    event, gate, ada = await opened(house)
    other = await house.open_gate(await house.event())
    code = await house.code(ada, await house.sell(event, 7, ada))
    answer = await other.client("POST", f"/api/v1/gates/{gate.id}/scan", json_body={"code": code})
    assert (answer.status, answer.error["code"]) == (404, "admission.gate_not_found")
    answer = await other.client("GET", f"/api/v1/gates/{gate.id}/tickets")
    assert answer.status == 404
    assert await house.scans() == []


async def test_a_scan_wants_a_gates_secret_and_nothing_else(house: House) -> None:
    event, gate, _ = await opened(house)
    for client, status in (
        (house.client(), 401),
        (house.client("ecg_" + "A" * 43), 401),
        (house.client("ecg_short"), 401),
        (event.organizer.client, 403),
    ):
        answer = await client("POST", f"/api/v1/gates/{gate.id}/scan", json_body={"code": "x"})
        assert answer.status == status, answer.body
    assert await house.scans() == []


async def test_a_gates_secret_opens_no_users_door(house: House) -> None:
    event, gate, _ = await opened(house)
    answer = await gate.client("GET", f"/api/v1/gates?eventId={event.id}")
    assert answer.status == 403
    answer = await gate.client("POST", "/api/v1/gates", json_body={"eventId": str(event.id), "name": "More"})
    assert answer.status == 403


async def test_a_revoked_gate_is_refused_at_once_and_what_it_admitted_stands(house: House) -> None:
    event, gate, ada = await opened(house)
    await house.sell(event, 1, ada)
    await house.sell(event, 2, ada)
    assert await gate.verdict(house.signed(event, 1, ada.address)) == "admitted"
    revoked = await event.organizer.client("POST", f"/api/v1/gates/{gate.id}/revoke", json_body={})
    assert revoked.data["revokedAt"]
    # This process still remembers the secret; the gate's row decides.
    answer = await gate.scan(house.signed(event, 2, ada.address))
    assert (answer.status, answer.error["code"]) == (401, "admission.gate_secret_invalid")
    answer = await gate.client("GET", f"/api/v1/gates/{gate.id}/tickets")
    assert answer.status == 404
    house.clock.pass_by(seconds=31)
    answer = await gate.client("GET", f"/api/v1/gates/{gate.id}/tickets")
    assert (answer.status, answer.error["code"]) == (401, "admission.gate_secret_invalid")
    assert await house.admitted(event) == [1]


async def test_a_scanner_of_a_revoked_gate_guesses_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, gate, ada = await opened(house)
    await house.sell(event, 1, ada)
    code = house.signed(event, 1, ada.address)
    assert await gate.verdict(code) == "admitted"
    heard: list[str] = []
    monkeypatch.setattr(house.app, "_on_refused", heard.append)
    await event.organizer.client("POST", f"/api/v1/gates/{gate.id}/revoke", json_body={})
    # While its secret is remembered here, when it is not any more, and when it is remembered as refused.
    for _ in range(4):
        assert (await gate.scan(code)).status == 401
        house.clock.pass_by(seconds=20)
    assert heard == []
    stranger = house.client(new_secret())
    for count in (1, 2):
        answer = await stranger("GET", f"/api/v1/gates/{gate.id}/tickets")
        assert (answer.status, len(heard)) == (401, count)


async def test_a_gate_revoked_twice_keeps_the_first_time(house: House) -> None:
    event, gate, _ = await opened(house)
    path = f"/api/v1/gates/{gate.id}/revoke"
    first = (await event.organizer.client("POST", path, json_body={})).data["revokedAt"]
    house.clock.pass_by(minutes=1)
    assert (await event.organizer.client("POST", path, json_body={})).data["revokedAt"] == first


@pytest.mark.parametrize("name", ["", "x" * 81, "Main\ndoor"])
async def test_a_gate_wants_a_name_that_a_screen_can_show(house: House, name: str) -> None:
    event = await house.event()
    answer = await event.organizer.client(
        "POST", "/api/v1/gates", json_body={"eventId": str(event.id), "name": name}
    )
    assert (answer.status, list(answer.fields)) == (422, ["name"])


async def test_an_undone_admission_is_admitted_again(house: House) -> None:
    event, gate, ada = await opened(house)
    ticket = await house.sell(event, 7, ada)
    first = (await gate.scan(await house.code(ada, ticket))).data
    undone = await gate.undo(first["admissionId"])
    assert undone.status == 200
    assert (undone.data["admissionId"], undone.data["token_id"]) == (first["admissionId"], 7)
    assert await house.admitted(event) == []
    again = (await gate.scan(await house.code(ada, ticket))).data
    assert again["verdict"] == "admitted"
    assert again["admissionId"] != first["admissionId"]
    assert len(await house.scans()) == 2


async def test_undo_lets_in_again_though_the_poap_was_minted_meanwhile(house: House) -> None:
    event, gate, ada = await opened(house)
    ticket = await house.sell(event, 7, ada)
    first = (await gate.scan(await house.code(ada, ticket))).data
    await house.sell(event, 7, ada, state="used")
    assert (await gate.undo(first["admissionId"])).status == 200
    assert await gate.verdict(await house.code(ada, ticket)) == "admitted"


async def test_undoing_twice_changes_nothing_and_never_undoes_the_next_admission(house: House) -> None:
    event, gate, ada = await opened(house)
    ticket = await house.sell(event, 7, ada)
    first = (await gate.scan(await house.code(ada, ticket))).data["admissionId"]
    at = (await gate.undo(first)).data["undoneAt"]
    await gate.scan(await house.code(ada, ticket))
    house.clock.pass_by(seconds=5)
    assert (await gate.undo(first)).data["undoneAt"] == at
    assert await house.admitted(event) == [7]


async def test_a_gate_undoes_its_own_admissions_for_ten_minutes_the_organizer_any_at_any_time(
    house: House,
) -> None:
    event, gate, ada = await opened(house)
    other = await house.open_gate(event)
    for token_id in (1, 2):
        await house.sell(event, token_id, ada)
    first = (await gate.scan(house.signed(event, 1, ada.address))).data["admissionId"]
    answer = await other.client("POST", f"/api/v1/gates/{gate.id}/undo", json_body={"admissionId": first})
    assert answer.status == 404
    answer = await other.undo(first)
    assert (answer.status, answer.error["code"]) == (403, "admission.undo_too_late")
    house.clock.pass_by(minutes=11)
    answer = await gate.undo(first)
    assert (answer.status, answer.error["code"]) == (403, "admission.undo_too_late")
    organizer = house.client()
    organizer.defaults = event.organizer.client.defaults
    answer = await organizer("POST", f"/api/v1/gates/{gate.id}/undo", json_body={"admissionId": first})
    assert answer.status == 200
    assert await house.admitted(event) == []


async def test_an_admission_of_another_event_cannot_be_undone_from_here(house: House) -> None:
    event, gate, ada = await opened(house)
    other = await house.event(event.organizer)
    elsewhere = await house.open_gate(other)
    ticket = await house.sell(other, 7, ada)
    admission = (await elsewhere.scan(await house.code(ada, ticket))).data["admissionId"]
    answer = await gate.undo(admission)
    assert (answer.status, answer.error["code"]) == (404, "admission.not_found")
    assert (await gate.undo(str(uuid4()))).status == 404
    assert await house.admitted(other) == [7]


async def test_a_gate_that_nobody_opened_is_not_found(house: House) -> None:
    organizer = (await house.event()).organizer
    for path in ("revoke", "enable"):
        answer = await organizer.client("POST", f"/api/v1/gates/{uuid4()}/{path}", json_body={})
        assert answer.status == 404
