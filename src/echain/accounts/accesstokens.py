"""Access tokens: short JWTs that this installation signs with Ed25519, and the keys that they are made with.

A token says which session it belongs to and nothing about what its user may do: that is asked of the
database. Its header is one of a few texts that are known beforehand, so there is nothing in it to believe.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from echain.accounts import rules
from echain.accounts.csrf import CsrfKeys
from echain.accounts.types import AccessTokenInvalid
from echain.infra.secret import Secret

ALGORITHM: Final = "EdDSA"
TYPE: Final = "at+jwt"
LONGEST: Final = 4_096
"""Longer texts are no tokens; ours have some 500 characters."""
_SKEW: Final = timedelta(seconds=60)
"""How far ahead the clock of the process that made a token may be."""

_JWT: Final = re.compile(r"[A-Za-z0-9_-]{1,1024}\.[A-Za-z0-9_-]{1,3072}\.[A-Za-z0-9_-]{0,1024}")
_SIGNATURE_CHARACTERS: Final = 86


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token says; times in Unix seconds (RFC 7519, 4.1)."""

    iss: str
    aud: str
    sub: UUID
    sid: UUID
    iat: int
    exp: int
    jti: str
    nbf: int | None = None

    @property
    def expires_at(self) -> datetime:
        return datetime.fromtimestamp(self.exp, UTC)


class JsonWebKey(msgspec.Struct, frozen=True):
    """A public key that tokens are checked with (RFC 8037)."""

    kid: str
    x: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = ALGORITHM
    use: str = "sig"


class AccessTokens:
    """Makes and checks access tokens: the first key signs, all check.

    ``issuer`` is where the platform is reached; tokens of another installation with the same keys do not
    pass here.
    """

    def __init__(self, seeds: Sequence[Secret], *, issuer: str, life: timedelta = rules.ACCESS_LIFE) -> None:
        """Take keys as 64 hexadecimal digits each.

        Raises:
            ValueError: there is no key, or one is not of that form.
        """
        if not seeds:
            raise ValueError("access tokens need a key")
        materials = [bytes.fromhex(seed.reveal()) for seed in seeds]
        private = [Ed25519PrivateKey.from_private_bytes(_derived(material)) for material in materials]
        self._signer = private[0]
        self._issuer = issuer
        self._life = life
        self.https = issuer.startswith("https:")
        self.keys = tuple(_public(key) for key in private)
        """The public keys, the signer's first."""
        self.csrf = CsrfKeys(materials)
        self._verifiers = {
            _header(shown): key.public_key() for shown, key in zip(self.keys, private, strict=True)
        }
        self._header = _header(self.keys[0])

    def expiry(self, issued_at: datetime, session_expires_at: datetime) -> datetime:
        """Return when a token ends that is issued now: whole seconds, and never after its session."""
        return min(issued_at + self._life, session_expires_at).replace(microsecond=0)

    def issue(
        self, session_id: UUID, user_id: UUID, *, jti: str, issued_at: datetime, expires_at: datetime
    ) -> str:
        """Return a token; the same for the same arguments, so that it can be given again and is not kept."""
        claims = Claims(
            iss=self._issuer,
            aud=self._issuer,
            sub=user_id,
            sid=session_id,
            iat=int(issued_at.timestamp()),
            exp=int(expires_at.timestamp()),
            jti=jti,
        )
        signed = f"{self._header}.{_text(_encode(claims))}"
        return f"{signed}.{_text(self._signer.sign(signed.encode()))}"

    def read(self, token: str, *, now: datetime) -> Claims:
        """Return what a token of ours says that is good now; whether its session lives, others must ask.

        Raises:
            AccessTokenInvalid: another key or installation made it, it is of another kind, it was altered,
                it has expired, or it is from the future.
        """
        header, _, rest = token.partition(".")
        payload, _, signature = rest.partition(".")
        key = self._verifiers.get(header)
        if key is None or len(token) > LONGEST or len(signature) != _SIGNATURE_CHARACTERS:
            raise AccessTokenInvalid
        try:
            key.verify(_bytes(signature), f"{header}.{payload}".encode())
            claims = _decode(_bytes(payload))
        except (InvalidSignature, ValueError):  # msgspec's errors are ValueErrors, as UnicodeEncodeError is
            raise AccessTokenInvalid from None
        if claims.iss != self._issuer or claims.aud != self._issuer:
            raise AccessTokenInvalid
        check_times(claims, now=now)
        return claims


def check_times(claims: Claims, *, now: datetime) -> None:
    """Check that claims hold now.

    Raises:
        AccessTokenInvalid: they have expired, or are over 60 s ahead.
    """
    seconds = now.timestamp()
    ahead = seconds + _SKEW.total_seconds()
    if claims.exp <= seconds or claims.iat > ahead or (claims.nbf is not None and claims.nbf > ahead):
        raise AccessTokenInvalid.over()


def looks_like_token(text: str) -> bool:
    """Return whether ``text`` has the shape of a JWT that could be one of ours."""
    return len(text) <= LONGEST and text.startswith("eyJ") and _JWT.fullmatch(text) is not None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Claims).decode


def _derived(material: bytes) -> bytes:
    """Return this purpose's own key, whatever else the operator uses the material for."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"echain access tokens").derive(material)


def _public(key: Ed25519PrivateKey) -> JsonWebKey:
    x = _text(key.public_key().public_bytes_raw())
    # The key's thumbprint is its name (RFC 7638), so that all processes call it the same.
    return JsonWebKey(kid=_text(sha256(b'{"crv":"Ed25519","kty":"OKP","x":"%b"}' % x.encode()).digest()), x=x)


def _header(key: JsonWebKey) -> str:
    return _text(msgspec.json.encode({"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}))


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Return what ``text`` spells in base64url without padding, in its one canonical spelling.

    Raises:
        ValueError: it spells nothing, or not canonically.
    """
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _text(data) != text:
        raise ValueError("not canonical")
    return data
