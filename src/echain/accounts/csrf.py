"""What a page of ours shows to prove that it is one: a token that belongs to its cookie session alone."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

_PURPOSE: Final = b"echain csrf"


class CsrfKeys:
    """Makes and checks the tokens: HMACs of the session's id; the first key makes, all check."""

    def __init__(self, materials: Sequence[bytes]) -> None:
        self._keys = [hmac.digest(material, _PURPOSE, sha256) for material in materials]

    def token(self, session_id: UUID) -> str:
        """Return the token of a session."""
        return _token(self._keys[0], session_id)

    def holds(self, token: str, session_id: UUID) -> bool:
        """Return whether ``token`` is this session's, in constant time."""
        shown = token.encode()
        return any(hmac.compare_digest(_token(key, session_id).encode(), shown) for key in self._keys)


def _token(key: bytes, session_id: UUID) -> str:
    return urlsafe_b64encode(hmac.digest(key, session_id.bytes, sha256)).rstrip(b"=").decode()
