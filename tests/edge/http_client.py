"""A client that calls an ASGI application in this process, byte for byte as a server would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answered:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for known, value in self.headers if known == name]
        assert len(found) <= 1, f"{name} is sent {len(found)} times"
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        assert self.json["success"] is True, self.body
        return self.json["data"]

    @property
    def error(self) -> Any:
        assert self.json["success"] is False, self.body
        return self.json["error"]

    @property
    def fields(self) -> dict[str, str]:
        return {field["path"]: field["reason"] for field in self.error["details"]["fields"]}


class Client:
    """Sends requests to an application; ``defaults`` are headers of every request."""

    def __init__(self, app: Any, defaults: Mapping[str, str] | None = None) -> None:
        self.app = app
        self.defaults = dict(defaults or {})

    async def __call__(
        self,
        method: str,
        target: str | bytes,
        *,
        headers: Mapping[str, str] | None = None,
        pairs: list[tuple[bytes, bytes]] | None = None,
        body: bytes = b"",
        json_body: object = None,
        address: str = "192.0.2.7",
    ) -> Answered:
        given = {**self.defaults, **(headers or {})}
        if json_body is not None:
            body = json.dumps(json_body).encode()
            given.setdefault("content-type", "application/json")
        raw = target if isinstance(target, bytes) else target.encode("ascii")
        path, _, query = raw.partition(b"?")
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()]
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "headers": encoded + (pairs or []),
            "client": (address, 50_000),
        }
        sent: list[dict[str, Any]] = []
        parts = [body]

        async def receive() -> dict[str, Any]:
            if not parts:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": parts.pop(), "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, *rest = sent
        return Answered(
            start["status"],
            [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]],
            b"".join(message["body"] for message in rest),
        )
