"""Which gate a secret stands for, asked of PostgreSQL once and remembered for at most 30 s."""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from echain.admission import store
from echain.admission.types import GateSecretInvalid
from echain.edge.http import Caller
from echain.edge.http.refused import RefusedCredentials
from echain.infra.database import Database
from echain.kernel.time import Clock

REMEMBERED: Final = timedelta(seconds=30)
CAPACITY: Final = 10_000
PREFIX: Final = "ecg_"
"""Lets a scanner for leaked secrets find one, and keeps a gate's secret from passing as a user's token."""

_SECRET: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    """Return a gate's secret: 256 random bits as text, of which only `hashed` is stored."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(secret: str) -> bytes:
    """Return what is stored of a secret; plain SHA-256 is enough for 256 random bits."""
    return sha256(secret.encode()).digest()


class GateAuthenticator:
    """Calls gates by the secrets in ``Authorization: Bearer``.

    A revoked gate may be remembered here for 30 s; what a gate does is judged by its row all the same, so it
    can do nothing in that time. The last 10,000 used are remembered, and as many refused ones.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[Caller, datetime]] = OrderedDict()
        self._refused = RefusedCredentials()

    async def __call__(self, headers: Mapping[str, str], _cookies: Mapping[str, str]) -> Caller | None:
        """Return the gate whose secret came along, None when none of ours did.

        Raises:
            GateSecretInvalid: it looks like one of ours, but is unknown or its gate was revoked.
        """
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not _SECRET.fullmatch(secret):
            return None
        key = hashed(secret)
        now = self._clock()
        known = self._known.get(key)
        if known is not None and now < known[1]:
            return known[0]
        return await self._looked_up(key, now)

    async def _looked_up(self, key: bytes, now: datetime) -> Caller:
        self._refused.require_unheard(key, now)
        async with self._database.connection() as connection:
            gate = await store.gate_by_secret(connection, key)
        if gate is None or gate["revoked_at"] is not None:
            self._known.pop(key, None)
            error = GateSecretInvalid() if gate is None else GateSecretInvalid.over()
            raise self._refused.remember(key, error, now)
        caller = Caller("gate", gate["id"])
        self._known[key] = caller, now + REMEMBERED
        self._known.move_to_end(key)
        if len(self._known) > CAPACITY:
            self._known.popitem(last=False)
        return caller
