"""What signing in at an OpenID provider speaks of, and each reason to refuse it."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from echain.edge.http.errors import Refusal
from echain.kernel.errors import EchainError, Kind


class Person(msgspec.Struct, frozen=True):
    """Whom a provider says somebody is; ``subject`` is theirs for ever, with this issuer alone.

    ``sid`` is the provider's own session, None where it tells of none.
    """

    issuer: str
    subject: str
    name: str | None = None
    email: str | None = None
    email_confirmed: bool = False
    sid: str | None = None


class SignedOut(msgspec.Struct, frozen=True):
    """Whom a provider signed out: all sessions of ``subject``, those of its session ``sid``, or both."""

    issuer: str
    subject: str | None
    sid: str | None
    at: datetime


class Secrets(msgspec.Struct, frozen=True):
    """What a sign-in under way keeps to itself: sealed while the person is at the provider."""

    nonce: str
    verifier: str


class ProviderShown(msgspec.Struct, frozen=True, rename="camel"):
    """A provider that one may sign in with."""

    name: str
    name_shown: str
    start_url: str


class Away(msgspec.Struct, frozen=True, rename="camel"):
    """Where the browser goes next: to the provider."""

    url: str
    expires_at: datetime


class Identity(msgspec.Struct, frozen=True, rename="camel"):
    """A way into an account by a provider; ``name`` and ``email`` as the provider told them last."""

    id: UUID
    provider: str
    issuer: str
    name: str | None
    email: str | None
    created_at: datetime
    last_sign_in_at: datetime


class ProviderUnknown(EchainError):
    """There is no such sign-in provider here; `GET /auth/oauth` lists those there are."""

    kind = Kind.NOT_FOUND
    code = "auth.oidc_provider_unknown"


class ProviderUnavailable(EchainError):
    """The sign-in provider does not answer as it should; try again later, or sign in with a wallet."""

    kind = Kind.UNAVAILABLE
    code = "auth.oidc_unavailable"


class StateUnknown(EchainError):
    """This sign-in was used, is over ten minutes old, or began in another browser; start again."""

    kind = Kind.UNAUTHENTICATED
    code = "auth.oidc_state_unknown"


class ProviderRefused(EchainError):
    """What came back from the provider does not prove who you are; start again."""

    kind = Kind.UNAUTHENTICATED
    code = "auth.oidc_refused"


class SignInDenied(EchainError):
    """The provider ended the sign-in, or you did; start again, or ask those who run the provider."""

    kind = Kind.FORBIDDEN
    code = "auth.oidc_denied"


class LogoutRefused(Refusal):
    """This is no logout token of this provider for us, or it is not of now."""

    kind = Kind.INVALID
    code = "auth.oidc_logout_refused"
    status = 400


class EmailNotAllowed(EchainError):
    """Only people with a confirmed e-mail address of certain domains sign in here with this provider."""

    kind = Kind.FORBIDDEN
    code = "auth.oidc_email_not_allowed"


class IdentityTaken(EchainError):
    """This identity is linked to another account; sign in with it there and unlink it first."""

    kind = Kind.CONFLICT
    code = "auth.identity_taken"


class IdentityNotFound(EchainError):
    """You have linked no such identity."""

    kind = Kind.NOT_FOUND
    code = "auth.identity_not_found"


class LastWayIn(EchainError):
    """Without this identity you could not sign in any more; link another one first."""

    kind = Kind.CONFLICT
    code = "auth.last_way_in"


FINISH_ERRORS: Final = (
    ProviderUnknown,
    ProviderUnavailable,
    StateUnknown,
    ProviderRefused,
    SignInDenied,
    EmailNotAllowed,
    IdentityTaken,
)
