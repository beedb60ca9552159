"""Routes of signing in and staying signed in."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from echain.accounts import confirmationrest, rules, service, sessionrest, siwe
from echain.accounts.accesstokens import AccessTokens
from echain.accounts.admintypes import UserSuspended
from echain.accounts.authentication import Authenticator
from echain.accounts.types import (
    ChainNotAllowed,
    CookieGrant,
    DomainMismatch,
    Grant,
    IssuedAtOutOfWindow,
    MessageExpired,
    MessageMalformed,
    MessageNotYetValid,
    Nonce,
    NonceForAnotherAddress,
    NonceUnknown,
    Proof,
    RefreshTokenReused,
    RefreshTokenUnknown,
    SchemeMismatch,
    SignatureInvalid,
    SignatureMalformed,
    UriMismatch,
)
from echain.chain.contractwallet import LONGEST_SIGNATURE, ContractWallets, SignatureUnverifiable
from echain.edge.http import (
    AddressText,
    Call,
    Cookie,
    Deprecation,
    Endpoint,
    Nothing,
    Raw,
    Reply,
    get,
    post,
)
from echain.edge.http.errors import NotOurPage
from echain.edge.http.ownpages import OwnPages
from echain.infra import audit
from echain.infra.database import Database
from echain.kernel.errors import invalid_field
from echain.kernel.evm import Address, parse_address

TAG: Final = "auth"
_COOKIE: Final = "echain_browser"
_BROWSER: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_NO_STORE: Final = (("Cache-Control", "no-store"),)

LOGIN_LEAVING: Final = Deprecation(
    since=datetime(2026, 11, 26, tzinfo=UTC),
    sunset=datetime(2027, 12, 1, tzinfo=UTC),
    successor="/api/v1/auth/verify",
)
"""Clients of the existing platform sign in there; one way in is enough to guard."""

SIGN_IN_ERRORS: Final = (
    MessageMalformed,
    SignatureMalformed,
    DomainMismatch,
    SchemeMismatch,
    UriMismatch,
    ChainNotAllowed,
    IssuedAtOutOfWindow,
    MessageExpired,
    MessageNotYetValid,
    SignatureInvalid,
    SignatureUnverifiable,
    NonceUnknown,
    NonceForAnotherAddress,
    UserSuspended,
)


class AddressPath(msgspec.Struct, frozen=True):
    """A wallet in a path."""

    address: AddressText


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An EIP-4361 message as the wallet signed it, and the signature."""

    message: Annotated[str, msgspec.Meta(description="The exact text; at most 4096 bytes")]
    signature: Annotated[
        str,
        msgspec.Meta(
            description="0x and 65 bytes, or 64 as EIP-2098 packs them; of a contract wallet what its code "
            f"takes (ERC-1271, ERC-6492), at most {LONGEST_SIGNATURE} bytes"
        ),
    ]
    cookies: Annotated[
        bool,
        msgspec.Meta(
            description="true for a page of ours: the tokens come as cookies that no script can read, and "
            "the answer has a CSRF token for the header `X-CSRF-Token` of whatever is not a GET"
        ),
    ] = False


class Refresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The refresh token that was given last; of a session with cookies the cookie has it."""

    refresh_token: str | None = None


class BrowserCookie:
    """The cookie that binds nonces to the browser that asked for them; it signs nobody in.

    Behind https its name starts with ``__Host-``, so that no neighbouring host can plant it (RFC 6265bis,
    4.1.3.2).
    """

    def __init__(self, *, https: bool) -> None:
        self._https = https
        self._name = f"__Host-{_COOKIE}" if https else _COOKIE

    def read(self, cookies: Mapping[str, str]) -> str | None:
        """Return the browser's secret, None when there is none or not one of ours."""
        value = cookies.get(self._name, "")
        return value if _BROWSER.fullmatch(value) else None

    def write(self, secret: str) -> Cookie:
        return Cookie(
            self._name,
            secret,
            max_age=int(rules.NONCE_LIFE.total_seconds()),
            path="/",
            http_only=True,
            secure=self._https,
            same_site="lax",
        )


def endpoints(
    database: Database,
    authenticator: Authenticator,
    *,
    public_url: str,
    chain_ids: Iterable[int],
    wallets: ContractWallets | None = None,
    origins: Iterable[str] = (),
) -> list[Endpoint]:
    """Return the routes under ``/api/v1/auth``.

    Messages must be meant for ``public_url``'s origin and one of ``chain_ids``. Contract wallets are asked
    through ``wallets``; without, only keys sign in. Pages of ``origins`` may use cookies too, beside
    ``public_url``'s own.
    """
    party = siwe.relying_party(public_url, chain_ids)
    pages = OwnPages([party.origin, *origins])
    cookie = BrowserCookie(https=party.scheme == "https")
    return [
        *_nonce_endpoints(database, party, cookie),
        *_sign_in_endpoints(database, authenticator, wallets, party, cookie=cookie, pages=pages),
        _refresh_endpoint(database, authenticator, pages),
        _keys_endpoint(authenticator.tokens),
        confirmationrest.endpoint(database, party),
        *sessionrest.endpoints(database, authenticator),
    ]


