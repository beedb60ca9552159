"""Errors as HTTP knows them: what the toolkit itself refuses, and the status of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from echain.kernel.errors import EchainError, Invalid, Kind

STATUS_OF_KIND: dict[Kind, int] = {
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.PRECONDITION: 412,
    Kind.TOO_LARGE: 413,
    Kind.LIMITED: 429,
    Kind.UNAVAILABLE: 503,
    Kind.INTERNAL: 500,
}

LONGEST_SHOWN = 500
"""Characters of a field's path, and of what is wrong with it."""

FieldError = dict[str, str]
"""``{"path": …, "reason": …}``."""


class Refusal(EchainError):
    """Something that only HTTP knows is wrong, with a status of its own."""

    status: ClassVar[int] = 400
    closes: ClassVar[bool] = False
    """Whether the connection ends with this answer, because the rest of the request is not read."""


class Unauthenticated(EchainError):
    """Sign in first: send `Authorization: Bearer <token>`."""

    kind = Kind.UNAUTHENTICATED
    code = "auth.required"


class Forbidden(EchainError):
    """These credentials do not open this door; a user's token and a gate's secret are different keys."""

    kind = Kind.FORBIDDEN
    code = "auth.forbidden"


class NotOurPage(EchainError):
    """Requests by cookie need the header X-CSRF-Token with the session's token, from a page of ours."""

    kind = Kind.FORBIDDEN
    code = "auth.csrf"


class AdministratorsOnly(EchainError):
    """Only administrators of the platform may do that, signed in with the wallet that has the role."""

    kind = Kind.FORBIDDEN
    code = "auth.administrators_only"


class ScopeMissing(EchainError):
    """This API key may not do that; use one with the scope in the details, or sign in where none has it."""

    kind = Kind.FORBIDDEN
    code = "auth.scope_missing"


class RouteNotFound(Refusal):
    """There is no such path; paths have no trailing slash. See /docs."""

    kind = Kind.NOT_FOUND
    code = "route.not_found"
    status = 404


class MethodNotAllowed(Refusal):
    """The path exists, the method does not; the Allow header lists those that do."""

    kind = Kind.INVALID
    code = "request.method_not_allowed"
    status = 405

    def __init__(self, allow: bytes) -> None:
        super().__init__(allow=allow.decode("ascii").split(", "))
        self.allow = allow


class Malformed(Refusal):
    """The request cannot be read: its text is not what its form promises."""

    kind = Kind.INVALID
    code = "request.malformed"
    status = 400


class SlowBody(Refusal):
    """The body did not arrive in time; send it again over a better connection."""

    kind = Kind.INVALID
    code = "request.timeout"
    status = 408
    closes = True


class BodyTooLarge(Refusal):
    """The body is larger than this endpoint takes."""

    kind = Kind.TOO_LARGE
    code = "request.too_large"
    status = 413
    closes = True


class Truncated(Refusal):
    """The body is shorter or longer than its Content-Length said; send it again."""

    kind = Kind.INVALID
    code = "request.truncated"
    status = 400
    closes = True


class WrongMediaType(Refusal):
    """The body must be JSON in UTF-8: send `Content-Type: application/json`."""

    kind = Kind.INVALID
    code = "request.media_type"
    status = 415


class HeadersTooLarge(Refusal):
    """The request carries more than 100 headers, or more than 16 KiB of them."""

    kind = Kind.TOO_LARGE
    code = "request.headers_too_large"
    status = 431
    closes = True


class Internal(EchainError):
    """Something broke on our side; tell us the request id."""


def invalid_fields(fields: Sequence[FieldError]) -> Invalid:
    """Return the one error for these wrong fields, whose message names the first.

    Names and values that the sender made up are cut, so that no answer grows with what is sent.
    """
    shown = [{"path": _cut(field["path"]), "reason": _cut(field["reason"])} for field in fields]
    more = f" (and {len(shown) - 1} more)" if len(shown) > 1 else ""
    return Invalid(f"{shown[0]['path']}: {shown[0]['reason']}{more}", fields=shown)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def status_of(error: EchainError | type[EchainError]) -> int:
    """Return the HTTP status that this error, or class of errors, is answered with."""
    kind = error if isinstance(error, type) else type(error)
    if issubclass(kind, Refusal):
        return kind.status
    return STATUS_OF_KIND[error.kind]
