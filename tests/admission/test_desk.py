"""Check-in by hand, looking tickets up, the holder's code and proofs of attendance."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from tests.admission.house import CHAIN_ID, House, Person

from echain.kernel.evm import Address, checksum, to_hex
from echain.kernel.ids import derived_id


async def checked_in(client: object, ticket: str, scan_id: str | None = None) -> dict[str, object]:
    body = {} if scan_id is None else {"scanId": scan_id}
    answer = await client("POST", f"/api/v1/tickets/{ticket}/checkin", json_body=body)  # type: ignore[operator]
    assert answer.status == 200, answer.body
    return answer.data


async def test_the_organizer_checks_a_ticket_in_by_hand(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    ticket = await house.sell(event, 7, ada)
    assert (await checked_in(event.organizer.client, ticket))["verdict"] == "admitted"
    told = (await gate.scan(await house.code(ada, ticket))).data
    assert told["verdict"] == "already_admitted"
    assert told["firstAdmission"]["gate"] is None
    [by_hand, _] = await house.scans()
    assert by_hand["operator"] == event.organizer.address
    assert by_hand["code_hash"] is None


async def test_a_gate_checks_a_ticket_in_by_hand(house: House) -> None:
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    ticket = await house.sell(event, 7, ada)
    assert (await checked_in(gate.client, ticket))["verdict"] == "admitted"
    assert (await checked_in(gate.client, ticket))["verdict"] == "already_admitted"
    assert await house.admitted(event) == [7]


async def test_a_gate_is_told_when_a_ticket_by_hand_is_of_another_event(house: House) -> None:
    event, other, ada = await house.event(), await house.event(), await house.person()
    gate = await house.open_gate(event)
    await house.sell(event, 7, ada)
    said = await checked_in(gate.client, await house.sell(other, 7, ada))
    assert (said["verdict"], said["ticket"]) == ("wrong_event", None)
    assert await house.admitted(event) == await house.admitted(other) == []
    [kept] = await house.scans()
    assert (kept["ticket_contract"], kept["token_id"]) == (other.contract, 7)


async def test_a_check_in_by_hand_sent_again_answers_the_first_verdict(house: House) -> None:
    event, ada = await house.event(), await house.person()
    ticket, other = await house.sell(event, 7, ada), await house.sell(event, 8, ada)
    scan_id = str(uuid4())
    first = await checked_in(event.organizer.client, ticket, scan_id)
    assert await checked_in(event.organizer.client, ticket, scan_id) == first
    answer = await event.organizer.client(
        "POST", f"/api/v1/tickets/{other}/checkin", json_body={"scanId": scan_id}
    )
    assert (answer.status, answer.error["code"]) == (409, "admission.scan_reused")
    assert await house.admitted(event) == [7]


async def test_a_stranger_checks_nobody_in(house: House) -> None:
    event, ada = await house.event(), await house.person()
    ticket = await house.sell(event, 7, ada)
    answer = await ada.client("POST", f"/api/v1/tickets/{ticket}/checkin", json_body={})
    assert answer.status == 404
    answer = await house.client()("POST", f"/api/v1/tickets/{ticket}/checkin", json_body={})
    assert answer.status == 401
    assert await house.scans() == []


@pytest.mark.parametrize("ticket", ["7", "84532-0x12-7", f"84532-0x{'1' * 40}-", f"0-0x{'1' * 40}-7"])
async def test_a_name_that_is_no_tickets_is_not_found(house: House, ticket: str) -> None:
    ada = await house.person()
    answer = await ada.client("GET", f"/api/v1/tickets/{ticket}/qr")
    assert (answer.status, answer.error["code"]) == (404, "tickets.not_found")


async def test_a_gate_looks_tickets_up_by_number_and_by_holder(house: House) -> None:
    event, ada, bo = await house.event(), await house.person(), await house.person()
    gate = await house.open_gate(event)
    for token_id, holder in enumerate([ada, bo, ada, bo, ada]):
        await house.sell(event, token_id, holder)
    await house.sell(await house.event(), 0, ada)
    admission = (await gate.scan(house.signed(event, 2, ada.address))).data["admissionId"]

    async def found(query: str) -> list[dict[str, object]]:
        answer = await gate.client("GET", f"/api/v1/gates/{gate.id}/tickets?{query}")
        assert answer.status == 200, answer.body
        assert answer.json["meta"]["page"]["total"] == len(answer.data)
        return answer.data

    assert [ticket["token_id"] for ticket in await found(f"holder={checksum(ada.address)}")] == [0, 2, 4]
    [ticket] = await found("tokenId=2")
    assert ticket["id"] == event.ticket(2)
    assert ticket["holder"] == checksum(ada.address)
    assert ticket["admissionId"] == admission
    assert await found(f"tokenId=1&holder={checksum(ada.address)}") == []
    assert len(await found("")) == 5


async def test_only_its_holder_gets_a_tickets_code(house: House) -> None:
    event, ada, bo = await house.event(), await house.person(), await house.person()
    ticket = await house.sell(event, 7, ada)
    answer = await ada.client("GET", f"/api/v1/tickets/{ticket}/qr")
    assert answer.status == 200
    assert answer.header("cache-control") == "no-store"
    shown = answer.data
    assert shown["refreshAfter"] == "2026-01-02T03:04:30Z"
    assert shown["validUntil"] == "2026-01-02T03:05:00Z"
    for person in (bo, event.organizer):
        assert (await person.client("GET", f"/api/v1/tickets/{ticket}/qr")).status == 404
    assert (await house.client()("GET", f"/api/v1/tickets/{ticket}/qr")).status == 401


async def test_a_ticket_that_was_given_away_gives_its_old_holder_no_new_code(house: House) -> None:
    event, ada, bo = await house.event(), await house.person(), await house.person()
    ticket = await house.sell(event, 7, ada)
    await house.sell(event, 7, bo)
    assert (await ada.client("GET", f"/api/v1/tickets/{ticket}/qr")).status == 404
    assert (await bo.client("GET", f"/api/v1/tickets/{ticket}/qr")).status == 200


async def test_a_refunded_ticket_and_a_cancelled_event_have_no_codes(house: House) -> None:
    event, ada = await house.event(), await house.person()
    path = f"/api/v1/tickets/{await house.sell(event, 7, ada, state='refunded')}/qr"
    answer = await ada.client("GET", path)
    assert (answer.status, answer.error["code"]) == (409, "admission.ticket_spent")
    await house.sell(event, 7, ada)
    await house.database.execute("UPDATE events SET cancelled = TRUE")
    assert (await ada.client("GET", path)).status == 409


async def attested(house: House, number: int, token_id: int, attendee: Person, minute: int) -> None:
    await house.database.execute(
        "INSERT INTO poaps VALUES ($1, $2, $3, $4, 9, $7, $5, $6)",
        CHAIN_ID,
        number,
        token_id,
        attendee.address,
        bytes([number]) * 32,
        house.clock() + timedelta(minutes=minute),
        token_id,
    )


async def test_poaps_are_listed_newest_first_by_attendee_and_by_event(house: House) -> None:
    event, ada, bo = await house.event(), await house.person(), await house.person()
    other = await house.event()
    await attested(house, event.number, 7, ada, 1)
    await attested(house, event.number, 8, bo, 2)
    await attested(house, other.number, 9, ada, 3)
    anyone = house.client()

    async def found(query: str) -> list[dict[str, object]]:
        answer = await anyone("GET", f"/api/v1/poaps?{query}")
        assert answer.status == 200, answer.body
        return answer.data

    mine = await found(f"attendee={checksum(ada.address)}")
    assert [poap["token_id"] for poap in mine] == [9, 7]
    assert mine[1] == {
        "chainId": CHAIN_ID,
        "eventId": str(event.id),
        "blockchain_id": str(event.number),
        "token_id": 7,
        "poapId": str(event.number << 128 | 7),
        "attendee": checksum(ada.address),
        "transactionHash": to_hex(bytes([event.number]) * 32),
        "mintedAt": "2026-01-02T03:05:05Z",
    }
    assert [poap["token_id"] for poap in await found(f"eventId={event.id}")] == [8, 7]
    assert len(await found(f"eventId={event.id}&attendee={checksum(ada.address)}")) == 1
    paged = await anyone("GET", f"/api/v1/poaps?attendee={checksum(ada.address)}&perPage=1&page=2")
    assert paged.json["meta"]["page"] == {"perPage": 1, "page": 2, "total": 2, "pages": 2}
    assert [poap["token_id"] for poap in paged.data] == [7]


async def test_poaps_are_asked_for_by_somebody_or_some_event_that_there_is(house: House) -> None:
    anyone = house.client()
    answer = await anyone("GET", "/api/v1/poaps")
    assert (answer.status, list(answer.fields)) == (422, ["attendee"])
    answer = await anyone("GET", f"/api/v1/poaps?eventId={derived_id(1)}")
    assert (answer.status, answer.error["code"]) == (404, "events.not_found")
    spelled = checksum(Address(b"\xab" * 20))
    assert (await anyone("GET", f"/api/v1/poaps?attendee={spelled}")).status == 200
    answer = await anyone("GET", f"/api/v1/poaps?attendee=0x{spelled[2:].swapcase()}")
    assert (answer.status, list(answer.fields)) == (422, ["attendee"])
