"""Turns relayed messages into deliveries, in the transaction in which they count as had: exactly one each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from echain.infra.database import Tx
from echain.infra.relay import Handler, Relayed
from echain.kernel.ids import uuid7
from echain.kernel.time import Clock
from echain.organizations import service as organizations
from echain.organizations.types import Permission
from echain.webhooks import deliverystore, rules
from echain.webhooks.courier import wake
from echain.webhooks.deliverystore import Waiting

NAME: Final = "webhooks"
"""What the relay knows the handlers by."""


def handler(clock: Clock, *, settled: bool) -> Handler:
    """Return what hands messages to subscriptions; ``settled`` to those that wait for what no reorg takes."""

    async def spread(tx: Tx, messages: Sequence[Relayed]) -> None:
        # Who hears settled facts alone never heard the ones that a reorg took back.
        told = [one for one in messages if not (settled and one.type == rules.REVERTED)]
        now = clock()
        matches = await deliverystore.matches(
            tx,
            [one.channel for one in told],
            [one.type for one in told],
            roles=organizations.roles_with(Permission.WEBHOOKS),
            settled=settled,
            now=now,
        )
        if not matches:
            return
        made = [_waiting(told[match.place], match) for match in matches]
        await deliverystore.insert(tx, made, now)
        due = sorted({match.subscription_id for match in matches if match.due})
        if due:
            await wake(tx, due)

    return spread


def _waiting(message: Relayed, match: deliverystore.Match) -> Waiting:
    delivery_id = uuid7()
    body = rules.body_of(
        delivery_id,
        message.sequence,
        message.type,
        message.channel,
        at_ms=message.timestamp_ms,
        data=message.data,
    )
    return Waiting(delivery_id, match.subscription_id, message.sequence, message.type, message.channel, body)
