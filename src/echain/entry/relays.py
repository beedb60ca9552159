"""Where the platform checks tickets in with its own key."""

from __future__ import annotations

from echain.admission.service import Relay
from echain.chain.keys import Key
from echain.infra.config import Config


def relays(config: Config, key: Key) -> dict[int, Relay]:
    """Return where the platform's key checks tickets in: on every chain that is followed."""
    return {one.chain_id: Relay(key.address, one.poap) for one in config.chains}
