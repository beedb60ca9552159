"""What signing in and staying signed in speak of, and each reason to refuse it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self, TypeAlias
from uuid import UUID

import msgspec

from echain.edge.http import Caller
from echain.edge.http.fields import AddressText
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address


def address_of(caller: Caller) -> Address:
    """Return the wallet that a user signed in with.

    Raises:
        WalletNeeded: they signed in without one.
    """
    if caller.address is None:
        raise WalletNeeded
    return caller.address


Method: TypeAlias = Literal["wallet", "contract_wallet", "oidc"]
"""How a session was opened: by a key's signature, a contract wallet's, or at an OpenID provider."""


class Proof(msgspec.Struct, frozen=True):
    """A message that is meant for us and signed by ``address``; its nonce is still to be consumed."""

    address: Address
    nonce: str
    method: Method = "wallet"


class Nonce(msgspec.Struct, frozen=True, rename="camel"):
    """What a wallet needs to write its EIP-4361 message; ``address`` spelled as the message must spell it."""

    nonce: str
    expires_at: datetime
    domain: str
    uri: str
    chain_ids: tuple[int, ...]
    address: AddressText | None = None


class Grant(msgspec.Struct, frozen=True, rename="camel"):
    """A session's tokens. They are shown here once, and not kept.

    ``access_token`` goes into ``Authorization: Bearer``; ``refresh_token`` is good for one refresh.
    """

    access_token: str
    access_expires_at: datetime
    refresh_token: str
    refresh_expires_at: datetime
    session_id: UUID
    user_id: UUID
    address: str | None
    token_type: str = "Bearer"  # noqa: S105 -- the scheme's name (RFC 6750), no secret


class CookieGrant(msgspec.Struct, frozen=True, rename="camel"):
    """A session whose tokens came as cookies; ``csrf_token`` goes into the header ``X-CSRF-Token``."""

    access_expires_at: datetime
    refresh_expires_at: datetime
    session_id: UUID
    user_id: UUID
    address: str | None
    csrf_token: str
    token_type: str = "Cookie"  # noqa: S105 -- what it is, no secret


class Me(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Who the access token speaks for; ``address`` is the wallet that signed in, if one did."""

    user_id: UUID
    address: str | None
    session_id: UUID
    csrf_token: str | None = None


class Session(msgspec.Struct, frozen=True, rename="camel"):
    """A device that is signed in; ``name`` is what its user calls it, ``method`` how it was signed in."""

    id: UUID
    device: str
    name: str | None
    method: Method
    address: str | None
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    current: bool


class Ended(msgspec.Struct, frozen=True):
    """How many sessions a request ended."""

    ended: int


class KeyLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a key may call where that is less often than its user may; null says as often.

    ``writes`` in 15 minutes, ``reads`` in one.
    """

    writes: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    reads: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None


class ApiKey(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A key without its secret, of which ``prefix`` is the beginning."""

    id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    limits: KeyLimits
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class IssuedKey(ApiKey, frozen=True, rename="camel", kw_only=True):
    """A key that was just made; ``key`` is shown here once, only its hash is kept."""

    key: str


class Confirmation(msgspec.Struct, frozen=True, rename="camel"):
    """What the wallet signs to confirm an action; good once, until ``expires_at``, by the same session."""

    id: UUID
    action: str
    target: str
    message: str
    expires_at: datetime


class SignInRefused(EchainError):
    """The sign-in is refused; ask for a new nonce and sign again."""

    kind = Kind.UNAUTHENTICATED
    code = "auth.refused"


class MessageMalformed(EchainError):
    """The message is not of the EIP-4361 grammar; see the fields."""

    kind = Kind.INVALID
    code = "auth.message_malformed"

    @classmethod
    def because(cls, reason: str) -> Self:
        return cls(f"message: {reason}", fields=[{"path": "message", "reason": reason}])


class SignatureMalformed(EchainError):
    """The signature is not one that a wallet makes; see the fields."""

    kind = Kind.INVALID
    code = "auth.signature_malformed"

    @classmethod
    def because(cls, reason: str) -> Self:
        return cls(f"signature: {reason}", fields=[{"path": "signature", "reason": reason}])


class DomainMismatch(SignInRefused):
    """The message was signed for another domain; sign in on the site that you see in the address bar."""

    code = "auth.domain_mismatch"


