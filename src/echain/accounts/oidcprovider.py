"""Speaks with one OpenID provider: what it says of itself, its keys, and codes for people.

Protocol texts are Authlib's, signatures joserfc's; every byte goes through `infra.outbound`, because a
provider's documents name the addresses that are asked next. See `docs/adr/0022-staff-sign-in-with-openid.md`.
"""

from __future__ import annotations

import asyncio
import re
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias
from urllib.parse import quote_plus, urlsplit

import msgspec
import structlog
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from echain.accounts.oidckeys import ALGORITHMS, Key, KeyUnknown, Signed, keys_of, opened
from echain.accounts.oidcrules import Unproven, described, person_of, signed_out
from echain.accounts.oidctypes import (
    Person,
    ProviderRefused,
    ProviderUnavailable,
    Secrets,
    SignedOut,
)
from echain.infra.oidcsettings import OidcSettings
from echain.infra.outbound import Document, Outbound, Rules, TargetRefused, TargetUnreachable, checked_url

KNOWN_SECONDS: Final = 3_600.0
"""How long what a provider says of itself is believed; its keys as well, unless one turns up that is new."""
NEW_KEYS_SECONDS: Final = 30.0
"""The least time between two looks for new keys: unknown key ids cost nothing to make."""
FAILED_SECONDS: Final = 5.0
"""How long a provider that failed is not asked again."""
_OK: Final = 200
_CLIENT_ERRORS: Final = range(400, 500)
_JSON: Final = {"accept": "application/json"}
_ERROR_CODE: Final = re.compile(r"[a-z_]{1,60}")
_FORM: Final = "application/x-www-form-urlencoded"

Opening: TypeAlias = Callable[[], Outbound]
"""Returns a client for one request; people sign in too seldom to keep one open."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.accounts")


class Metadata(msgspec.Struct, frozen=True):
    """What is used of OpenID Provider Metadata; absent lists mean what the specification says they do."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    code_challenge_methods_supported: tuple[str, ...] | None = None
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Tokens(msgspec.Struct, frozen=True):
    """What a code gives; the access token is used for UserInfo at once and kept nowhere."""

    id_token: str
    access_token: str
    token_type: str


class _Failed(msgspec.Struct, frozen=True):
    """OAuth's answer to a request that it refuses (RFC 6749, 5.2)."""

    error: str


class Unusable(Exception):
    """The provider does not answer as one does; the text is the reason, for the log."""


