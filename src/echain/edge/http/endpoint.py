"""One endpoint: what it takes, what it answers, who may call it; declared where its handler stands."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import msgspec

from echain.edge.http.body import RawBody
from echain.edge.http.call import Auth, B, Call, Nothing, P, Q
from echain.edge.http.deprecation import Deprecation
from echain.kernel.errors import EchainError

Handler: TypeAlias = Callable[[Call[P, Q, B]], Awaitable[object]]
Decorator: TypeAlias = Callable[[Handler[P, Q, B]], "Endpoint"]

Charge: TypeAlias = Literal["read", "write", "sign-in"]
"""Of which of a caller's turns a request takes one; who is known has no turns for signing in but writes."""

DEFAULT_MAX_BODY_BYTES = 65_536

SESSIONS_ONLY = "auth"
"""The tag of endpoints that want a person who signed in; no API key opens them."""

_SEGMENT = re.compile(r"\{[a-z][A-Za-z0-9_]*\}|[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What `get`, `post`, `put` and `delete` make of a handler; `application` serves it."""

    method: str
    path: str
    handler: Callable[[Call[Any, Any, Any]], Awaitable[object]]
    summary: str
    tag: str
    answer: Any
    path_params: type[msgspec.Struct] = Nothing
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] = Nothing
    status: int = 200
    auth: Auth = Auth.PUBLIC
    errors: Sequence[type[EchainError]] = ()
    description: str = ""
    other_statuses: Sequence[int] = ()
    media_type: str = "application/json"
    listed: bool = True
    limited: bool = True
    charged: Charge | None = None
    idempotent: bool = False
    shows_secret: bool = False
    deprecated: Deprecation | None = None
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES

    def __post_init__(self) -> None:
        """Refuse a declaration that contradicts itself.

        Raises:
            ValueError: the path is misspelled, or it and its parameters differ, or a raw body is to be told
                apart by an Idempotency-Key, for which it would have to be read first.
        """
        if self.idempotent and self.body is RawBody:
            raise ValueError(f"{self.method} {self.path}: a raw body and idempotent exclude each other")
        well = self.path == "/" or all(map(_SEGMENT.fullmatch, self.segments))
        if not self.path.startswith("/") or not well:
            raise ValueError(f"{self.path}: a path is /segments of letters, digits, ._~- or {{parameter}}")
        named = {segment[1:-1] for segment in self.segments if segment.startswith("{")}
        declared = {field.encode_name for field in msgspec.structs.fields(self.path_params)}
        if named != declared:
            raise ValueError(
                f"{self.method} {self.path}: path_params has {sorted(declared)}, not {sorted(named)}"
            )

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's parts; the parameters' stand in braces."""
        return tuple(self.path.split("/")[1:])

    @property
    def scope(self) -> str:
        """What an API key must be allowed, as ``events:read`` or ``events:write``."""
        return f"{self.tag}:{'read' if self.method == 'GET' else 'write'}"

    @property
    def charge(self) -> Charge:
        """Of what turns a request takes one: as declared, else by the method."""
        return self.charged or ("read" if self.method == "GET" else "write")

    @property
    def takes_body(self) -> bool:
        """Whether a body is read at all."""
        return self.method in {"POST", "PUT"}


class Options(TypedDict, total=False):
    """What every endpoint may say besides its types.

    ``status`` of success, ``errors`` of its own (those of the toolkit come by themselves),
    ``other_statuses`` of success that a `Reply` may choose, ``media_type`` of a `Raw` answer, ``listed``
    False to keep it out of OpenAPI, ``limited`` False where no number of calls is too many, ``charged`` what
    a call counts as where the method does not say it, ``deprecated`` since when and for what it is on its way
    out.
    """

    status: int
    auth: Auth
    errors: Sequence[type[EchainError]]
    description: str
    other_statuses: Sequence[int]
    media_type: str
    listed: bool
    limited: bool
    charged: Charge | None
    deprecated: Deprecation | None


class WriteOptions(Options, total=False):
    """What an endpoint with a body may say: the most bytes it takes, 64 KiB unless told."""

    max_body_bytes: int


class PostOptions(WriteOptions, total=False):
    """What a POST may say.

    ``idempotent`` lets it honour Idempotency-Key. ``shows_secret`` is for answers that are given once: they
    are not kept, and a retry hears that the first request took effect.
    """

    idempotent: bool
    shows_secret: bool


def scopes_of(endpoints: Iterable[Endpoint]) -> set[str]:
    """Return every scope that an API key may be given: of what asks who calls and wants no session."""
    return {
        one.scope
        for one in endpoints
        if one.tag != SESSIONS_ONLY and one.auth not in (Auth.PUBLIC, Auth.GATE, Auth.ADMIN)
    }


def get(
    path: str,
    *,
    summary: str,
    tag: str,
    answer: Any,
    path_params: type[P] = Nothing,
    query: type[Q] = Nothing,
    **options: Unpack[Options],
) -> Decorator[P, Q, Nothing]:
    """Declare a read; HEAD comes with it, and an ETag with If-None-Match.

    ``answer`` is the type of ``data``: a Struct, ``list[T]`` (the handler then returns a `Page` of T or a
    list), None, or `Raw` for an answer without envelope. A union documents alternatives.
    """

    def declare(handler: Handler[P, Q, Nothing]) -> Endpoint:
        return Endpoint(
            method="GET",
            path=path,
            handler=handler,
            summary=summary,
            tag=tag,
            answer=answer,
            path_params=path_params,
            query=query,
            **options,
        )

    return declare


def post(
    path: str,
    *,
    summary: str,
    tag: str,
    answer: Any,
    path_params: type[P] = Nothing,
    query: type[Q] = Nothing,
    body: type[B] = Nothing,
    **options: Unpack[PostOptions],
) -> Decorator[P, Q, B]:
    """Declare a POST; see `get` for ``answer``."""

    def declare(handler: Handler[P, Q, B]) -> Endpoint:
        return Endpoint(
            method="POST",
            path=path,
            handler=handler,
            summary=summary,
            tag=tag,
            answer=answer,
            path_params=path_params,
            query=query,
            body=body,
            **options,
        )

    return declare


def put(
    path: str,
    *,
    summary: str,
    tag: str,
    answer: Any,
    path_params: type[P] = Nothing,
    query: type[Q] = Nothing,
    body: type[B] = Nothing,
    **options: Unpack[WriteOptions],
) -> Decorator[P, Q, B]:
    """Declare a PUT; see `get` for ``answer``."""

    def declare(handler: Handler[P, Q, B]) -> Endpoint:
        return Endpoint(
            method="PUT",
            path=path,
            handler=handler,
            summary=summary,
            tag=tag,
            answer=answer,
            path_params=path_params,
            query=query,
            body=body,
            **options,
        )

    return declare


def delete(
    path: str,
    *,
    summary: str,
    tag: str,
    answer: Any,
    path_params: type[P] = Nothing,
    query: type[Q] = Nothing,
    **options: Unpack[Options],
) -> Decorator[P, Q, Nothing]:
    """Declare a DELETE, whose body is not read; see `get` for ``answer``."""

    def declare(handler: Handler[P, Q, Nothing]) -> Endpoint:
        return Endpoint(
            method="DELETE",
            path=path,
            handler=handler,
            summary=summary,
            tag=tag,
            answer=answer,
            path_params=path_params,
            query=query,
            **options,
        )

    return declare
