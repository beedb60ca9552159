"""Telling people of what happens to their account, whether or not they have a wallet."""

from __future__ import annotations

from uuid import UUID

from echain.accounts import store
from echain.infra import outbox
from echain.infra.database import Tx
from echain.kernel.evm import checksum
from echain.kernel.messages import Message


async def tell(tx: Tx, user_id: UUID, *, about: str, title: str, text: str, **more: str) -> None:
    """Tell a user of something, live on the channels of all wallets and kept once, if ``tx`` commits.

    What keeps or counts it hears it on the channel of the user's id, which nobody subscribes to and which
    is there without a wallet. ``about`` names it for other languages, ``more`` is said beside it.
    """
    told = {"title": title, "text": text, "kind": "security", "about": about, "user": str(user_id), **more}
    wallets = await store.addresses_of(tx, user_id)
    channels = (f"user:{user_id}", *(f"user:{checksum(wallet)}" for wallet in wallets))
    await outbox.publish(tx, [Message(channels, "notification", told)])
