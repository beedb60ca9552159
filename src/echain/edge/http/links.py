"""What can be done with what a request made: OpenAPI's links, told by the paths themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from echain.edge.http.endpoint import Endpoint


def links_of(
    endpoint: Endpoint, endpoints: Sequence[Endpoint], name_of: Callable[[Endpoint], str]
) -> dict[str, Any]:
    """Return the links of a success of ``endpoint``, by the operation that each leads to.

    What `POST /things` makes has an ``id``, which `/things/{id}` and all below take. Operations that need
    another parameter in their path are left out: the answer does not know it.
    """
    if endpoint.method != "POST" or not _has_id(endpoint.answer):
        return {}
    links: dict[str, Any] = {}
    for other in endpoints:
        parameters = [segment[1:-1] for segment in other.segments if segment.startswith("{")]
        below = other.path.removeprefix(f"{endpoint.path}/")
        if len(parameters) == 1 and below != other.path and below.startswith("{"):
            name = name_of(other)
            where = {f"path.{parameters[0]}": "$response.body#/data/id"}
            links[name] = {"operationId": name, "parameters": where}
    return links


def _has_id(answer: Any) -> bool:
    kinds = get_args(answer) if get_origin(answer) in {Union, UnionType} else (answer,)
    return all(
        isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and any(field.encode_name == "id" for field in msgspec.structs.fields(kind))
        for kind in kinds
    )
