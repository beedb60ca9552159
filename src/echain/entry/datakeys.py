"""The keys: which still seal what personal data, all sealed anew with the first, and which sign tokens."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

from echain.accounts.accesstokens import AccessTokens
from echain.accounts.oidcstore import IDENTITIES, STARTS
from echain.entry.connections import services
from echain.entry.operators import at_keyboard
from echain.infra import audit
from echain.infra.audit import ADDRESSES as AUDIT_SEALED
from echain.infra.config import Config
from echain.infra.crypto import DataKeys, SealedColumn
from echain.infra.reseal import reseal, sealed_by
from echain.kernel.time import utc_now
from echain.notify.service import SEALED as NOTIFY_SEALED
from echain.organizations.inviting import SEALED as INVITATIONS_SEALED
from echain.webhooks.store import SEALED as WEBHOOKS_SEALED

COLUMNS: Final[tuple[SealedColumn, ...]] = (
    *NOTIFY_SEALED,
    INVITATIONS_SEALED,
    WEBHOOKS_SEALED,
    AUDIT_SEALED,
    STARTS,
    IDENTITIES,
)
"""Every sealed column there is; a test looks for others in the database."""


async def attend(config: Config, *, rotate: bool) -> list[str]:
    """Return a line a key: its name, its place, how many values it seals. ``rotate`` seals all anew first.

    Raises:
        Unopenable: with ``rotate``, a value's key is not among ECHAIN_DATA_KEYS.
    """
    keys = DataKeys(config.data_keys)
    lines: list[str] = []
    async with AsyncExitStack() as stack:
        parts = await services(config, stack, name="echain keys")
        if rotate:
            count = await reseal(parts.database, keys, COLUMNS)
            lines.append(f"{count} values sealed anew")
            async with parts.database.transaction() as tx:
                diff = {"count": [None, count], "keyId": [None, keys.names[0]]}
                await audit.record(
                    tx, at_keyboard(), "data_keys.rotated", resource="keys:data", now=utc_now(), diff=diff
                )
        counted = await sealed_by(parts.database, COLUMNS)
    for place, name in enumerate(keys.names):
        role = "seals" if place == 0 else "opens; retire it when it seals nothing"
        lines.append(f"{name}  {counted.pop(name, 0):>8}  {role}")
    lines += [f"{name}  {count:>8}  MISSING from ECHAIN_DATA_KEYS" for name, count in sorted(counted.items())]
    return lines


def token_keys(config: Config) -> list[str]:
    """Return a line a key of access tokens: its name in `/.well-known/jwks.json`, and what it does."""
    tokens = AccessTokens(config.token_keys, issuer=config.public_url)
    return [
        f"{key.kid}  {'signs' if place == 0 else 'checks'} access tokens"
        for place, key in enumerate(tokens.keys)
    ]
