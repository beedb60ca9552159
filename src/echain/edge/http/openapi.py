"""OpenAPI 3.1 from the endpoints' own types: one operation each, with every status it may answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, inspect

from echain.edge.http.answer import Raw
from echain.edge.http.body import RawBody
from echain.edge.http.call import Auth, Call, Nothing
from echain.edge.http.endpoint import Endpoint, get, scopes_of
from echain.edge.http.errors import (
    AdministratorsOnly,
    BodyTooLarge,
    Forbidden,
    HeadersTooLarge,
    Internal,
    Malformed,
    NotOurPage,
    RouteNotFound,
    ScopeMissing,
    SlowBody,
    Truncated,
    Unauthenticated,
    WrongMediaType,
    status_of,
)
from echain.edge.http.idempotency import KEY_PATTERN, AnswerLost, ClaimLost, InProgress, KeyReused
from echain.edge.http.limits import LimitReached, ShutOut
from echain.edge.http.links import links_of
from echain.edge.http.ownpages import SAFE_METHODS
from echain.edge.http.parameters import without_none
from echain.edge.http.structs import bare, structs_in
from echain.infra.database import DatabaseUnavailable
from echain.kernel.errors import EchainError, Invalid
from echain.kernel.paging import PageInfo

OPENAPI_PATH = "/api/v1/openapi.json"

Schema = dict[str, Any]

_PARAMETERS: dict[str, Schema] = {
    "XRequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "1 to 128 of A-Z a-z 0-9 . _ - to find this request by; anything else is replaced.",
        "schema": {"type": "string"},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag of the answer you have; 304 when it still holds.",
        "schema": {"type": "string"},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A random name of this request. Sent again within 24 h it has its effect once.",
        "schema": {"type": "string", "pattern": KEY_PATTERN},
    },
}
_HEADERS: dict[str, Schema] = {
    "XRequestId": {"description": "The request's id.", "schema": {"type": "string"}},
    "ETag": {"description": "Strong tag of the data.", "schema": {"type": "string"}},
    "RetryAfter": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
    "RateLimitPolicy": {
        "description": "The caller's quota: q calls in w seconds.",
        "schema": {"type": "string", "examples": ['"reads";q=6000;w=60']},
    },
    "RateLimit": {
        "description": "What is left of it: r calls, all of them again in t seconds.",
        "schema": {"type": "string", "examples": ['"reads";r=5999;t=60']},
    },
    "Deprecation": {
        "description": "Since when this route is better not used (RFC 9745).",
        "schema": {"type": "string", "pattern": "^@[0-9]+$"},
    },
    "Sunset": {
        "description": "When this route may be gone (RFC 8594).",
        "schema": {"type": "string"},
    },
    "Link": {
        "description": "What takes this route's place (`successor-version`), and where to read about it.",
        "schema": {"type": "string"},
    },
}
_SECURITY_SCHEMES: dict[str, Schema] = {
    "user": {"type": "http", "scheme": "bearer", "description": "A user's access token."},
    "gate": {"type": "http", "scheme": "bearer", "description": "A gate's secret."},
    "key": {"type": "http", "scheme": "bearer", "description": "An API key that has the scope."},
}
_SECURITY: dict[Auth, list[dict[str, list[str]]]] = {
    Auth.PUBLIC: [],
    Auth.OPTIONAL: [{}, {"user": []}, {"gate": []}],
    Auth.USER: [{"user": []}],
    Auth.GATE: [{"gate": []}],
    Auth.ANY: [{"user": []}, {"gate": []}],
    Auth.ADMIN: [{"user": []}],
}


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    keys = [{"key": [scope]} for scope in scopes_of([endpoint])]
    return [*_SECURITY[endpoint.auth], *keys]


_CLOSED_STATUSES = frozenset({404, 409, 412, 422})
"""Their codes are listed in full; the others may also carry codes of credentials and parts that are down."""


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """When the answer was made, and the request's id."""

    timestamp: Annotated[str, msgspec.Meta(examples=["2026-12-01T19:00:00.000Z"])]
    request_id: Annotated[str, msgspec.Meta(examples=["5f0c1b7a9e3d2468-1"])]


class ListMeta(Meta, frozen=True, rename="camel", omit_defaults=True):
    """The same for a list, and where its page stands; a list that is always whole has no page."""

    page: PageInfo | None = None


class ErrorDetail(msgspec.Struct, frozen=True):
    """A stable code for programs, a message for people that says what to do next, and details of the code."""

    code: str
    message: str
    details: dict[str, Any]


