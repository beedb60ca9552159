"""Signing in at an OpenID provider, linking what it says one is to an account, and being signed out by it.

A provider's word opens a session without a wallet: it never speaks for an address. People are matched by the
provider's own number for them, never by e-mail address, which providers let people choose.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from echain.accounts import oidcstore, service, telling
from echain.accounts.accesstokens import AccessTokens
from echain.accounts.oidcprovider import Provider
from echain.accounts.oidcrules import LEEWAY_SECONDS, START_LIFE, email_allowed
from echain.accounts.oidcstore import IDENTITIES, STARTS
from echain.accounts.oidctypes import (
    Away,
    EmailNotAllowed,
    Identity,
    IdentityNotFound,
    IdentityTaken,
    LastWayIn,
    Person,
    Secrets,
    SignedOut,
    StateUnknown,
)
from echain.accounts.types import Grant
from echain.edge.http import Caller
from echain.infra.crypto import DataKeys
from echain.infra.database import Database, Tx
from echain.infra.personal import Holding, Section, Subject
from echain.kernel.ids import uuid7


class Prepared(msgspec.Struct, frozen=True):
    """A sign-in that can begin; of the state and the browser's secret it has the hashes."""

    start: oidcstore.Start
    state: bytes
    browser: bytes
    away: Away


class Begun(msgspec.Struct, frozen=True):
    """A sign-in that came back; with ``link_to`` it is to be linked to that user's account."""

    provider: str
    secrets: Secrets
    return_to: str
    link_to: UUID | None
    session_id: UUID | None
    at: datetime


class Linked(msgspec.Struct, frozen=True):
    """An identity that a user has now."""

    id: UUID
    user_id: UUID


async def prepare(
    keys: DataKeys,
    provider: Provider,
    *,
    browser: str,
    return_to: str,
    link_to: Caller | None,
    now: datetime,
) -> Prepared:
    """Return a sign-in that can begin; `keep` it, and only ``browser`` can come back, once, for 10 minutes.

    ``link_to`` is the signed-in user whose account the identity shall belong to, None to sign in.

    Raises:
        ProviderUnavailable: it does not say where the browser should go.
    """
    start_id = uuid7()
    state = secrets.token_urlsafe(32)
    kept = Secrets(nonce=secrets.token_urlsafe(32), verifier=secrets.token_urlsafe(48))
    url = await provider.away(state, kept)
    start = oidcstore.Start(
        id=start_id,
        provider=provider.settings.name,
        sealed=STARTS.seal(keys, start_id, msgspec.json.encode(kept)),
        return_to=return_to,
        user_id=None if link_to is None else link_to.id,
        session_id=None if link_to is None else link_to.session,
        created_at=now,
    )
    return Prepared(start, _hash(state), _hash(browser), Away(url, now + START_LIFE))


async def keep(tx: Tx | Database, prepared: Prepared) -> Away:
    """Keep a sign-in under way; return where the browser goes to prove itself."""
    await oidcstore.insert_start(
        tx,
        prepared.start,
        state=prepared.state,
        browser=prepared.browser,
        expires_at=prepared.away.expires_at,
    )
    return prepared.away


async def come_back(
    database: Database, keys: DataKeys, *, state: str, browser: str | None, provider: str, now: datetime
) -> Begun:
    """Return the sign-in that ``state`` names, which is used up whatever becomes of it.

    Raises:
        StateUnknown: there is none, or it is used, too old, another browser's, or another provider's.
    """
    start = await oidcstore.take_start(database, state=_hash(state), browser=_hash(browser or ""), now=now)
    if start is None or start.provider != provider:
        raise StateUnknown
    kept = msgspec.json.decode(STARTS.open(keys, start.id, start.sealed), type=Secrets)
    return Begun(start.provider, kept, start.return_to, start.user_id, start.session_id, start.created_at)


def require_allowed(person: Person, domains: Collection[str]) -> None:
    """Raise `EmailNotAllowed` for people of other domains, where only those of some may sign in."""
    if not email_allowed(person, domains):
        raise EmailNotAllowed


async def sign_in(
    tx: Tx,
    keys: DataKeys,
    tokens: AccessTokens,
    person: Person,
    *,
    provider: str,
    device: str,
    now: datetime,
) -> Grant:
    """Open a session of whom an identity belongs to: a new user, without wallet, at its first sign-in.

    Raises:
        UserSuspended: an administrator has suspended the user.
    """
    new = _new_identity(keys, person, provider, uuid7(), now=now)
    identity_id, user_id = await oidcstore.identify(tx, new)
    if identity_id != new.id:
        await oidcstore.describe(tx, identity_id, _told(keys, identity_id, person))
    grant = await service.open_session(tx, tokens, user_id, address=None, device=device, now=now)
    await oidcstore.bind_session(tx, grant.session_id, identity_id, person.sid)
    return grant


