"""Credentials that do not hold, remembered so that who shows them again and again costs no question."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from echain.kernel.errors import EchainError

REMEMBERED: Final = timedelta(seconds=30)
CAPACITY: Final = 10_000


class RefusedCredentials:
    """Why secrets were refused, by their hashes, for at most 30 s; the last 10,000.

    Only for what can never hold later: secrets are drawn at random when they are made, and what has ended
    does not begin again.
    """

    def __init__(self) -> None:
        self._refused: OrderedDict[bytes, tuple[type[EchainError], bool | None, datetime]] = OrderedDict()

    def remember(self, key: bytes, error: EchainError, now: datetime) -> EchainError:
        """Return the error, to be raised now and for a while."""
        self._refused[key] = type(error), error.guess, now + REMEMBERED
        self._refused.move_to_end(key)
        if len(self._refused) > CAPACITY:
            self._refused.popitem(last=False)
        return error

    def require_unheard(self, key: bytes, now: datetime) -> None:
        """Raise again what was remembered of this secret a short while ago."""
        known = self._refused.get(key)
        if known is None:
            return
        kind, guess, until = known
        if now >= until:
            del self._refused[key]
            return
        error = kind()
        error.guess = guess
        raise error