class _Schemas:
    """Hands out empty schemas and fills them in one go, so that all types share one namespace."""

    def __init__(self) -> None:
        self._types: list[Any] = []
        self._slots: list[Schema] = []

    def of(self, kind: Any) -> Schema:
        slot: Schema = {}
        self._types.append(kind)
        self._slots.append(slot)
        return slot

    def fill(self) -> Schema:
        """Fill what was handed out; return the named schemas that it refers to."""
        structs = list(self._structs())
        schemas, components = msgspec.json.schema_components(
            [*self._types, *(struct.cls for struct in structs)], ref_template="#/components/schemas/{name}"
        )
        for slot, schema in zip(self._slots, schemas, strict=False):
            slot.update(schema)
        for struct, reference in zip(structs, schemas[len(self._slots) :], strict=True):
            properties = components[reference["$ref"].rpartition("/")[2]]["properties"]
            for field in struct.fields:
                _mark_moments(properties[field.encode_name], field.type)
        return components

    def _structs(self) -> Iterator[inspect.StructType]:
        seen: set[type] = set()
        for kind in self._types:
            yield from structs_in(inspect.type_info(kind), seen)


def _mark_moments(schema: Schema, kind: inspect.Type) -> None:
    """Say ``date-time`` also of moments that the type does not hold to an offset; all of ours have one."""
    kind = bare(kind)
    if isinstance(kind, inspect.DateTimeType):
        schema["format"] = "date-time"
    elif isinstance(kind, inspect.UnionType) and any(
        isinstance(bare(each), inspect.DateTimeType) for each in kind.types
    ):
        for alternative in schema["anyOf"]:
            if alternative.get("type") == "string":
                alternative["format"] = "date-time"
    elif isinstance(kind, inspect.CollectionType):
        _mark_moments(schema["items"], kind.item_type)


def openapi_endpoint(
    endpoints: Sequence[Endpoint], *, title: str, version: str, description: str
) -> Endpoint:
    """Return the endpoint that serves the document, encoded once."""
    body = msgspec.json.encode(document(endpoints, title=title, version=version, description=description))

    @get(OPENAPI_PATH, summary="This document", tag="system", answer=Raw, listed=False, limited=False)
    async def openapi(_call: Call[Nothing, Nothing, Nothing]) -> Raw:
        return Raw(body)

    return openapi


def document(endpoints: Sequence[Endpoint], *, title: str, version: str, description: str) -> Schema:
    """Return the OpenAPI 3.1 document of the listed endpoints."""
    listed = [endpoint for endpoint in endpoints if endpoint.listed]
    schemas = _Schemas()
    meta, error_detail, _ = schemas.of(Meta), schemas.of(ErrorDetail), schemas.of(ListMeta)
    paths: dict[str, Schema] = {}
    for endpoint in listed:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    for endpoint in listed:
        if links := links_of(endpoint, listed, _operation_id):
            made = paths[endpoint.path][endpoint.method.lower()]["responses"][str(endpoint.status)]
            made["links"] = links
    components = schemas.fill()
    components["Error"] = _envelope(success=False, part="error", schema=error_detail, meta=meta)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in listed)],
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _envelope(*, success: bool, part: str, schema: Schema, meta: Schema) -> Schema:
    return {
        "type": "object",
        "required": ["success", part, "meta"],
        "properties": {"success": {"const": success}, part: schema, "meta": meta},
        "additionalProperties": False,
    }


def _operation(endpoint: Endpoint, schemas: _Schemas) -> Schema:
    operation: Schema = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": [*_struct_parameters(endpoint, schemas), *_header_parameters(endpoint)],
        "responses": {**_successes(endpoint, schemas), **_failures(endpoint)},
        "security": _security(endpoint),
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.deprecated is not None:
        operation["deprecated"] = True
    if endpoint.body is RawBody:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    elif endpoint.body is not Nothing:
        operation["requestBody"] = {
            "required": any(map(_is_required, msgspec.structs.fields(endpoint.body))),
            "content": {"application/json": {"schema": schemas.of(endpoint.body)}},
        }
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    """Return a name that stays while method and path stay: ``getEventsById``."""
    words = [endpoint.method.lower()]
    for segment in endpoint.segments:
        if segment in {"api", "v1"}:
            continue
        by = "by-" if segment.startswith("{") else ""
        words += re.findall(r"[A-Za-z0-9]+", by + segment)
    return words[0] + "".join(word[0].upper() + word[1:] for word in words[1:])


def _is_required(field: msgspec.structs.FieldInfo) -> bool:
    return field.default is NODEFAULT and field.default_factory is NODEFAULT


def _struct_parameters(endpoint: Endpoint, schemas: _Schemas) -> Iterator[Schema]:
    for where, struct in (("path", endpoint.path_params), ("query", endpoint.query)):
        for field in msgspec.structs.fields(struct):
            schema = schemas.of(without_none(field.type))
            parameter: Schema = {"name": field.encode_name, "in": where, "schema": schema}
            if where == "path" or _is_required(field):
                parameter["required"] = True
            if field.default not in (NODEFAULT, None):
                schema["default"] = msgspec.to_builtins(field.default)
            yield parameter


