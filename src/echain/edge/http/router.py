"""From a path to its endpoint: whole static paths by one look-up, the others by a tree of segments."""

from __future__ import annotations

import re
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from echain.edge.http.errors import Malformed

R = TypeVar("R")

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Resource(Generic[R]):
    """What stands at one path: a route per method, and the Allow header that names them."""

    __slots__ = ("allow", "routes")

    def __init__(self) -> None:
        self.routes: dict[str, R] = {}
        self.allow = b""


class _Node(Generic[R]):
    __slots__ = ("parameter", "resource", "static")

    def __init__(self) -> None:
        self.static: dict[str, _Node[R]] = {}
        self.parameter: _Node[R] | None = None
        self.resource: Resource[R] | None = None


class Router(Generic[R]):
    """A segment tree. A static segment wins over a parameter, wherever both lead to a path that exists."""

    def __init__(self) -> None:
        self._root: _Node[R] = _Node()
        self._static: dict[str, Resource[R]] = {}

    def add(self, method: str, path: str, route: R) -> None:
        """Put a route at ``method`` and ``path``; ``{name}`` matches one segment that is not empty.

        A GET also serves HEAD.

        Raises:
            ValueError: something stands there already.
        """
        node = self._root
        for segment in path.split("/")[1:]:
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.static.setdefault(segment, _Node())
        resource = node.resource = node.resource or Resource()
        if method in resource.routes:
            raise ValueError(f"two endpoints at {method} {path}")
        resource.routes[method] = route
        if method == "GET":
            resource.routes["HEAD"] = route
        resource.allow = ", ".join(sorted(resource.routes)).encode("ascii")
        if "{" not in path:
            self._static[path] = resource

    def find(self, raw_path: bytes) -> tuple[Resource[R], tuple[str, ...]] | None:
        """Return what stands at a path as it came over the wire, and its parameters' values in their order.

        Each segment is percent-decoded by itself, so an escaped slash is part of a value.

        Raises:
            Malformed: an escape is broken, or a segment is not UTF-8.
        """
        segments: list[str]
        if b"%" in raw_path:
            segments = [decode_escaped(segment, "path") for segment in raw_path.split(b"/")]
        else:
            try:
                path = raw_path.decode("ascii")
            except UnicodeDecodeError:
                raise Malformed("The path holds raw bytes beyond ASCII; percent-encode them.") from None
            resource = self._static.get(path)
            if resource is not None:
                return resource, ()
            segments = path.split("/")
        return self._straight(segments) or _walk(self._root, segments, 1, ())

    def _straight(self, segments: list[str]) -> tuple[Resource[R], tuple[str, ...]] | None:
        """Find without looking back, which is right for nearly all paths; None says nothing."""
        node = self._root
        values: list[str] = []
        for segment in segments[1:]:
            child = node.static.get(segment)
            if child is None:
                child = node.parameter
                if child is None or not segment:
                    return None
                values.append(segment)
            node = child
        return None if node.resource is None else (node.resource, tuple(values))


def _walk(
    node: _Node[R], segments: list[str], index: int, values: tuple[str, ...]
) -> tuple[Resource[R], tuple[str, ...]] | None:
    if index == len(segments):
        return None if node.resource is None else (node.resource, values)
    segment = segments[index]
    child = node.static.get(segment)
    if child is not None:
        found = _walk(child, segments, index + 1, values)
        if found is not None:
            return found
    if node.parameter is not None and segment:
        return _walk(node.parameter, segments, index + 1, (*values, segment))
    return None


def decode_escaped(text: bytes, where: str) -> str:
    """Return percent-encoded UTF-8 as text.

    Raises:
        Malformed: a broken escape, or not UTF-8; ``where`` names the request's part.
    """
    if _BAD_ESCAPE.search(text):
        raise Malformed(f"The {where} holds a % that is not followed by two hexadecimal digits.")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"The {where} is not UTF-8.") from None
