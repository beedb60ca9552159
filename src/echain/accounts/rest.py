"""Routes of signing in, sessions and signing out."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from echain.accounts import confirmationrest, rules, service, siwe
from echain.accounts.admintypes import UserSuspended
from echain.accounts.authentication import Authenticator
from echain.accounts.types import (
    ChainNotAllowed,
    DomainMismatch,
    Ended,
    Grant,
    IssuedAtOutOfWindow,
    Me,
    MessageExpired,
    MessageMalformed,
    MessageNotYetValid,
    Nonce,
    NonceForAnotherAddress,
    NonceUnknown,
    RefreshTokenReused,
    RefreshTokenUnknown,
    SchemeMismatch,
    Session,
    SessionNotFound,
    SignatureInvalid,
    SignatureMalformed,
    UriMismatch,
)
from echain.chain.contractwallet import LONGEST_SIGNATURE, ContractWallets, SignatureUnverifiable
from echain.edge.http import (
    AddressText,
    Auth,
    Call,
    Caller,
    Cookie,
    Deprecation,
    Endpoint,
    Nothing,
    Reply,
    delete,
    get,
    post,
)
from echain.infra.database import Database
from echain.kernel.evm import Address, checksum, parse_address

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


class SessionPath(msgspec.Struct, frozen=True):
    """A session in a path."""

    id: UUID


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


class Refresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The refresh token that was given last."""

    refresh_token: str


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
) -> list[Endpoint]:
    """Return the routes under ``/api/v1/auth``.

    Messages must be meant for ``public_url``'s origin and one of ``chain_ids``. Contract wallets are asked
    through ``wallets``; without, only keys sign in.
    """
    party = siwe.relying_party(public_url, chain_ids)
    cookie = BrowserCookie(https=party.scheme == "https")
    return [
        *_nonce_endpoints(database, party, cookie),
        *_sign_in_endpoints(database, authenticator, wallets, party, cookie),
        _refresh_endpoint(database, authenticator),
        confirmationrest.endpoint(database, party),
        *_session_endpoints(database),
        *_ending_endpoints(database, authenticator),
    ]


def _nonce_endpoints(database: Database, party: siwe.RelyingParty, cookie: BrowserCookie) -> list[Endpoint]:
    async def issued(call: Call[Any, Nothing, Nothing], address: Address | None) -> Reply:
        # One secret for all of a browser's tabs: a second nonce must not take the first one's cookie away.
        browser = cookie.read(call.cookies) or secrets.token_urlsafe(32)
        nonce = await service.issue_nonce(database, party, browser, address, now=call.now)
        return Reply(nonce, headers=_NO_STORE, cookies=(cookie.write(browser),))

    @get("/api/v1/auth/nonce", summary="Ask for a nonce to sign in with", tag=TAG, answer=Nonce)
    async def nonce(call: Call[Nothing, Nothing, Nothing]) -> Reply:
        return await issued(call, None)

    @get(
        "/api/v1/auth/nonce/{address}",
        summary="Ask for a nonce that only this wallet can sign in with",
        tag=TAG,
        answer=Nonce,
        path_params=AddressPath,
    )
    async def nonce_of_address(call: Call[AddressPath, Nothing, Nothing]) -> Reply:
        return await issued(call, parse_address(call.path.address))

    return [nonce, nonce_of_address]


def _sign_in_endpoints(
    database: Database,
    authenticator: Authenticator,
    wallets: ContractWallets | None,
    party: siwe.RelyingParty,
    cookie: BrowserCookie,
) -> list[Endpoint]:
    async def sign_in(call: Call[Nothing, Nothing, SignIn]) -> Grant:
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
            return await service.sign_in(
                tx, authenticator.tokens, proof, browser=browser, device=device, now=call.now
            )

    return [
        post(
            path,
            summary=summary,
            tag=TAG,
            answer=Grant,
            body=SignIn,
            errors=SIGN_IN_ERRORS,
            deprecated=leaving,
        )(sign_in)
        for path, summary, leaving in (
            ("/api/v1/auth/verify", "Sign in with a signed EIP-4361 message", None),
            ("/api/v1/auth/login", "Sign in; the same as /auth/verify", LOGIN_LEAVING),
        )
    ]


def _refresh_endpoint(database: Database, authenticator: Authenticator) -> Endpoint:
    @post(
        "/api/v1/auth/refresh",
        summary="Trade a refresh token for new tokens",
        tag=TAG,
        answer=Grant,
        body=Refresh,
        errors=(RefreshTokenUnknown, RefreshTokenReused),
        description="A refresh token is good once. Showing it again ends the session, except within 10 s "
        "by the same client, which is given the same tokens again.",
    )
    async def refresh(call: Call[Nothing, Nothing, Refresh]) -> Grant:
        client = f"{call.client}\n{call.headers.get('user-agent', '')}"
        async with database.transaction() as tx:
            outcome = await service.refresh(
                tx, authenticator.tokens, call.body.refresh_token, client=client, now=call.now
            )
        if isinstance(outcome, service.Reused):
            authenticator.forget({outcome.session_id})
            raise RefreshTokenReused
        return outcome

    return refresh


def _session_endpoints(database: Database) -> list[Endpoint]:
    @get("/api/v1/auth/me", summary="Who am I", tag=TAG, answer=Me, auth=Auth.USER)
    async def me(call: Call[Nothing, Nothing, Nothing]) -> Me:
        caller = call.user
        address = None if caller.address is None else checksum(caller.address)
        return Me(caller.id, address, _session(caller))

    @get("/api/v1/auth/sessions", summary="List my sessions", tag=TAG, answer=list[Session], auth=Auth.USER)
    async def sessions(call: Call[Nothing, Nothing, Nothing]) -> list[Session]:
        return await service.sessions(database, call.user.id, current=call.user.session, now=call.now)

    return [me, sessions]


def _ending_endpoints(database: Database, authenticator: Authenticator) -> list[Endpoint]:
    @post("/api/v1/auth/logout", summary="Sign out", tag=TAG, answer=Ended, auth=Auth.USER)
    async def logout(call: Call[Nothing, Nothing, Nothing]) -> Ended:
        async with database.transaction() as tx:
            await service.sign_out(tx, call.user.id, _session(call.user), now=call.now)
        authenticator.forget({_session(call.user)})
        return Ended(1)

    @delete("/api/v1/auth/sessions", summary="Sign out everywhere", tag=TAG, answer=Ended, auth=Auth.USER)
    async def logout_everywhere(call: Call[Nothing, Nothing, Nothing]) -> Ended:
        async with database.transaction() as tx:
            ended = await service.sign_out_everywhere(tx, call.user.id, now=call.now)
        authenticator.forget(set(ended))
        return Ended(len(ended))

    @delete(
        "/api/v1/auth/sessions/{id}",
        summary="Sign one device out",
        tag=TAG,
        answer=Ended,
        auth=Auth.USER,
        path_params=SessionPath,
        errors=(SessionNotFound,),
    )
    async def end(call: Call[SessionPath, Nothing, Nothing]) -> Ended:
        async with database.transaction() as tx:
            await service.end_session(tx, call.user.id, call.path.id, now=call.now)
        authenticator.forget({call.path.id})
        return Ended(1)

    return [logout, logout_everywhere, end]


def _session(caller: Caller) -> UUID:
    assert caller.session is not None, "users come with their session"
    return caller.session