class Provider:
    """One provider. What it says of itself and its keys are fetched when first needed and remembered."""

    def __init__(self, settings: OidcSettings, opening: Opening, *, redirect_uri: str) -> None:
        """``opening`` follows `rules_of` these settings; ``redirect_uri`` is ours, registered there."""
        self.settings = settings
        self._opening = opening
        self._redirect_uri = redirect_uri
        self._rules = rules_of(settings)
        self._lock = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._keys: tuple[Key, ...] | None = None
        self._metadata_until = self._keys_until = self._new_keys_after = self._failed_until = 0.0

    async def away(self, state: str, secrets: Secrets) -> str:
        """Return where the browser goes to sign in: always with PKCE (S256), state and nonce.

        Raises:
            ProviderUnavailable: it does not say where that is.
        """
        metadata = await self._known()
        try:
            return prepare_grant_uri(
                metadata.authorization_endpoint,
                self.settings.client_id,
                "code",
                redirect_uri=self._redirect_uri,
                scope=" ".join(self.settings.scopes),
                state=state,
                nonce=secrets.nonce,
                code_challenge=create_s256_code_challenge(secrets.verifier),
                code_challenge_method="S256",
            )
        except ValueError as error:
            raise self._unavailable("its authorization endpoint is no URL") from error

    async def check_sender(self, issuer: str | None) -> None:
        """Refuse an authorization response of another provider, or of one that should say whose it is.

        RFC 9207: this is what stops a provider from being handed another's code.

        Raises:
            ProviderRefused, ProviderUnavailable
        """
        if issuer is None and (await self._known()).authorization_response_iss_parameter_supported:
            raise self._refused("the response does not say whose it is")
        if issuer not in (None, self.settings.issuer):
            raise self._refused("the response is another provider's")

    async def person(self, code: str, secrets: Secrets, *, began: datetime, now: datetime) -> Person:
        """Return whom the provider says a code is for.

        Raises:
            ProviderRefused: the code is not ours or used, or the ID token does not prove what it says.
            ProviderUnavailable: the provider does not answer, or not as one does.
        """
        metadata = await self._known()
        tokens = await self._redeem(metadata, code, secrets)
        try:
            signed = await self._opened(metadata, tokens.id_token)
            person = person_of(
                signed.claims,
                signed.header,
                issuer=self.settings.issuer,
                client_id=self.settings.client_id,
                nonce=secrets.nonce,
                access_token=tokens.access_token,
                began=began,
                now=now,
            )
        except Unproven as error:
            raise self._refused(str(error)) from error
        return await self._completed(metadata, tokens, person)

    async def ended(self, logout_token: str, *, now: datetime) -> SignedOut:
        """Return whom the provider signed out.

        Raises:
            ProviderRefused: the token does not prove it.
            ProviderUnavailable: its keys cannot be had.
        """
        metadata = await self._known()
        try:
            signed = await self._opened(metadata, logout_token)
            return signed_out(
                signed.claims, issuer=self.settings.issuer, client_id=self.settings.client_id, now=now
            )
        except Unproven as error:
            raise self._refused(str(error)) from error

    async def _redeem(self, metadata: Metadata, code: str, secrets: Secrets) -> Tokens:
        body = prepare_token_request(
            "authorization_code",
            "",
            self._redirect_uri,
            code=code,
            code_verifier=secrets.verifier,
            **self._in_body(metadata),
        )
        headers = {**_JSON, "content-type": _FORM, **self._in_headers(metadata)}
        answer = await self._fetched(metadata.token_endpoint, headers, body.encode("ascii"))
        if answer.status == _OK:
            tokens = self._decoded(answer, Tokens)
            if tokens.token_type.lower() != "bearer":
                raise self._unavailable("its access tokens are not bearer tokens")
            return tokens
        if answer.status in _CLIENT_ERRORS and _error_of(answer) == "invalid_grant":
            raise self._refused("the provider does not take the code")
        # What remains is between the provider and whoever configured us: a wrong secret, an outage.
        raise self._unavailable(f"token endpoint answered {answer.status} {_error_of(answer)}")

    def _method(self, metadata: Metadata) -> str:
        if self.settings.client_secret is None:
            return "none"
        for method in ("client_secret_basic", "client_secret_post"):
            if method in metadata.token_endpoint_auth_methods_supported:
                return method
        raise self._unavailable("it takes a client's secret neither by header nor by body")

    def _in_headers(self, metadata: Metadata) -> dict[str, str]:
        secret = self.settings.client_secret
        if secret is None or self._method(metadata) != "client_secret_basic":
            return {}
        # Form-encoded first (RFC 6749, 2.3.1), which Authlib 1.9 leaves out; a % or : would mean another.
        pair = f"{quote_plus(self.settings.client_id)}:{quote_plus(secret.reveal())}"
        return {"authorization": f"Basic {b64encode(pair.encode('ascii')).decode('ascii')}"}

    def _in_body(self, metadata: Metadata) -> dict[str, str]:
        method = self._method(metadata)
        if method == "client_secret_basic":
            return {}
        given = {"client_id": self.settings.client_id}
        if self.settings.client_secret is not None:
            given["client_secret"] = self.settings.client_secret.reveal()
        return given

    async def _completed(self, metadata: Metadata, tokens: Tokens, person: Person) -> Person:
        """Return the person with the e-mail address and name that only UserInfo tells (Core 1.0, 5.4)."""
        wanted = {"email": person.email, "profile": person.name}
        missing = any(scope in self.settings.scopes and told is None for scope, told in wanted.items())
        if not missing or metadata.userinfo_endpoint is None:
            return person
        headers = {**_JSON, "authorization": f"Bearer {tokens.access_token}"}
        answer = await self._fetched(metadata.userinfo_endpoint, headers)
        if answer.status != _OK:
            raise self._unavailable(f"UserInfo answered {answer.status}")
        try:
            told = described(
                self._decoded(answer, dict[str, Any]), issuer=self.settings.issuer, sid=person.sid
            )
        except Unproven as error:
            raise self._refused(str(error)) from error
        if told.subject != person.subject:
            raise self._refused("UserInfo is about somebody else")
        # An address and whether it is confirmed come from one mouth.
        mail = told if told.email is not None else person
        return msgspec.structs.replace(
            person, name=told.name or person.name, email=mail.email, email_confirmed=mail.email_confirmed
        )

    async def _opened(self, metadata: Metadata, token: str) -> Signed:
        """Return what a token says that the provider signed; look for new keys once if its key is unknown.

        Raises:
            Unproven: it did not.
            ProviderUnavailable: its keys cannot be had.
        """
        promised = metadata.id_token_signing_alg_values_supported
        keys = await self._signers(metadata, older_than=None)
        try:
            return opened(token, keys, promised=promised)
        except KeyUnknown:
            pass
        keys = await self._signers(metadata, older_than=keys)
        try:
            return opened(token, keys, promised=promised)
        except KeyUnknown:
            raise Unproven("the provider has no key that signed this token") from None

    async def _known(self) -> Metadata:
        """Return what the provider says of itself, asked again when it is an hour old."""
        async with self._lock:
            if self._metadata is not None and time.monotonic() < self._metadata_until:
                return self._metadata
            self._check_failed()
            url = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
            document = await self._fetched(url, _JSON)
            if document.status != _OK:
                raise self._failed(f"discovery answered {document.status}")
            metadata = self._decoded(document, Metadata)
            try:
                self._check(metadata)
            except Unusable as error:
                raise self._failed(str(error)) from error
            self._metadata, self._metadata_until = metadata, time.monotonic() + KNOWN_SECONDS
            return metadata

    def _check(self, metadata: Metadata) -> None:
        """Check where the provider would send people and us.

        Raises:
            Unusable: it calls itself otherwise, names an address that may not be asked, or knows no S256.
        """
        if metadata.issuer != self.settings.issuer:
            raise Unusable("it calls itself by another issuer")
        methods = metadata.code_challenge_methods_supported
        if methods is not None and "S256" not in methods:
            raise Unusable("it does not know PKCE's S256")
        if not set(metadata.id_token_signing_alg_values_supported) & set(ALGORITHMS):
            raise Unusable(f"it signs with none of {', '.join(ALGORITHMS)}")
        named = (
            metadata.authorization_endpoint,
            metadata.token_endpoint,
            metadata.jwks_uri,
            metadata.userinfo_endpoint or metadata.issuer,
        )
        for url in named:
            try:
                checked_url(url, self._rules)
            except TargetRefused as error:
                raise Unusable(f"an endpoint that it names may not be asked: {error.message}") from error
            # A provider that may stand at a private address must not lead us to its neighbours there.
            if self._rules.private and urlsplit(url).hostname != urlsplit(metadata.issuer).hostname:
                raise Unusable("a private provider's endpoints are on its issuer's host")

    async def _signers(self, metadata: Metadata, *, older_than: tuple[Key, ...] | None) -> tuple[Key, ...]:
        """Return the provider's keys; with ``older_than`` newer ones if another look is due."""
        async with self._lock:
            now = time.monotonic()
            fresh = self._keys is not None and now < self._keys_until
            if self._keys is not None and fresh and self._keys is not older_than:
                return self._keys
            if self._keys is not None and older_than is not None and now < self._new_keys_after:
                return self._keys
            self._check_failed()
            document = await self._fetched(metadata.jwks_uri, _JSON)
            if document.status != _OK:
                raise self._failed(f"its keys answered {document.status}")
            try:
                self._keys = keys_of(self._decoded(document, dict[str, Any]))
            except Unproven as error:
                raise self._failed(str(error)) from error
            self._keys_until = now + KNOWN_SECONDS
            if older_than is not None:
                self._new_keys_after = now + NEW_KEYS_SECONDS
            return self._keys

    async def _fetched(self, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Document:
        try:
            async with self._opening() as outbound:
                return await outbound.fetch(url, headers, body=body)
        except (TargetUnreachable, TargetRefused) as error:
            raise self._failed(error.message) from error

    def _decoded(self, document: Document, kind: type[Any]) -> Any:
        if document.content_type not in ("application/json", "application/jwk-set+json"):
            raise self._failed(f"it answered {document.content_type[:40]} instead of JSON")
        try:
            return msgspec.json.decode(document.body, type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise self._failed("it answered something else than it should") from error

    def _check_failed(self) -> None:
        if time.monotonic() < self._failed_until:
            raise ProviderUnavailable

    def _failed(self, reason: str) -> ProviderUnavailable:
        """Remember that the provider is not to be asked for some seconds."""
        self._failed_until = time.monotonic() + FAILED_SECONDS
        return self._unavailable(reason)

    def _unavailable(self, reason: str) -> ProviderUnavailable:
        _log.warning("accounts.oidc_unavailable", provider=self.settings.name, reason=reason)
        return ProviderUnavailable()

    def _refused(self, reason: str) -> ProviderRefused:
        _log.warning("accounts.oidc_refused", provider=self.settings.name, reason=reason)
        return ProviderRefused()


def rules_of(settings: OidcSettings) -> Rules:
    """Return what may be connected to for a provider: https at public addresses, unless it is told otherwise.

    Plain HTTP is for providers whose issuer is such, which only the configuration of a devnet may say.
    """
    return Rules(http=settings.issuer.startswith("http:"), private=settings.private)


def _error_of(answer: Document) -> str:
    """Return OAuth's error code of an answer, for the log; the rest of it may repeat what we sent."""
    try:
        code = msgspec.json.decode(answer.body, type=_Failed).error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return "without an error code"
    return code if _ERROR_CODE.fullmatch(code) else "with a strange error code"
