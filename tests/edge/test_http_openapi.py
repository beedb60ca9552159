"""The published document is valid OpenAPI 3.1, and what the application does is what it says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31
from tests.edge.example import THING, example, guarded, reads, writes
from tests.edge.http_client import Client
from tests.edge.serving import fuzz, served

from echain.edge.http import Call, Nothing, StoredIdempotency, get
from echain.edge.http.openapi import document
from echain.infra.database import Database


@pytest.fixture(scope="module")
def published() -> Any:
    return document(_listed(), title="Example", version="1", description="")


def _listed() -> list[Any]:
    return [*reads(), *writes(), *guarded()]


def test_the_document_is_valid_openapi(published: Any):
    jsonschema_rs.validator_for(OPENAPI_31).validate(published)


def test_every_reference_leads_somewhere(published: Any):
    def follow(node: Any) -> None:
        if isinstance(node, dict):
            reference = node.get("$ref")
            if reference is not None:
                target = published
                for part in reference.removeprefix("#/").split("/"):
                    target = target[part]
            for value in node.values():
                follow(value)
        elif isinstance(node, list):
            for value in node:
                follow(value)

    follow(published)


def test_operation_ids_are_unique(published: Any):
    ids = [operation["operationId"] for path in published["paths"].values() for operation in path.values()]
    assert len(set(ids)) == len(ids)
    assert "getThingsById" in ids
    assert "getChainsByChainIdNamesByName" in ids


def test_constraints_of_the_types_are_published(published: Any):
    parameters = published["paths"]["/api/v1/things"]["get"]["parameters"]
    named = {parameter["name"]: parameter for parameter in parameters if "name" in parameter}
    assert named["perPage"]["schema"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "description": "Items a page",
        "default": 20,
    }
    assert named["open"]["schema"] == {"type": "boolean"}
    assert not any(parameter.get("required") for parameter in named.values())
    tier = published["components"]["schemas"]["Tier"]
    assert tier["properties"]["priceWei"]["pattern"].startswith("^")
    assert tier["additionalProperties"] is False
    thing = published["components"]["schemas"]["Thing"]
    assert thing["properties"]["startsAt"] == {"type": "string", "format": "date-time"}


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/api/v1/cached", "get", "200 304 400 422 429 431 500 503"),
        ("/api/v1/things/{id}", "get", "200 304 400 404 422 429 431 500 503"),
        ("/api/v1/me", "get", "200 304 400 401 403 422 429 431 500 503"),
        ("/api/v1/maybe", "get", "200 304 400 401 403 422 429 431 500 503"),
        ("/api/v1/things", "post", "201 400 401 403 408 409 413 415 422 429 431 500 503"),
        ("/api/v1/things/{id}", "put", "200 400 401 403 404 408 412 413 415 422 429 431 500 503"),
        ("/api/v1/things/{id}", "delete", "200 202 400 401 403 404 422 429 431 500 503"),
    ],
)
def test_every_status_that_can_occur_is_described(published: Any, path: str, method: str, statuses: str):
    assert sorted(published["paths"][path][method]["responses"]) == statuses.split()


def test_the_codes_of_a_conflict_are_listed(published: Any):
    conflict = published["paths"]["/api/v1/things"]["post"]["responses"]["409"]
    schema = conflict["content"]["application/json"]["schema"]
    assert schema["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"] == [
        "example.sold_out",
        "idempotency.key_reused",
        "idempotency.in_progress",
        "idempotency.answer_lost",
        "idempotency.claim_lost",
    ]
    assert "`example.sold_out`: All tickets of this tier are sold" in conflict["description"]


def test_what_was_made_leads_to_all_that_can_be_done_with_it(published: Any):
    made = published["paths"]["/api/v1/things"]["post"]["responses"]["201"]
    assert made["links"] == {
        name: {"operationId": name, "parameters": {"path.id": "$response.body#/data/id"}}
        for name in ("getThingsById", "putThingsById", "deleteThingsById")
    }
    touched = published["paths"]["/api/v1/touch"]["post"]["responses"]["200"]
    assert "links" not in touched


def test_security_says_who_may_call(published: Any):
    paths = published["paths"]
    assert paths["/api/v1/cached"]["get"]["security"] == []
    keys = {"key": ["people:read"]}
    assert paths["/api/v1/me"]["get"]["security"] == [{"user": []}, keys]
    assert paths["/api/v1/scan"]["post"]["security"] == [{"gate": []}]
    assert paths["/api/v1/maybe"]["get"]["security"] == [{}, {"user": []}, {"gate": []}, keys]


def test_types_of_the_same_name_are_kept_apart():
    def named(summary: str, inner: type) -> Any:
        thing = msgspec.defstruct("Thing", [("value", inner)], module=summary)

        @get(f"/{summary}", summary=summary, tag="t", answer=thing)
        async def handler(_call: Call[Nothing, Nothing, Nothing]) -> None: ...

        return handler

    both = document([named("one", int), named("two", datetime)], title="", version="", description="")
    kinds = [
        schema["properties"]["value"]
        for name, schema in both["components"]["schemas"].items()
        if name.endswith("Thing")
    ]
    assert kinds == [{"type": "integer"}, {"type": "string", "format": "date-time"}]


def test_what_is_not_listed_is_not_published(published: Any):
    @get("/hidden", summary="", tag="hidden", answer=None, listed=False)
    async def hidden(_call: Call[Nothing, Nothing, Nothing]) -> None: ...

    again = document([*_listed(), hidden], title="Example", version="1", description="")
    assert again == published


async def test_what_is_answered_fits_what_is_published(published: Any):
    answer = await Client(example())("GET", f"/api/v1/things/{THING.id}")
    content = published["paths"]["/api/v1/things/{id}"]["get"]["responses"]["200"]["content"]
    schema = {**content["application/json"]["schema"], "components": published["components"]}
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    validator.validate(json.loads(answer.body))
    with pytest.raises(jsonschema_rs.ValidationError):
        validator.validate({**json.loads(answer.body), "data": {}})


def test_a_fuzzer_finds_nothing_in_the_example(database_url: str, tmp_path: Path):
    """Ten seconds: the fuzzer itself takes three to start, and sends some hundred requests."""
    database = Database.lazy(database_url, size=2)

    @asynccontextmanager
    async def closing() -> AsyncIterator[None]:
        yield
        await database.close()

    with served(example(idempotency=StoredIdempotency(database), lifespan=closing)) as url:
        fuzz(url, tmp_path, token="user", examples=8)


def test_a_fuzzer_finds_an_endpoint_that_answers_what_it_does_not_say(tmp_path: Path):
    @get("/api/v1/liar", summary="Lies", tag="t", answer=int)
    async def liar(_call: Call[Nothing, Nothing, Nothing]) -> str:
        return "seven"

    with served(example([liar])) as url, pytest.raises(AssertionError, match="liar"):
        fuzz(url, tmp_path, examples=1, only="liar")
