"""Where a sign-in may lead back to, whose e-mail address lets them in, and what an ID token must say."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError

from echain.accounts.oidctypes import Person, SignedOut
from echain.kernel.errors import invalid_field

START_LIFE: Final = timedelta(minutes=10)
LEEWAY_SECONDS: Final = 60
"""How far the provider's clock may be from ours."""
LONGEST_PATH: Final = 1_000
LONGEST_SUBJECT: Final = 255
"""OpenID Connect Core 1.0, section 2."""
_LONGEST_TEXT: Final = 254

_PATH: Final = re.compile(r"/[\x21-\x7e]*")
_LOGGED_OUT: Final = "http://schemas.openid.net/event/backchannel-logout"
OLDEST_LOGOUT_SECONDS: Final = 600


class Unproven(Exception):
    """A provider's answer does not prove what it says; the text is the reason, for the log."""


def return_path(text: str) -> str:
    """Return where a sign-in leads back to: a path of our own site, maybe with query and fragment.

    Raises:
        Invalid: some browser could take it for another site, or it holds other than visible ASCII.
    """
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    if len(text) > LONGEST_PATH or not _PATH.fullmatch(text) or "\\" in text or "//" in path:
        reason = "a path on this site like /orders?page=2, in visible ASCII, without // and backslash"
        raise invalid_field("returnTo", reason)
    return text


def email_allowed(person: Person, domains: Collection[str]) -> bool:
    """Return whether an e-mail address that the provider confirmed is of one of ``domains``, if any."""
    if not domains:
        return True
    mailbox, _, domain = (person.email or "").rpartition("@")
    return person.email_confirmed and bool(mailbox) and domain.lower() in domains


def person_of(
    claims: Mapping[str, Any],
    header: Mapping[str, Any],
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    access_token: str,
    began: datetime,
    now: datetime,
) -> Person:
    """Return whom an ID token is about whose signature holds (OpenID Connect Core 1.0, 3.1.3.7).

    ``iss``, ``aud``, ``azp``, ``exp``, ``nbf``, ``iat``, ``nonce`` and ``at_hash`` are Authlib's to check; it
    must also have been made after the sign-in began.

    Raises:
        Unproven: any of it is missing or another's.
    """
    token = CodeIDToken(
        dict(claims),
        dict(header),
        {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}},
        {"nonce": nonce, "client_id": client_id, "access_token": access_token},
    )
    try:
        token.validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
        oldest = began.timestamp() - LEEWAY_SECONDS
        if claims["iat"] < oldest:
            raise Unproven("the ID token is older than the sign-in")
    except JoseError as error:
        raise Unproven(f"the ID token's claims: {error}") from error
    except (TypeError, ValueError, OverflowError) as error:  # claims of other types than they should have
        raise Unproven("the ID token's claims are not of their types") from error
    return described(claims, issuer=issuer, sid=_text(claims, "sid"))


def described(claims: Mapping[str, Any], *, issuer: str, sid: str | None) -> Person:
    """Return the person that claims of an ID token or of UserInfo describe.

    Raises:
        Unproven: they name no subject of 1 to 255 characters.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT or "\x00" in subject:
        raise Unproven("the subject is not of 1 to 255 characters")
    return Person(
        issuer=issuer,
        subject=subject,
        name=_text(claims, "name"),
        email=_text(claims, "email"),
        # Some providers write the boolean as a text.
        email_confirmed=claims.get("email_verified") in (True, "true"),
        sid=sid,
    )


def signed_out(claims: Mapping[str, Any], *, issuer: str, client_id: str, now: datetime) -> SignedOut:
    """Return whom a logout token is about whose signature holds (OpenID Back-Channel Logout 1.0, 2.6).

    Raises:
        Unproven: it is another issuer's, another client's, too old, an ID token, or says nobody.
    """
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    events, issued = claims.get("events"), claims.get("iat")
    if claims.get("iss") != issuer or client_id not in audiences:
        raise Unproven("the logout token is another issuer's or client's")
    if "nonce" in claims or not isinstance(events, dict) or not isinstance(events.get(_LOGGED_OUT), dict):
        raise Unproven("this is no logout token")
    if type(issued) is not int or not _text(claims, "jti"):
        raise Unproven("the logout token says not when or which it is")
    second = int(now.timestamp())
    if not second - OLDEST_LOGOUT_SECONDS <= issued <= second + LEEWAY_SECONDS:
        raise Unproven("the logout token is not of now")
    expires = claims.get("exp", second)
    if type(expires) is not int or expires <= second - LEEWAY_SECONDS:
        raise Unproven("the logout token has expired")
    subject, sid = _text(claims, "sub"), _text(claims, "sid")
    if subject is None and sid is None:
        raise Unproven("the logout token says nobody")
    return SignedOut(issuer, subject, sid, datetime.fromtimestamp(issued, UTC))


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_SUBJECT or "\x00" in value:
        return None
    return value
