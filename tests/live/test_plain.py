"""Plain WebSocket at /ws/events, spoken to by the `websockets` package."""

from __future__ import annotations

import json
from typing import Any

from tests.live.stage import EVENT, Stage
from websockets.asyncio.client import ClientConnection, connect


async def ask(client: ClientConnection, **op: Any) -> Any:
    await client.send(json.dumps(op))
    return json.loads(await client.recv())


async def heard(client: ClientConnection, count: int) -> list[Any]:
    return [json.loads(await client.recv()) for _ in range(count)]


async def test_a_subscriber_hears_what_is_told_from_then_on(stage: Stage) -> None:
    stage.told.sold()
    async with connect(f"{stage.ws}/ws/events") as client:
        answer = await ask(client, op="subscribe", channels=[EVENT], ref=7)
        assert answer["type"] == "subscribed"
        assert answer["ref"] == 7
        assert answer["data"] == {
            "id": "1",
            "channels": [{"asked": EVENT, "channel": EVENT}],
            "refused": [],
        }
        stage.told.say((EVENT, "ticket_sold", {"price": "5"}), ("event:two", "ticket_sold", {}))
        stage.told.say((EVENT, "reverted", {"ids": ["2"]}))
        assert await heard(client, 2) == [
            {
                "id": "2",
                "type": "ticket_sold",
                "channel": EVENT,
                "timestamp": 1_700_000_000_000,
                "data": {"price": "5"},
            },
            {
                "id": "4",
                "type": "reverted",
                "channel": EVENT,
                "timestamp": 1_700_000_000_000,
                "data": {"ids": ["2"]},
            },
        ]