class SchemeMismatch(SignInRefused):
    """The message names another scheme than this site is served with."""

    code = "auth.scheme_mismatch"


class UriMismatch(SignInRefused):
    """The message's URI lies outside this site."""

    code = "auth.uri_mismatch"


class ChainNotAllowed(SignInRefused):
    """The message's chain is not configured here; switch the wallet to one of the expected chains."""

    code = "auth.chain_not_allowed"


class IssuedAtOutOfWindow(SignInRefused):
    """The message was issued over ten minutes ago or in the future; check the clock and sign a new one."""

    code = "auth.issued_at_out_of_window"


class MessageExpired(SignInRefused):
    """The message's expiration time has passed; sign a new one."""

    code = "auth.message_expired"


class MessageNotYetValid(SignInRefused):
    """The message's not-before time has not come yet."""

    code = "auth.message_not_yet_valid"


class NonceUnknown(SignInRefused):
    """The nonce was used, is too old, or is not this browser's; ask for a new one and keep its cookie."""

    code = "auth.nonce_unknown"


class NonceForAnotherAddress(SignInRefused):
    """The nonce was asked for with another address; ask for one with the address that signs."""

    code = "auth.nonce_address_mismatch"


class WalletPresent(EchainError):
    """This account has a wallet already; sign in with that one."""

    kind = Kind.CONFLICT
    code = "auth.wallet_present"


class WalletTaken(EchainError):
    """This wallet signs in as another account; sign in with it there, or take another wallet."""

    kind = Kind.CONFLICT
    code = "auth.wallet_taken"


class SignatureInvalid(SignInRefused):
    """Neither the key of the message's address made this signature, nor does a contract there take it."""

    code = "auth.signature_invalid"


class WalletNeeded(EchainError):
    """This needs a wallet, and you signed in without one; sign in with the wallet that it is about."""

    kind = Kind.FORBIDDEN
    code = "auth.wallet_needed"


class ConfirmationNeeded(EchainError):
    """Your wallet has to sign for this: ask for the text as the details say, and send what it signs along."""

    kind = Kind.FORBIDDEN
    code = "auth.confirmation_needed"


class ConfirmationInvalid(EchainError):
    """This confirmation was used, has expired, is for something else, or is not signed; ask for a new one."""

    kind = Kind.FORBIDDEN
    code = "auth.confirmation_invalid"

    @classmethod
    def guessed(cls) -> Self:
        """Return it for a signature that is not the wallet's: whoever shows it tries what does not hold."""
        error = cls()
        error.guess = True
        return error


class AccessTokenInvalid(EchainError):
    """The access token is unknown or expired, or its session ended; refresh it or sign in again."""

    kind = Kind.UNAUTHENTICATED
    code = "auth.token_invalid"

    @classmethod
    def over(cls) -> Self:
        """Return it for a token that we did make: whoever shows it has waited, and guessed nothing."""
        error = cls()
        error.guess = False
        return error


class ApiKeyInvalid(EchainError):
    """The API key is unknown, expired or revoked; make a new one."""

    kind = Kind.UNAUTHENTICATED
    code = "auth.api_key_invalid"

    @classmethod
    def over(cls) -> Self:
        """Return it for a key that there was: whoever shows it guessed nothing."""
        error = cls()
        error.guess = False
        return error


class ApiKeyNotFound(EchainError):
    """You have no such API key, or it was revoked or expired."""

    kind = Kind.NOT_FOUND
    code = "auth.api_key_not_found"


class TooManyKeys(EchainError):
    """You have 50 live API keys; revoke one that is not used any more."""

    kind = Kind.CONFLICT
    code = "auth.too_many_api_keys"


class RefreshTokenUnknown(EchainError):
    """There is no such refresh token, or its session ended; sign in again."""

    kind = Kind.UNAUTHENTICATED
    code = "auth.refresh_unknown"


class RefreshTokenReused(EchainError):
    """The refresh token was used before and may be stolen: its session is ended, sign in again."""

    kind = Kind.UNAUTHENTICATED
    code = "auth.refresh_reused"


class SessionNotFound(EchainError):
    """You have no such session, or it ended."""

    kind = Kind.NOT_FOUND
    code = "auth.session_not_found"