def _header_parameters(endpoint: Endpoint) -> Iterator[Schema]:
    names = ["XRequestId"]
    if endpoint.method == "GET":
        names.append("IfNoneMatch")
    if endpoint.idempotent:
        names.append("IdempotencyKey")
    for name in names:
        yield {"$ref": f"#/components/parameters/{name}"}


def _every_headers(endpoint: Endpoint) -> dict[str, Schema]:
    headers = {"X-Request-Id": {"$ref": "#/components/headers/XRequestId"}}
    if endpoint.limited:
        headers["RateLimit-Policy"] = {"$ref": "#/components/headers/RateLimitPolicy"}
        headers["RateLimit"] = {"$ref": "#/components/headers/RateLimit"}
    if endpoint.deprecated is not None:
        told = ["Deprecation", "Link", *(["Sunset"] if endpoint.deprecated.sunset else [])]
        headers |= {name: {"$ref": f"#/components/headers/{name}"} for name in told}
    return headers


def _successes(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Schema]:
    answers: dict[str, Schema] = {}
    headers = _every_headers(endpoint)
    if endpoint.method == "GET":
        headers["ETag"] = {"$ref": "#/components/headers/ETag"}
        answers["304"] = {"description": "What If-None-Match names still holds.", "headers": headers}
    schema = {} if endpoint.answer is Raw else _answer_schema(endpoint, schemas)
    for status in (endpoint.status, *endpoint.other_statuses):
        answers[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "headers": headers,
            "content": {endpoint.media_type: {"schema": schema}},
        }
    return answers


def _answer_schema(endpoint: Endpoint, schemas: _Schemas) -> Schema:
    answer: Any = endpoint.answer
    alternatives = get_args(answer) if get_origin(answer) in {Union, UnionType} else (answer,)
    parts = [schemas.of(alternative) for alternative in alternatives]
    data = parts[0] if len(parts) == 1 else {"anyOf": parts}
    meta = "ListMeta" if any(get_origin(alternative) is list for alternative in alternatives) else "Meta"
    return _envelope(success=True, part="data", schema=data, meta={"$ref": f"#/components/schemas/{meta}"})


def errors_of(endpoint: Endpoint) -> tuple[type[EchainError], ...]:
    """Return every class of error that an endpoint may answer with: its own and the toolkit's."""
    errors: list[type[EchainError]] = [*endpoint.errors, Malformed, Invalid, HeadersTooLarge, Internal]
    errors.append(DatabaseUnavailable)
    if endpoint.path_params is not Nothing:
        errors.append(RouteNotFound)
    errors += _refusals_of_callers(endpoint)
    if endpoint.limited:
        errors.append(LimitReached)
        if endpoint.auth is not Auth.PUBLIC or endpoint.takes_body or endpoint.charge != "read":
            errors.append(ShutOut)
    if endpoint.takes_body:
        errors += [SlowBody, BodyTooLarge, Truncated]
    if endpoint.takes_body and endpoint.body is not RawBody:
        errors.append(WrongMediaType)
    if endpoint.idempotent:
        errors += [KeyReused, InProgress, AnswerLost, ClaimLost]
    return tuple(dict.fromkeys(errors))


def _refusals_of_callers(endpoint: Endpoint) -> list[type[EchainError]]:
    """Return what is answered to whoever may not call an endpoint."""
    auth = endpoint.auth
    errors: list[type[EchainError]] = []
    if auth is not Auth.PUBLIC:
        errors.append(Unauthenticated)
    if auth in {Auth.USER, Auth.GATE}:
        errors.append(Forbidden)
    if auth is Auth.ADMIN:
        errors.append(AdministratorsOnly)
    if auth not in {Auth.PUBLIC, Auth.GATE, Auth.ADMIN}:
        errors.append(ScopeMissing)
    if auth not in {Auth.PUBLIC, Auth.GATE} and endpoint.method not in SAFE_METHODS:
        errors.append(NotOurPage)
    return errors


def _failures(endpoint: Endpoint) -> dict[str, Schema]:
    by_status: dict[int, list[type[EchainError]]] = {}
    for error in errors_of(endpoint):
        by_status.setdefault(status_of(error), []).append(error)
    return {str(status): _failure(status, errors) for status, errors in sorted(by_status.items())}


def _failure(status: int, errors: Sequence[type[EchainError]]) -> Schema:
    texts = {error.code: " ".join((error.__doc__ or "").split()) for error in errors}
    schema: Schema = {"$ref": "#/components/schemas/Error"}
    if status in _CLOSED_STATUSES:
        code = {"properties": {"code": {"enum": list(texts)}}}
        schema = {"allOf": [schema, {"properties": {"error": code}}]}
    headers = {"X-Request-Id": {"$ref": "#/components/headers/XRequestId"}}
    if status in {429, 503}:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {
        "description": "\n".join(f"- `{code}`: {text}" for code, text in texts.items()),
        "headers": headers,
        "content": {"application/json": {"schema": schema}},
    }
