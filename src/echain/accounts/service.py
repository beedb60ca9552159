"""Signing in with a wallet, staying signed in, signing out."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from echain.accounts import rules, siwe, store, telling
from echain.accounts.accesstokens import AccessTokens
from echain.accounts.admins import Administrators
from echain.accounts.admintypes import UserSuspended
from echain.accounts.authentication import Authenticator
from echain.accounts.signature import parse_signature, personal_digest, require_signed_by
from echain.accounts.tokens import (
    REFRESH_PREFIX,
    SALT_BYTES,
    derived_id,
    derived_token,
    hashed,
    is_token,
    new_token,
)
from echain.accounts.types import (
    Grant,
    Method,
    Nonce,
    NonceForAnotherAddress,
    NonceUnknown,
    Proof,
    RefreshTokenUnknown,
    Session,
    SessionNotFound,
    SignatureInvalid,
    SignatureMalformed,
    WalletPresent,
    WalletTaken,
)
from echain.chain.contractwallet import ContractWallets
from echain.edge.http import Caller
from echain.infra.database import Connection, Database, Tx
from echain.kernel.errors import invalid_field
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import uuid7
from echain.kernel.time import Clock

MAX_SESSIONS_SHOWN: Final = 100
_DEAD_SESSIONS_KEPT: Final = timedelta(days=30)


class Reused(msgspec.Struct, frozen=True):
    """A refresh token was shown that somebody used before; its session has been ended."""

    session_id: UUID


def authenticator(
    database: Database, clock: Clock, tokens: AccessTokens, admins: Administrators | None = None
) -> Authenticator:
    """Return what tells requests' callers by their access tokens, which ``tokens`` makes and checks.

    ``admins`` says whose wallet administers the platform; nobody's does without.
    """
    return Authenticator(database, clock, tokens, admins=admins)


async def issue_nonce(
    database: Database, party: siwe.RelyingParty, browser: str, address: Address | None, *, now: datetime
) -> Nonce:
    """Return a nonce that only ``browser`` can use, once, within 10 minutes, and only ``address`` if given.

    ``browser`` is the secret in the browser's cookie; its hash is stored.
    """
    nonce = secrets.token_hex(16)
    expires_at = now + rules.NONCE_LIFE
    await store.insert_nonce(database, nonce, _browser_hash(browser), address, expires_at=expires_at, now=now)
    return Nonce(
        nonce=nonce,
        expires_at=expires_at,
        domain=party.domain,
        uri=party.origin,
        chain_ids=tuple(sorted(map(int, party.chain_ids))),
        address=None if address is None else checksum(address),
    )


async def verify(
    database: Database,
    wallets: ContractWallets | None,
    message: str,
    signature: str,
    party: siwe.RelyingParty,
    *,
    browser: str | None,
    now: datetime,
) -> Proof:
    """Return who signed a sign-in message that is meant for ``party`` and for now; writes nothing.

    Everything is checked on the text as it came; nothing is written again and hashed. A key's signature
    is known by itself; for any other the contract at the message's address is asked (ERC-1271, ERC-6492), and
    only for a browser that holds the nonce, so that strangers cannot make us ask nodes.

    Raises:
        MessageMalformed, SignatureMalformed: see their fields.
        SignInRefused: one of its reasons, as `siwe.check` and `signature.require_signed_by` say.
        SignatureUnverifiable: the contract could not be asked.
    """
    parsed = siwe.parse(message)
    siwe.check(parsed, party, now=now)
    signed = parse_signature(signature)
    digest = personal_digest(message)
    method: Method = "wallet"
    try:
        require_signed_by(parsed.signer, digest, signed)
    except (SignatureInvalid, SignatureMalformed):
        holder = _browser_hash(browser or "")
        if wallets is None or not await store.nonce_exists(database, parsed.nonce, holder, now=now):
            raise
        if not await wallets.accepts(int(parsed.chain_id), parsed.signer, digest, signed):
            raise
        method = "contract_wallet"
    return Proof(parsed.signer, parsed.nonce, method)


async def sign_in(
    tx: Tx, tokens: AccessTokens, proof: Proof, *, browser: str | None, device: str, now: datetime
) -> Grant:
    """Consume the proof's nonce and open a session, of a new user at a wallet's first sign-in.

    Raises:
        NonceUnknown: ``browser`` was not given this nonce, or it was used, or it is over 10 minutes old.
        NonceForAnotherAddress: it was asked for with another address.
        UserSuspended: an administrator has suspended the user.
    """
    await _consume_nonce(tx, proof, browser, now=now)
    user_id = await store.user_of_wallet(tx, proof.address, new_id=uuid7(), now=now)
    return await open_session(
        tx, tokens, user_id, address=proof.address, device=device, method=proof.method, now=now
    )


async def add_wallet(tx: Tx, proof: Proof, user_id: UUID, *, browser: str | None, now: datetime) -> None:
    """Consume the proof's nonce and let the wallet sign in as this user from now on.

    Raises:
        NonceUnknown, NonceForAnotherAddress: as for `sign_in`.
        WalletTaken: it has signed in as another user.
    """
    await _consume_nonce(tx, proof, browser, now=now)
    if await store.give_wallet(tx, proof.address, user_id, now=now) != user_id:
        raise WalletTaken


async def require_no_wallet(tx: Tx, user_id: UUID) -> None:
    """Refuse a user who has a wallet, and let no other be added to them until ``tx`` ends.

    Call it first: who erases the user holds their row while waiting for whatever else refers to it.

    Raises:
        WalletPresent: they have one, perhaps since a moment ago.
    """
    await store.lock_user(tx, user_id)
    if await store.addresses_of(tx, user_id):
        raise WalletPresent


async def open_session(
    tx: Tx,
    tokens: AccessTokens,
    user_id: UUID,
    *,
    address: Address | None,
    device: str,
    now: datetime,
    method: Method = "oidc",
) -> Grant:
    """Open a session of a user who has just proved who they are; it is always a new one.

    ``address`` is the wallet that proved it, of that user; None when it was somebody else's word.

    Raises:
        UserSuspended: an administrator has suspended the user.
    """
    session = store.NewSession(uuid7(), user_id, address, device, now, now + rules.SESSION_LIFE, method)
    grant = _grant(tokens, session, new_token(REFRESH_PREFIX), jti=secrets.token_urlsafe(16), at=now)
    if not await store.insert_session(tx, session, _stored(grant), forget_before=now - _DEAD_SESSIONS_KEPT):
        raise UserSuspended
    return grant


async def refresh(tx: Tx, tokens: AccessTokens, token: str, *, client: str, now: datetime) -> Grant | Reused:
    """Return new tokens for a refresh token, which is used up by this.

    ``client`` describes the sender; the same one may repeat itself within 10 s and gets the same tokens.
    Anybody else who shows a used token ends the session, in ``tx``, which must commit before the answer.
    A thief who describes themselves alike gets the same successor within these 10 s and no line of their own:
    whichever of the two uses it second shows a used token, and the session ends then.

    Raises:
        RefreshTokenUnknown: no such token, or its session ended or expired.
    """
    session = None
    if is_token(token, REFRESH_PREFIX):
        session = await store.lock_session_of(tx, hashed(token))
    if session is None:
        raise RefreshTokenUnknown
    known = await store.refresh_token(tx, hashed(token))
    salt = known.salt or secrets.token_bytes(SALT_BYTES)
    marked = sha256(salt + client.encode()).digest()
    match rules.refresh_verdict(known.state, client=marked, now=now):
        case rules.Verdict.ROTATE:
            grant = _successor(tokens, session, token, salt, at=now)
            use = store.Use(hashed(token), marked, salt)
            await store.rotate(tx, session.id, use, _stored(grant), now=now)
            return grant
        case rules.Verdict.REPEAT:
            return _successor(tokens, session, token, salt, at=known.state.used_at or now)
        case rules.Verdict.REUSED:
            await _end_stolen(tx, session, now=now)
            return Reused(session.id)
        case rules.Verdict.REFUSE:
            raise RefreshTokenUnknown


async def sign_out(tx: Tx, user_id: UUID, session_id: UUID, *, now: datetime) -> None:
    """End the session that asks for it."""
    await store.end_session(tx, user_id, session_id, by="logout", now=now)


async def end_session(tx: Tx, user_id: UUID, session_id: UUID, *, now: datetime) -> None:
    """End another session of the same user.

    Raises:
        SessionNotFound: the user has no such live session.
    """
    if not await store.end_session(tx, user_id, session_id, by="user", now=now):
        raise SessionNotFound


async def sign_out_everywhere(tx: Tx, user_id: UUID, *, now: datetime) -> Sequence[UUID]:
    """End all sessions of a user; return which were live."""
    return await store.end_all_sessions(tx, user_id, now=now)


async def sessions(
    database: Database, user_id: UUID, *, current: UUID | None, now: datetime
) -> list[Session]:
    """Return a user's live sessions, the last used first, at most 100."""
    rows = await store.live_sessions(database, user_id, limit=MAX_SESSIONS_SHOWN, now=now)
    return [_shown(row, current) for row in rows]


