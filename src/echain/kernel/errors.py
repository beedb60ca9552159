"""One class a reason: a stable code, and a kind that each edge maps to its own world."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """What went wrong, in the terms that HTTP statuses, job retries and exit codes are chosen by."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    PRECONDITION = "precondition"
    TOO_LARGE = "too_large"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class EchainError(Exception):
    """A reason that the caller can act on; the text says what to do next.

    ``details`` is shown to the caller as it is: plain JSON values, nothing secret.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL
    code: ClassVar[str] = "internal"
    guess: bool | None = None
    """Whether it refuses a secret that was shown, and so counts against whoever tries many.

    None where the kind says it: what is UNAUTHENTICATED does, but for having shown nothing.
    """

    def __init__(self, message: str | None = None, **details: object) -> None:
        super().__init__(message or (type(self).__doc__ or type(self).__name__).strip())
        self.details: Mapping[str, object] = details

    @property
    def message(self) -> str:
        return str(self)


class Invalid(EchainError):
    """The request does not say what is needed; see the fields."""

    kind = Kind.INVALID
    code = "request.invalid"


class NotFound(EchainError):
    """There is nothing at this address, or it is not yours to see."""

    kind = Kind.NOT_FOUND
    code = "not_found"


def invalid_field(path: str, reason: str) -> Invalid:
    """Return the error for one wrong field; ``path`` is dotted from the top of the request's part."""
    return Invalid(f"{path}: {reason}", fields=[{"path": path, "reason": reason}])
