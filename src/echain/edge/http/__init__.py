"""Typed HTTP endpoints: decode, check, answer the envelope, publish OpenAPI from the same types."""

from echain.edge.http.answer import Cookie, Raw, Rendered, Reply
from echain.edge.http.application import Application, application
from echain.edge.http.body import Disconnected, RawBody, check_depth
from echain.edge.http.call import Auth, Call, Caller, Nothing
from echain.edge.http.deprecation import Deprecation
from echain.edge.http.endpoint import SESSIONS_ONLY, Endpoint, delete, get, post, put, scopes_of
from echain.edge.http.errors import Forbidden, ScopeMissing, Unauthenticated
from echain.edge.http.fields import AddressText, HashText, Moment, WeiText
from echain.edge.http.idempotency import Idempotency
from echain.edge.http.idempotency_store import StoredIdempotency

__all__ = [
    "SESSIONS_ONLY",
    "AddressText",
    "Application",
    "Auth",
    "Call",
    "Caller",
    "Cookie",
    "Deprecation",
    "Disconnected",
    "Endpoint",
    "Forbidden",
    "HashText",
    "Idempotency",
    "Moment",
    "Nothing",
    "Raw",
    "RawBody",
    "Rendered",
    "Reply",
    "ScopeMissing",
    "StoredIdempotency",
    "Unauthenticated",
    "WeiText",
    "application",
    "check_depth",
    "delete",
    "get",
    "post",
    "put",
    "scopes_of",
]
