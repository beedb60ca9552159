"""Text that must not be seen."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

HIDDEN: Final = "•••"


class Secret:
    """A text that prints as dots; `reveal` it only where it is used."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def without_credentials(url: str) -> str:
    """Return ``url`` with its password and query hidden, and its path too when that may be a provider's key.

    Node providers put their key into the path; a database's name is no secret.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")
    user = host[0].partition(":")
    netloc = host[2] if not host[0] else f"{user[0]}{f':{HIDDEN}' if user[2] else ''}@{host[2]}"
    keyed = parts.scheme in ("http", "https", "ws", "wss") and parts.path.strip("/") != ""
    path = f"/{HIDDEN}" if keyed else parts.path
    return urlunsplit((parts.scheme, netloc, path, HIDDEN if keyed and parts.query else parts.query, ""))