def _keys_endpoint(tokens: AccessTokens) -> Endpoint:
    body = msgspec.json.encode({"keys": tokens.keys})

    @get(
        "/.well-known/jwks.json",
        summary="Read the public keys of access tokens",
        tag=TAG,
        answer=Raw,
        media_type="application/jwk-set+json",
        description="As RFC 7517 says. A token that one of them signed may be of a session that ended since.",
    )
    async def keys(_: Call[Nothing, Nothing, Nothing]) -> Raw:
        return Raw(body, "application/jwk-set+json", headers=(("Cache-Control", "public, max-age=300"),))

    return keys


def _nonce_endpoints(database: Database, party: siwe.RelyingParty, cookie: BrowserCookie) -> list[Endpoint]:
    async def issued(call: Call[Any, Nothing, Nothing], address: Address | None) -> Reply:
        # One secret for all of a browser's tabs: a second nonce must not take the first one's cookie away.
        browser = cookie.read(call.cookies) or secrets.token_urlsafe(32)
        nonce = await service.issue_nonce(database, party, browser, address, now=call.now)
        return Reply(nonce, headers=_NO_STORE, cookies=(cookie.write(browser),))

    @get(
        "/api/v1/auth/nonce",
        summary="Ask for a nonce to sign in with",
        tag=TAG,
        answer=Nonce,
        charged="sign-in",
    )
    async def nonce(call: Call[Nothing, Nothing, Nothing]) -> Reply:
        return await issued(call, None)

    @get(
        "/api/v1/auth/nonce/{address}",
        summary="Ask for a nonce that only this wallet can sign in with",
        tag=TAG,
        answer=Nonce,
        path_params=AddressPath,
        charged="sign-in",
    )
    async def nonce_of_address(call: Call[AddressPath, Nothing, Nothing]) -> Reply:
        return await issued(call, parse_address(call.path.address))

    return [nonce, nonce_of_address]


def _sign_in_endpoints(
    database: Database,
    authenticator: Authenticator,
    wallets: ContractWallets | None,
    party: siwe.RelyingParty,
    *,
    cookie: BrowserCookie,
    pages: OwnPages,
) -> list[Endpoint]:
    async def sign_in(call: Call[Nothing, Nothing, SignIn]) -> Reply:
        if call.body.cookies:
            pages.require(call.headers)
        browser = cookie.read(call.cookies)
        proof = await service.verify(
            database,
            wallets,
            call.body.message,
            call.body.signature,
            party,
            browser=browser,
            now=call.now,
        )
        device = rules.device_name(call.headers.get("user-agent", ""))
        async with database.transaction() as tx:
            grant = await service.sign_in(
                tx, authenticator.tokens, proof, browser=browser, device=device, now=call.now
            )
            await call.audit(
                tx, "session.opened", resource=f"session:{grant.session_id}", actor=_signed_in(grant, proof)
            )
        return authenticator.granted(grant, in_cookies=call.body.cookies, now=call.now)

    return [
        post(
            path,
            summary=summary,
            tag=TAG,
            answer=Grant | CookieGrant,
            body=SignIn,
            errors=(*SIGN_IN_ERRORS, NotOurPage),
            deprecated=leaving,
        )(sign_in)
        for path, summary, leaving in (
            ("/api/v1/auth/verify", "Sign in with a signed EIP-4361 message", None),
            ("/api/v1/auth/login", "Sign in; the same as /auth/verify", LOGIN_LEAVING),
        )
    ]


def _signed_in(grant: Grant, proof: Proof) -> audit.Actor:
    return audit.Actor("user", str(grant.user_id), proof.address, f"session:{grant.session_id}")


def _refresh_endpoint(database: Database, authenticator: Authenticator, pages: OwnPages) -> Endpoint:
    cookies = authenticator.cookies

    def cookie_of(call: Call[Nothing, Nothing, Refresh]) -> str:
        """Return the token in the cookie, which a page of ours sent.

        The session's CSRF token is known by its copy in a cookie that only we can set: its keys may have been
        replaced while the browser was closed, and the cookies outlast them.
        """
        token = call.cookies.get(cookies.refresh)
        if token is None:
            raise invalid_field("refreshToken", "required")
        pages.require_copy(call.headers, call.cookies.get(cookies.csrf, ""))
        return token

    @post(
        "/api/v1/auth/refresh",
        summary="Trade a refresh token for new tokens",
        tag=TAG,
        answer=Grant | CookieGrant,
        body=Refresh,
        errors=(RefreshTokenUnknown, RefreshTokenReused, NotOurPage),
        charged="read",
        description="A refresh token is good once. Showing it again ends the session, except within 10 s "
        "by the same client, which is given the same tokens again. A session with cookies sends no body, and "
        "gets new cookies.",
    )
    async def refresh(call: Call[Nothing, Nothing, Refresh]) -> Reply:
        token = call.body.refresh_token
        shown = cookie_of(call) if token is None else token
        # Not the address: who goes from one network to another sends the same request again from there.
        client = call.headers.get("user-agent", "")
        async with database.transaction() as tx:
            outcome = await service.refresh(tx, authenticator.tokens, shown, client=client, now=call.now)
            if isinstance(outcome, service.Reused):
                about = f"session:{outcome.session_id}"
                await call.audit(tx, "session.reuse_found", resource=about, diff={"state": ["open", "ended"]})
        if isinstance(outcome, service.Reused):
            authenticator.forget({outcome.session_id})
            raise RefreshTokenReused
        return authenticator.granted(outcome, in_cookies=token is None, now=call.now)

    return refresh