async def name_session(tx: Tx, user: Caller, session_id: UUID, name: str | None, *, now: datetime) -> Session:
    """Call one of the user's sessions by a name that tells them the device; None takes the name away.

    Raises:
        Invalid: the name cannot be shown safely.
        SessionNotFound: the user has no such live session.
    """
    if name is not None and not rules.is_shown_safely(name):
        raise invalid_field("name", "letters, digits, signs and single spaces inside")
    row = await store.rename_session(tx, user.id, session_id, name, now=now)
    if row is None:
        raise SessionNotFound
    return _shown(row, user.session)


async def users_of(connection: Connection, addresses: Collection[Address]) -> dict[Address, UUID]:
    """Return whose wallets these are; of strangers, who have never signed in, nothing."""
    if not addresses:
        return {}
    rows = await store.users_of(connection, addresses)
    return {Address(row["address"]): row["user_id"] for row in rows}


async def known(connection: Connection, users: Collection[UUID]) -> set[UUID]:
    """Return which of these users there are."""
    return await store.known(connection, users) if users else set()


async def addresses_of(connection: Connection, user_id: UUID) -> Sequence[Address]:
    """Return a user's wallets, the first that signed in first."""
    return await store.addresses_of(connection, user_id)


async def _end_stolen(tx: Tx, session: store.NewSession, *, now: datetime) -> None:
    if not await store.end_session(tx, session.user_id, session.id, by="reuse", now=now):
        return
    await telling.tell(
        tx,
        session.user_id,
        about="session_reuse",
        title="A session was ended",
        text=f"{session.device}: a refresh token was used twice, so it may be stolen. Sign in again.",
        device=session.device,
        session=str(session.id),
    )


