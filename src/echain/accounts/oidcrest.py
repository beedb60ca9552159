"""Routes of signing in at OpenID providers, of linking identities, and of being signed out by providers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import msgspec

from echain.accounts import confirmations, erasing, oidc, rules
from echain.accounts.admintypes import UserSuspended
from echain.accounts.authentication import Authenticator
from echain.accounts.erasing import SignInNotFresh
from echain.accounts.oidcprovider import Provider
from echain.accounts.oidcrules import LONGEST_PATH, return_path
from echain.accounts.oidctypes import (
    FINISH_ERRORS,
    Away,
    Identity,
    IdentityNotFound,
    LastWayIn,
    LogoutRefused,
    Person,
    ProviderRefused,
    ProviderShown,
    ProviderUnavailable,
    ProviderUnknown,
    SignInDenied,
)
from echain.accounts.rest import BrowserCookie
from echain.accounts.types import ConfirmationInvalid, ConfirmationNeeded, Ended, WalletNeeded
from echain.chain.contractwallet import ContractWallets, SignatureUnverifiable
from echain.edge.http import (
    SESSIONS_ONLY,
    Auth,
    Call,
    Caller,
    Cookie,
    Endpoint,
    Nothing,
    RawBody,
    Reply,
    delete,
    get,
    post,
)
from echain.infra.audit import Actor
from echain.infra.crypto import DataKeys
from echain.infra.database import Database

TAG: Final = SESSIONS_ONLY
PATH: Final = "/api/v1/auth/oauth"
_LONGEST: Final = 4_096
_LONGEST_LOGOUT: Final = 65_536
_QUIET: Final = (("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"))
"""What the address bar shows meanwhile is nobody else's business."""
_TEMPORARY: Final = frozenset({"server_error", "temporarily_unavailable"})

_Text = Annotated[str, msgspec.Meta(max_length=_LONGEST)]


class ProviderPath(msgspec.Struct, frozen=True):
    """A provider in a path."""

    provider: Annotated[str, msgspec.Meta(max_length=60)]


class IdentityPath(msgspec.Struct, frozen=True):
    """An identity in a path."""

    id: UUID


class Leaving(msgspec.Struct, frozen=True, rename="camel"):
    """Where to go once it is done."""

    return_to: Annotated[
        str, msgspec.Meta(max_length=LONGEST_PATH, description="A path on this site; / without it")
    ] = "/"


class LinkAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where to go once an identity is linked."""

    return_to: Annotated[
        str, msgspec.Meta(max_length=LONGEST_PATH, description="A path on this site; / without it")
    ] = "/"


class Response(msgspec.Struct, frozen=True):
    """An authorization response (RFC 6749, 4.1.2; RFC 9207); other parameters are ignored, as those ask."""

    takes_others: ClassVar[bool] = True

    state: _Text
    code: _Text | None = None
    iss: _Text | None = None
    error: _Text | None = None


class Desk(msgspec.Struct, frozen=True):
    """What these routes need."""

    database: Database
    authenticator: Authenticator
    keys: DataKeys
    providers: Mapping[str, Provider]
    wallets: ContractWallets | None
    browser: BrowserCookie
    origin: str

    def provider(self, name: str) -> Provider:
        """Return a provider.

        Raises:
            ProviderUnknown
        """
        found = self.providers.get(name)
        if found is None:
            raise ProviderUnknown
        return found


def redirect_uri(public_url: str, provider: str) -> str:
    """Return where a provider sends people back to; it must be registered there, letter by letter."""
    return f"{public_url}{PATH}/{provider}/callback"


def endpoints(
    database: Database,
    authenticator: Authenticator,
    keys: DataKeys,
    providers: Sequence[Provider],
    *,
    wallets: ContractWallets | None,
    public_url: str,
) -> list[Endpoint]:
    """Return the routes under ``/api/v1/auth/oauth`` and ``/api/v1/auth/identities``."""
    desk = Desk(
        database,
        authenticator,
        keys,
        {one.settings.name: one for one in providers},
        wallets,
        BrowserCookie(https=public_url.startswith("https:")),
        _origin(public_url),
    )
    return [
        _listed_endpoint(desk),
        *_starting_endpoints(desk),
        _callback_endpoint(desk),
        _logout_endpoint(desk),
        *_identity_endpoints(desk),
    ]


def _listed_endpoint(desk: Desk) -> Endpoint:
    shown = [
        ProviderShown(name, one.settings.shown, f"{PATH}/{name}/start")
        for name, one in desk.providers.items()
    ]

    @get(PATH, summary="List the providers to sign in with", tag=TAG, answer=list[ProviderShown])
    async def listed(_: Call[Nothing, Nothing, Nothing]) -> list[ProviderShown]:
        return shown

    return listed


def _starting_endpoints(desk: Desk) -> list[Endpoint]:
    async def prepared(
        call: Call[ProviderPath, Any, Any], return_to: str, link_to: Caller | None
    ) -> tuple[oidc.Prepared, Cookie]:
        # One secret for all of a browser's tabs, as with nonces.
        browser = desk.browser.read(call.cookies) or secrets.token_urlsafe(32)
        ready = await oidc.prepare(
            desk.keys,
            desk.provider(call.path.provider),
            browser=browser,
            return_to=return_path(return_to),
            link_to=link_to,
            now=call.now,
        )
        return ready, desk.browser.write(browser)

    @get(
        f"{PATH}/{{provider}}/start",
        summary="Go to a provider to sign in",
        tag=TAG,
        answer=None,
        status=303,
        path_params=ProviderPath,
        query=Leaving,
        errors=(ProviderUnknown, ProviderUnavailable),
        charged="sign-in",
        description="For the address bar: this leads to the provider, which leads back to the callback, that "
        "leads to `returnTo` with a session in cookies.",
    )
    async def start(call: Call[ProviderPath, Leaving, Nothing]) -> Reply:
        ready, cookie = await prepared(call, call.query.return_to, None)
        away = await oidc.keep(desk.database, ready)
        return Reply(headers=(("Location", away.url), *_QUIET), cookies=(cookie,))

    @post(
        f"{PATH}/{{provider}}/link",
        summary="Link an identity at a provider to my account",
        tag=TAG,
        answer=Away,
        auth=Auth.USER,
        path_params=ProviderPath,
        body=LinkAsked,
        errors=(
            *(ProviderUnknown, ProviderUnavailable, SignInNotFresh, WalletNeeded),
            *(ConfirmationNeeded, ConfirmationInvalid, SignatureUnverifiable),
        ),
        description="Send the browser to `url`; it comes back to the callback with the identity linked. "
        "Confirmed by the wallet: action `identity.link`, the target is the provider's name. Who has no "
        "wallet signs in anew, at most five minutes before.",
    )
    async def link(call: Call[ProviderPath, Nothing, LinkAsked]) -> Reply:
        # A stolen session must not give itself a way in of its own.
        confirmed = None
        if call.user.address is None:
            await erasing.require_fresh(desk.database, call.user, now=call.now)
        else:
            confirmed = await confirmations.verify(
                desk.database,
                desk.wallets,
                call.user,
                call.headers.get(confirmations.HEADER),
                action="identity.link",
                target=desk.provider(call.path.provider).settings.name,
                now=call.now,
            )
        ready, cookie = await prepared(call, call.body.return_to, call.user)
        async with desk.database.transaction() as tx:
            if confirmed is not None:
                await confirmations.consume(tx, confirmed)
            away = await oidc.keep(tx, ready)
            issuer = desk.provider(call.path.provider).settings.issuer
            await call.audit(
                tx, "identity.link_asked", resource=f"user:{call.user.id}", diff={"issuer": [None, issuer]}
            )
        return Reply(away, cookies=(cookie,))

    return [start, link]


def _callback_endpoint(desk: Desk) -> Endpoint:
    async def signed_in(call: Call[Any, Any, Any], begun: oidc.Begun, person: Person) -> Reply:
        device = rules.device_name(call.headers.get("user-agent", ""))
        async with desk.database.transaction() as tx:
            grant = await oidc.sign_in(
                tx,
                desk.keys,
                desk.authenticator.tokens,
                person,
                provider=begun.provider,
                device=device,
                now=call.now,
            )
            actor = Actor("user", str(grant.user_id), None, f"session:{grant.session_id}")
            await call.audit(
                tx,
                "session.opened",
                resource=f"session:{grant.session_id}",
                diff={"issuer": [None, person.issuer]},
                actor=actor,
            )
        cookies = desk.authenticator.granted(grant, in_cookies=True, now=call.now).cookies
        return Reply(headers=_back(desk, begun), cookies=cookies)

    async def linked(call: Call[Any, Any, Any], begun: oidc.Begun, person: Person) -> Reply:
        async with desk.database.transaction() as tx:
            done = await oidc.link(tx, desk.keys, person, begun, now=call.now)
            actor = Actor("user", str(done.user_id), None, f"session:{begun.session_id}")
            await call.audit(
                tx,
                "identity.linked",
                resource=f"identity:{done.id}",
                diff={"issuer": [None, person.issuer]},
                actor=actor,
            )
        return Reply(headers=_back(desk, begun))

    @get(
        f"{PATH}/{{provider}}/callback",
        summary="Come back from a provider",
        tag=TAG,
        answer=None,
        status=303,
        path_params=ProviderPath,
        query=Response,
        errors=(*FINISH_ERRORS, UserSuspended),
        description="Where the provider sends the browser; nobody else calls it.",
    )
    async def callback(call: Call[ProviderPath, Response, Nothing]) -> Reply:
        provider = desk.provider(call.path.provider)
        begun = await oidc.come_back(
            desk.database,
            desk.keys,
            state=call.query.state,
            browser=desk.browser.read(call.cookies),
            provider=provider.settings.name,
            now=call.now,
        )
        await provider.check_sender(call.query.iss)
        if call.query.error is not None:
            raise ProviderUnavailable if call.query.error in _TEMPORARY else SignInDenied
        if not call.query.code:
            raise ProviderRefused
        person = await provider.person(call.query.code, begun.secrets, began=begun.at, now=call.now)
        oidc.require_allowed(person, provider.settings.domains)
        return await (signed_in if begun.link_to is None else linked)(call, begun, person)

    return callback


def _logout_endpoint(desk: Desk) -> Endpoint:
    @post(
        f"{PATH}/{{provider}}/logout",
        summary="Hear from a provider whom it signed out",
        tag=TAG,
        answer=Ended,
        path_params=ProviderPath,
        body=RawBody,
        max_body_bytes=_LONGEST_LOGOUT,
        limited=False,
        errors=(ProviderUnknown, ProviderUnavailable, LogoutRefused),
        description="OpenID Connect Back-Channel Logout: a form with a signed `logout_token`.",
    )
    async def logout(call: Call[ProviderPath, Nothing, RawBody]) -> Ended:
        provider = desk.provider(call.path.provider)
        token = _logout_token(await call.body.read())
        try:
            signed_out = await provider.ended(token, now=call.now)
        except ProviderRefused:
            raise LogoutRefused from None
        async with desk.database.transaction() as tx:
            ended = await oidc.end_by_provider(tx, signed_out, now=call.now)
            actor = Actor("system", f"provider {provider.settings.name}")
            for session_id, _ in ended:
                await call.audit(tx, "session.ended", resource=f"session:{session_id}", actor=actor)
        desk.authenticator.forget({session_id for session_id, _ in ended})
        return Ended(len(ended))

    return logout


def _identity_endpoints(desk: Desk) -> list[Endpoint]:
    @get(
        "/api/v1/auth/identities",
        summary="List my identities at providers",
        tag=TAG,
        answer=list[Identity],
        auth=Auth.USER,
    )
    async def identities(call: Call[Nothing, Nothing, Nothing]) -> list[Identity]:
        return list(await oidc.identities(desk.database, desk.keys, call.user.id))

    @delete(
        "/api/v1/auth/identities/{id}",
        summary="Unlink an identity",
        tag=TAG,
        answer=Ended,
        auth=Auth.USER,
        path_params=IdentityPath,
        errors=(IdentityNotFound, LastWayIn),
        description="Ends the sessions that it opened.",
    )
    async def unlink(call: Call[IdentityPath, Nothing, Nothing]) -> Ended:
        async with desk.database.transaction() as tx:
            ended = await oidc.unlink(tx, call.user.id, call.path.id, now=call.now)
            await call.audit(tx, "identity.unlinked", resource=f"identity:{call.path.id}")
        desk.authenticator.forget(set(ended))
        return Ended(len(ended))

    return [identities, unlink]


def _back(desk: Desk, begun: oidc.Begun) -> tuple[tuple[str, str], ...]:
    """Return the headers that lead back; the whole address, so that nothing in the path can name another."""
    return (("Location", f"{desk.origin}{return_path(begun.return_to)}"), *_QUIET)


def _logout_token(body: bytes) -> str:
    try:
        given = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=10).get("logout_token", [])
    except ValueError:
        given = []
    if len(given) != 1:
        raise LogoutRefused
    return given[0]


def _origin(public_url: str) -> str:
    parts = urlsplit(public_url)
    return f"{parts.scheme}://{parts.netloc}"
