"""What the door tells of itself: who listens counts along, and learns no ticket."""

from __future__ import annotations

import msgspec
from tests.admission.house import House
from tests.kernel.conformity import conforms

from echain.infra.database import Database
from echain.kernel.messages import Message


async def told(database: Database) -> list[Message]:
    rows = await database.fetch("SELECT channels, type, data FROM outbox ORDER BY position")
    messages = [Message(tuple(row[0].split(" ")), row[1], msgspec.json.decode(row[2])) for row in rows]
    for message in messages:
        conforms(message)
    return messages


async def test_an_admission_and_its_undoing_are_told_to_the_event(house: House, database: Database) -> None:
    await database.execute("DELETE FROM outbox")
    event, ada = await house.event(), await house.person()
    gate = await house.open_gate(event)
    code = await house.code(ada, await house.sell(event, 7, ada))
    first = await gate.scan(code)
    assert await gate.verdict(code) == "already_admitted"
    assert await gate.verdict("nonsense") == "malformed"
    for _ in range(2):
        assert (await gate.undo(first.data["admissionId"])).status == 200
    channels, data = (f"event:{event.id}",), {"eventId": str(event.id), "gate": gate.id}
    assert await told(database) == [
        Message(channels, "admitted", data),
        Message(channels, "admission_undone", data),
    ]


async def test_the_desk_tells_no_gate(house: House, database: Database) -> None:
    await database.execute("DELETE FROM outbox")
    event, ada = await house.event(), await house.person()
    ticket = await house.sell(event, 7, ada)
    answer = await event.organizer.client("POST", f"/api/v1/tickets/{ticket}/checkin", json_body={})
    assert answer.data["verdict"] == "admitted", answer.body
    assert await told(database) == [
        Message((f"event:{event.id}",), "admitted", {"eventId": str(event.id), "gate": None})
    ]
