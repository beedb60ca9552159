"""Refresh tokens and API keys: 256 random bits as text, of which only the SHA-256 is ever stored."""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

ACCESS_PREFIX: Final = "eca_"
"""Of access tokens as they were given out before they became JWTs; each lives for an hour at most."""

REFRESH_PREFIX: Final = "ecr_"
KEY_PREFIX: Final = "eck_"
"""Prefixes let a secret scanner find leaked tokens, and keep one kind from passing as the other."""

SALT_BYTES: Final = 32

_TOKEN: Final = re.compile(r"ec[ark]_[A-Za-z0-9_-]{43}")


def new_token(prefix: str) -> str:
    """Return a token that nobody can guess."""
    return prefix + secrets.token_urlsafe(32)


def derived_token(prefix: str, origin: str, salt: bytes) -> str:
    """Return the token that ``origin`` gives with this salt, always the same.

    It takes both to know it: who holds the database lacks ``origin``, who holds ``origin`` lacks the salt
    (HKDF's extract step, RFC 5869). So what a refresh token gave can be given again without being stored.
    """
    digest = hmac.digest(salt, (prefix + origin).encode(), "sha256")
    return prefix + urlsafe_b64encode(digest).rstrip(b"=").decode()


def derived_id(origin: str, salt: bytes) -> str:
    """Return a name for what ``origin`` gives with this salt, always the same, that tells neither."""
    return derived_token("id_", origin, salt).removeprefix("id_")


def is_token(text: str, prefix: str) -> bool:
    """Return whether ``text`` has the shape of a token of this kind."""
    return text.startswith(prefix) and _TOKEN.fullmatch(text) is not None


def hashed(token: str) -> bytes:
    """Return what is stored of a token; plain SHA-256 is enough for 256 random bits."""
    return sha256(token.encode()).digest()
