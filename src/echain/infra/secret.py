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
    """Return ``url`` with its password hidden; of a web address only scheme, host and port are shown.

    Node providers put their key into the path, the query or the user; a database's name and user are no
    secret.
    """
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    if parts.scheme in ("http", "https", "ws", "wss"):
        login = HIDDEN if login else ""
        path = f"/{HIDDEN}" if parts.path.strip("/") or parts.query else parts.path
        query = ""
    else:
        user, colon, _ = login.partition(":")
        login = f"{user}:{HIDDEN}" if colon else user
        path, query = parts.path, parts.query
    return urlunsplit((parts.scheme, f"{login}@{host}" if login else host, path, query, ""))