async def link(tx: Tx, keys: DataKeys, person: Person, begun: Begun, *, now: datetime) -> Linked:
    """Give an identity to the user who asked for it, whose session must still live; tell their wallets.

    Raises:
        StateUnknown: the session ended meanwhile.
        IdentityTaken: it is another user's.
    """
    assert begun.link_to is not None
    assert begun.session_id is not None
    if not await oidcstore.hold_session(tx, begun.session_id, begun.link_to, now=now):
        raise StateUnknown
    new = _new_identity(keys, person, begun.provider, begun.link_to, now=now)
    identity_id, user_id = await oidcstore.link(tx, new)
    if user_id != begun.link_to:
        raise IdentityTaken
    if identity_id == new.id:
        await _tell(tx, user_id, "linked", f"{begun.provider}: this account can now be signed in to with it.")
    else:
        await oidcstore.describe(tx, identity_id, _told(keys, identity_id, person))
    return Linked(identity_id, user_id)


async def unlink(tx: Tx, user_id: UUID, identity_id: UUID, *, now: datetime) -> list[UUID]:
    """Take a way into an account away and end the sessions that it opened; return which those are.

    Raises:
        IdentityNotFound: the user has no such identity.
        LastWayIn: no wallet and no other identity would remain.
    """
    others = await oidcstore.other_ways_in(tx, user_id, identity_id)
    identity = await oidcstore.identity_of(tx, user_id, identity_id)
    if identity is None:
        raise IdentityNotFound
    if not others:
        raise LastWayIn
    ended = await oidcstore.end_sessions_of(tx, identity_id, now=now)
    await oidcstore.delete_identity(tx, identity_id)
    await _tell(tx, user_id, "unlinked", f"{identity['provider']}: this account is not signed in to with it.")
    return ended


async def identities(database: Database, keys: DataKeys, user_id: UUID) -> Sequence[Identity]:
    """Return a user's identities, the first linked first."""
    found: list[Identity] = []
    for row in await oidcstore.identities_of(database, user_id):
        told = _opened(keys, row["id"], row["sealed"])
        found.append(
            Identity(
                id=row["id"],
                provider=row["provider"],
                issuer=row["issuer"],
                name=told.name,
                email=told.email,
                created_at=row["created_at"],
                last_sign_in_at=row["last_sign_in_at"],
            )
        )
    return found


async def end_by_provider(tx: Tx, signed_out: SignedOut, *, now: datetime) -> list[tuple[UUID, UUID]]:
    """End the sessions that a provider signed out; return each with the identity that opened it.

    A token that names a person alone ends what began before it, so that showing it again ends nothing new.
    """
    until = signed_out.at + timedelta(seconds=LEEWAY_SECONDS)
    return await oidcstore.end_by_provider(
        tx, signed_out.issuer, signed_out.subject, signed_out.sid, until=until, now=now
    )


class Told(msgspec.Struct, frozen=True):
    """What a provider tells of a person, as it is sealed."""

    name: str | None = None
    email: str | None = None


_SECTION: Final = """
    SELECT id::text AS key, id, provider, issuer, subject, sealed, created_at AS "createdAt",
           last_sign_in_at AS "lastSignInAt"
      FROM identities JOIN subject USING (user_id)
"""


def holding(keys: DataKeys) -> Holding:
    """Return what is held of a person here; ``keys`` open what is sealed, for its owner."""

    def opened(row: dict[str, object]) -> dict[str, object]:
        sealed, row_id = row.pop("sealed"), row["id"]
        assert isinstance(sealed, bytes)
        assert isinstance(row_id, UUID)
        told = _opened(keys, row_id, sealed)
        return row | {"name": told.name, "email": told.email}

    section = Section("identities", "Providers that you sign in with, and what they tell.", _SECTION, opened)
    return Holding((section,), _forget, _lock)


async def _lock(tx: Tx, subject: Subject, _now: datetime) -> None:
    await oidcstore.lock_identities(tx, subject.user_id)


async def _forget(tx: Tx, subject: Subject, _now: datetime) -> None:
    await oidcstore.forget_user(tx, subject.user_id)


async def _tell(tx: Tx, user_id: UUID, done: str, text: str) -> None:
    await telling.tell(
        tx,
        user_id,
        about=f"identity_{done}",
        title=f"A sign-in provider was {done}",
        text=f"{text} If this was not you, sign out everywhere and revoke your API keys.",
    )


def _new_identity(
    keys: DataKeys, person: Person, provider: str, user_id: UUID, *, now: datetime
) -> oidcstore.NewIdentity:
    identity_id = uuid7()
    return oidcstore.NewIdentity(
        id=identity_id,
        user_id=user_id,
        issuer=person.issuer,
        subject=person.subject,
        provider=provider,
        sealed=_told(keys, identity_id, person),
        created_at=now,
    )


def _told(keys: DataKeys, identity_id: UUID, person: Person) -> bytes:
    told = Told(name=person.name, email=person.email)
    return IDENTITIES.seal(keys, identity_id, msgspec.json.encode(told))


def _opened(keys: DataKeys, identity_id: UUID, sealed: bytes) -> Told:
    return msgspec.json.decode(IDENTITIES.open(keys, identity_id, sealed), type=Told)


def _hash(text: str) -> bytes:
    return sha256(text.encode()).digest()
