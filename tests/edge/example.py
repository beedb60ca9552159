"""A small application over every option that an endpoint has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from echain.edge.http import (
    AddressText,
    Application,
    Auth,
    Call,
    Caller,
    Cookie,
    Endpoint,
    Idempotency,
    Moment,
    Nothing,
    Raw,
    Rendered,
    Reply,
    Unauthenticated,
    WeiText,
    application,
    delete,
    get,
    post,
    put,
)
from echain.kernel.errors import EchainError, Kind, NotFound
from echain.kernel.evm import parse_address
from echain.kernel.paging import Page, PageInfo, PageNumber, PageSize, numbered

NOW = datetime(2026, 11, 21, 9, 30, 0, 123_456, tzinfo=UTC)
USER = Caller("user", UUID(int=7), address=parse_address("0x" + "ab" * 20))
GATE = Caller("gate", UUID(int=8))
ADMIN = Caller("user", UUID(int=9), admin=True)
RENDERED = b'{"name":"cached","sold":7}'
NAMES = ("amsterdam", "berlin", "copenhagen")


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class SoldOut(EchainError):
    """All tickets of this tier are sold; ask for another tier."""

    kind = Kind.CONFLICT
    code = "example.sold_out"


class Stale(EchainError):
    """Somebody changed it meanwhile; read it again."""

    kind = Kind.PRECONDITION
    code = "example.stale"


class TooMany(EchainError):
    """Slow down; the limit refills in a minute."""

    kind = Kind.LIMITED
    code = "example.too_many"


class ById(msgspec.Struct, frozen=True):
    id: UUID


class ByName(msgspec.Struct, frozen=True, rename="camel"):
    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class Filter(msgspec.Struct, frozen=True, rename="camel"):
    page: PageNumber = 1
    per_page: PageSize = 20
    sort: Literal["name", "-name"] = "name"
    tag: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=20)]], msgspec.Meta(max_length=3)
    ] = []
    colour: Colour | None = None
    open: bool | None = None
    ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    since: Moment | None = None
    owner: AddressText | None = None


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    price_wei: WeiText
    supply: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class NewThing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    tiers: Annotated[list[Tier], msgspec.Meta(min_length=1, max_length=20)]
    starts_at: Moment
    colour: Colour = Colour.RED
    note: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class Thing(msgspec.Struct, frozen=True, rename="camel"):
    id: UUID
    title: str
    price_wei: WeiText
    starts_at: datetime
    owner: AddressText | None = None


class Removed(msgspec.Struct, frozen=True):
    removed: bool


class Undo(msgspec.Struct, frozen=True):
    undo: WeiText


THING = Thing(UUID(int=1), "Opening night", "25000000000000000", NOW, "0x" + "00" * 20)


def reads() -> list[Endpoint]:
    @get(
        "/api/v1/things/{id}", summary="One", tag="things", answer=Thing, path_params=ById, errors=(NotFound,)
    )
    async def one(call: Call[ById, Nothing, Nothing]) -> Thing:
        if call.path.id != THING.id:
            raise NotFound
        return THING

    @get("/api/v1/things", summary="Many", tag="things", answer=list[str], query=Filter)
    async def many(call: Call[Nothing, Filter, Nothing]) -> Page[str]:
        return numbered(NAMES, page=call.query.page, per_page=call.query.per_page, total=len(NAMES))

    @get("/api/v1/things/latest", summary="By cursor", tag="things", answer=list[str])
    async def latest(_call: Call[Nothing, Nothing, Nothing]) -> Page[str]:
        return Page(NAMES, PageInfo(per_page=3, next_cursor="b3BhcXVl"))

    @get("/api/v1/cached", summary="Cached", tag="things", answer=Any)
    async def cached(_call: Call[Nothing, Nothing, Nothing]) -> Rendered:
        return Rendered(RENDERED)

    @get("/api/v1/chains/{chainId}/names/{name}", summary="Two", tag="things", answer=str, path_params=ByName)
    async def named(call: Call[ByName, Nothing, Nothing]) -> str:
        return f"{call.path.chain_id}:{call.path.name}"

    @get("/api/v1/document", summary="Raw", tag="things", answer=Raw, media_type="text/plain; charset=utf-8")
    async def raw(_call: Call[Nothing, Nothing, Nothing]) -> Raw:
        return Raw("grüß".encode(), content_type="text/plain; charset=utf-8")

    return [one, many, latest, cached, named, raw]


def writes() -> list[Endpoint]:
    @post(
        "/api/v1/things",
        summary="Make",
        tag="things",
        answer=Thing,
        body=NewThing,
        status=201,
        auth=Auth.USER,
        idempotent=True,
        errors=(SoldOut, TooMany),
    )
    async def make(call: Call[Nothing, Nothing, NewThing]) -> Reply:
        if call.body.title == "sold out":
            raise SoldOut("none is left", tierId=0)
        if call.body.title == "too many":
            raise TooMany(retryAfterSeconds=60)
        thing = Thing(call.user.id, call.body.title, call.body.tiers[0].price_wei, call.body.starts_at)
        return Reply(thing, headers=(("Location", f"/api/v1/things/{thing.id}"),))

    @put(
        "/api/v1/things/{id}",
        summary="Change",
        tag="things",
        answer=Thing,
        path_params=ById,
        body=NewThing,
        auth=Auth.USER,
        errors=(NotFound, Stale),
    )
    async def change(call: Call[ById, Nothing, NewThing]) -> Thing:
        if call.path.id != THING.id:
            raise NotFound
        if call.body.title == "stale":
            raise Stale
        return THING

    @delete(
        "/api/v1/things/{id}",
        summary="Remove",
        tag="things",
        answer=Removed | Undo,
        path_params=ById,
        auth=Auth.USER,
        errors=(NotFound,),
        other_statuses=(202,),
    )
    async def remove(call: Call[ById, Nothing, Nothing]) -> Removed | Reply:
        if call.path.id == THING.id:
            return Reply(Undo("1"), status=202)
        return Removed(removed=True)

    @post("/api/v1/touch", summary="No body", tag="things", answer=None)
    async def touch(_call: Call[Nothing, Nothing, Nothing]) -> None:
        return None

    return [make, change, remove, touch]


def guarded() -> list[Endpoint]:
    @get("/api/v1/me", summary="Me", tag="people", answer=UUID, auth=Auth.USER)
    async def me(call: Call[Nothing, Nothing, Nothing]) -> UUID:
        return call.user.id

    @post("/api/v1/scan", summary="Scan", tag="people", answer=str, auth=Auth.GATE)
    async def scan(call: Call[Nothing, Nothing, Nothing]) -> str:
        return str(call.user.kind)

    @get("/api/v1/administer", summary="Administer", tag="people", answer=UUID, auth=Auth.ADMIN)
    async def administer(call: Call[Nothing, Nothing, Nothing]) -> UUID:
        return call.user.id

    @get("/api/v1/either", summary="Either", tag="people", answer=str, auth=Auth.ANY)
    async def either(call: Call[Nothing, Nothing, Nothing]) -> str:
        return str(call.user.kind)

    @get("/api/v1/maybe", summary="Maybe", tag="people", answer=str | None, auth=Auth.OPTIONAL)
    async def maybe(call: Call[Nothing, Nothing, Nothing]) -> str | None:
        return call.caller and call.caller.kind

    @post("/api/v1/enter", summary="Cookie", tag="people", answer=None)
    async def enter(_call: Call[Nothing, Nothing, Nothing]) -> Reply:
        return Reply(
            cookies=(Cookie("session", "abc", max_age=60, same_site="strict"), Cookie("old", "", max_age=0))
        )

    return [me, scan, administer, either, maybe, enter]


async def authenticate(headers: Mapping[str, str], _cookies: Mapping[str, str]) -> Caller | None:
    known = {"Bearer user": USER, "Bearer gate": GATE, "Bearer admin": ADMIN}
    given = headers.get("Authorization")
    if given is None:
        return None
    if given not in known:
        raise Unauthenticated("the token is unknown or has ended; sign in again")
    return known[given]


class NoIdempotency:
    """Where no test sends a key."""

    async def claim(self, _caller: str, _key: str, _request_hash: bytes, _now: datetime) -> Any:
        raise AssertionError("no key is expected here")


def example(
    more: Sequence[Endpoint] = (),
    *,
    idempotency: Idempotency | None = None,
    clock: Any = lambda: NOW,
    authenticate: Any = authenticate,
    **options: Any,
) -> Application:
    return application(
        [*reads(), *writes(), *guarded(), *more],
        authenticate=authenticate,
        clock=clock,
        idempotency=idempotency or NoIdempotency(),
        title="Example",
        version="1",
        **options,
    )
