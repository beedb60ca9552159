"""What Socket.IO clients ask by event names, the older platform's names among them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, Protocol, TypeAlias, cast

import msgspec

from echain.edge.live.access import Identity, RequestMalformed
from echain.edge.live.session import Subscribed, asked_of
from echain.kernel.errors import EchainError, Kind
from echain.kernel.time import rfc3339

Act: TypeAlias = Callable[[], Awaitable[None]]
Answer: TypeAlias = Callable[[object], None]

_MOST_NAMES: Final = 200
_ONE_OR_TWO: Final = 2


class VerbUnknown(EchainError):
    """There is no such operation; see docs/live.md."""

    kind = Kind.INVALID
    code = "live.operation_unknown"


class Verb(NamedTuple):
    """An event name that joins, or leaves, the one channel of a thing: ``prefix`` and the thing's id.

    The id comes as the first argument, or in an object under one of ``fields``.
    """

    prefix: str
    fields: tuple[str, ...]
    leaves: bool = False


class Asker(Protocol):
    """The connection that asks."""

    async def subscribe(
        self, asked: Mapping[str, int | None], reply: Callable[[Subscribed], None]
    ) -> None: ...

    async def unsubscribe(self, names: list[str]) -> list[str]: ...

    async def authenticate(self, token: str) -> Identity: ...


class Verbs:
    """Does what a client's events ask. ``joins`` are names that join or leave one channel each."""

    def __init__(self, joins: Mapping[str, Verb]) -> None:
        self._joins = joins

    async def act(self, asker: Asker, name: str, arguments: tuple[object, ...], answer: Answer) -> None:
        """Do it and answer, once.

        Raises:
            EchainError: why not.
        """
        verb = self._joins.get(name)
        if verb is not None:
            await _join(asker, verb, arguments, answer)
        elif name == "subscribe":
            await _subscribe(asker, arguments, answer)
        elif name == "unsubscribe":
            answer(success({"channels": await asker.unsubscribe(_names(_object(arguments)))}))
        elif name == "auth":
            token = _object(arguments).get("token")
            if not isinstance(token, str):
                raise RequestMalformed('auth takes {"token": "…"}')
            identity = await asker.authenticate(token)
            answer(success(identity_shown(identity)))
        else:
            raise VerbUnknown(f"{name[:80]} is no operation; see docs/live.md")


async def _join(asker: Asker, verb: Verb, arguments: tuple[object, ...], answer: Answer) -> None:
    thing, after = _thing(verb, arguments)
    name = verb.prefix + thing
    if verb.leaves:
        answer(success({"channels": await asker.unsubscribe([name])}))
        return

    def reply(done: Subscribed) -> None:
        if done.refused:
            answer(failure(done.refused[0].code, done.refused[0].message))
        else:
            answer(success({"id": done.id, "channel": done.channels[0].channel, "schema": done.schema}))

    await asker.subscribe(asked_of([name], after), reply)


def _thing(verb: Verb, arguments: tuple[object, ...]) -> tuple[str, object]:
    """Return the id and the position that an argument says, as text or in an object."""
    first = arguments[0] if arguments else None
    if isinstance(first, str | int) and not isinstance(first, bool):
        second = arguments[1] if len(arguments) == _ONE_OR_TWO else None
        after = cast("Mapping[str, object]", second).get("after") if isinstance(second, dict) else second
        return str(first), after
    said = _object(arguments)
    for field in verb.fields:
        value = said.get(field)
        if isinstance(value, str):
            return value, said.get("after")
    raise RequestMalformed(f"say which: a text, or an object with {' or '.join(verb.fields)}")


async def _subscribe(asker: Asker, arguments: tuple[object, ...], answer: Answer) -> None:
    said = _object(arguments)

    def reply(done: Subscribed) -> None:
        answer({"success": bool(done.channels) or not done.refused, "data": msgspec.to_builtins(done)})

    await asker.subscribe(asked_of(_names(said), said.get("after")), reply)


def _object(arguments: tuple[object, ...]) -> Mapping[str, object]:
    if len(arguments) != 1 or not isinstance(arguments[0], dict):
        raise RequestMalformed("one object is expected")
    return cast("Mapping[str, object]", arguments[0])


def _names(said: Mapping[str, object]) -> list[str]:
    names = said.get("channels")
    if isinstance(names, list):
        texts = [name for name in cast("list[object]", names) if isinstance(name, str)]
        if 0 < len(texts) == len(cast("list[object]", names)) <= _MOST_NAMES:
            return texts
    raise RequestMalformed(f"channels: a list of 1 to {_MOST_NAMES} names is expected")


def success(data: object) -> Mapping[str, object]:
    """Return what an operation that was done is acknowledged with."""
    return {"success": True, "data": data}


def failure(code: str, message: str) -> Mapping[str, object]:
    """Return what an operation that was refused is acknowledged with."""
    return {"success": False, "error": {"code": code, "message": message}}


def identity_shown(identity: Identity) -> Mapping[str, object]:
    """Return an identity as clients are told."""
    return {"address": identity.address, "expiresAt": rfc3339(identity.expires_at)}