def _successor(
    tokens: AccessTokens, session: store.NewSession, token: str, salt: bytes, *, at: datetime
) -> Grant:
    """Return what a refresh token gives: always the same for the same salt and moment."""
    refresh = derived_token(REFRESH_PREFIX, token, salt)
    return _grant(tokens, session, refresh, jti=derived_id(token, salt), at=at)


def _grant(tokens: AccessTokens, session: store.NewSession, refresh: str, *, jti: str, at: datetime) -> Grant:
    expires_at = tokens.expiry(at, session.expires_at)
    return Grant(
        access_token=tokens.issue(session.id, session.user_id, jti=jti, issued_at=at, expires_at=expires_at),
        access_expires_at=expires_at,
        refresh_token=refresh,
        refresh_expires_at=min(at + rules.REFRESH_LIFE, session.expires_at),
        session_id=session.id,
        user_id=session.user_id,
        address=None if session.address is None else checksum(session.address),
    )


def _stored(grant: Grant) -> store.NewRefresh:
    return store.NewRefresh(hashed(grant.refresh_token), grant.refresh_expires_at)


def _shown(row: store.SessionRow, current: UUID | None) -> Session:
    return Session(
        id=row.id,
        device=row.device,
        name=row.name,
        method=row.method,
        address=None if row.address is None else checksum(row.address),
        created_at=row.created_at,
        refreshed_at=row.refreshed_at,
        expires_at=row.expires_at,
        current=row.id == current,
    )


async def _consume_nonce(tx: Tx, proof: Proof, browser: str | None, *, now: datetime) -> None:
    holder = _browser_hash(browser or "")
    if not await store.delete_nonce(tx, proof.nonce, holder, proof.address, now=now):
        if await store.nonce_exists(tx, proof.nonce, holder, now=now):
            raise NonceForAnotherAddress
        raise NonceUnknown


def _browser_hash(browser: str) -> bytes:
    return sha256(browser.encode()).digest()
