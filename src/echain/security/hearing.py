"""What the relay's messages give reason to suspect: a few set-based statements a batch, and no alarm yet.

It runs in the relay's transaction for this handler, which holds nobody else up. Messages say in which blocks
something happened; the projections say what, so that a fact is the same after a reorg has moved it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from echain.infra.database import Row, Tx
from echain.infra.relay import Relayed
from echain.kernel.evm import Address, checksum, to_hex
from echain.kernel.time import Clock
from echain.security import deedstore, rules, service
from echain.security.deedstore import Deed
from echain.security.types import AlarmKind, Cause

NAME: Final = "security"
"""Under which the relay keeps its place."""

RECENT: Final = timedelta(days=1)
"""What was mined longer ago is history that is read for the first time, and no news."""

_HISTORY: Final = 500
"""Of so many sales of a contract the prices of a tier are compared with those before."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("echain.security")


class Valuables(msgspec.Struct, frozen=True):
    """What much money is on a chain, in wei; ``unit_scale`` wei are one unit in contracts."""

    alarm_value_wei: int
    unit_scale: int = 1


class Hearing:
    """Hears what happened and suspects what is unusual."""

    def __init__(self, chains: Mapping[int, Valuables], clock: Clock) -> None:
        self._chains = chains
        self._clock = clock

    async def __call__(self, tx: Tx, messages: Sequence[Relayed]) -> None:
        """Take messages as the relay hands them out: each once, in order."""
        now = self._clock()
        since = now - RECENT
        causes = [cause for one in messages for cause in _told(one, now)]
        if blocks := _blocks(messages, "ticket_sold", "event"):
            causes += await self._of_sales(tx, _since(await deedstore.sales(tx, blocks), since))
        if blocks := _blocks(messages, "ticket_transferred", "event"):
            causes += await _of_transfers(tx, _since(await deedstore.transfers(tx, blocks), since))
        if blocks := _blocks(messages, "payout", "event"):
            rows = _since(await deedstore.payouts(tx, blocks), since)
            causes += [cause for row in rows if (cause := self._valuable(row, row["amount_wei"])) is not None]
        await service.suspect(tx, causes)

    async def _of_sales(self, tx: Tx, rows: Sequence[Row]) -> list[Cause]:
        if not rows:
            return []
        valuable = [self._valuable(row, row["unit_price_wei"] * row["quantity"]) for row in rows]
        bought = [
            Deed(Address(row["buyer"]), _sale_of(row), row["mined_at"], row["quantity"]) for row in rows
        ]
        return [
            *(cause for cause in valuable if cause is not None),
            *await _too_many(
                tx, AlarmKind.UNUSUAL_PURCHASE, bought, rules.BOUGHT_WITHIN, rules.bought_too_many
            ),
            *await _outliers(tx, rows),
        ]

    def _valuable(self, row: Row, amount: Any) -> Cause | None:
        known = self._chains.get(row["chain_id"])
        if known is None or int(amount) * known.unit_scale < known.alarm_value_wei:
            return None
        sale = "buyer" in row.keys()  # noqa: SIM118 -- a record's own `in` looks at its values
        what = "sale" if sale else "withdrawal" if row["kind"] == "proceeds" else "fee"
        return Cause(
            AlarmKind.HIGH_VALUE,
            f"{what} {_contract_of(row)}",
            _sale_of(row) if sale else f"payout {_log_of(row)}",
            {
                "amount": str(int(amount)),
                "wallet": checksum(Address(row["buyer"] if sale else row["receiver"])),
                "transaction": to_hex(row["tx_hash"]),
            },
            row["mined_at"],
        )


def _blocks(messages: Iterable[Relayed], kind: str, channel: str) -> list[tuple[int, int]]:
    """Return the blocks that said something, without those that a reorg has taken since."""
    return sorted(
        {
            (one.chain_id, one.block_number)
            for one in messages
            if one.type == kind
            and one.channel.startswith(channel)
            and one.chain_id is not None
            and one.block_number is not None
        }
    )


def _since(rows: Sequence[Row], since: datetime) -> list[Row]:
    return [row for row in rows if row["mined_at"] > since]


async def _of_transfers(tx: Tx, rows: Sequence[Row]) -> list[Cause]:
    given = [
        Deed(
            Address(row["from_address"]),
            f"{_contract_of(row)} token {row['token_id']} {to_hex(row['tx_hash'])}",
            row["mined_at"],
            1,
        )
        for row in rows
    ]
    return await _too_many(tx, AlarmKind.UNUSUAL_TRANSFERS, given, rules.GIVEN_WITHIN, rules.gave_too_many)


async def _too_many(
    tx: Tx, kind: AlarmKind, deeds: Sequence[Deed], within: timedelta, too_many: Callable[[int], bool]
) -> list[Cause]:
    """Return the wallets that did something too often within a time, over all events and chains."""
    if not deeds:
        return []
    await deedstore.add(tx, kind, deeds)
    newest: dict[Address, datetime] = {}
    for deed in deeds:
        newest[deed.wallet] = max(deed.at, newest.get(deed.wallet, deed.at))
    totals = await deedstore.totals(tx, kind, sorted(newest.items()), within=within)
    return [
        Cause(
            kind,
            checksum(Address(row["wallet"])),
            # Once in each such span of time, however many more there are.
            f"{kind} {row['wallet'].hex()} {int(row['newest'].timestamp() // within.total_seconds())}",
            {"tickets": str(row["total"]), "minutes": str(int(within.total_seconds() // 60))},
            row["newest"],
        )
        for row in totals
        if too_many(row["total"])
    ]


async def _outliers(tx: Tx, rows: Sequence[Row]) -> list[Cause]:
    """Return the tiers that were sold far above or below what they cost before, once for each new price."""
    first: dict[tuple[int, bytes, int, int], Row] = {}
    for row in rows:
        key = (row["chain_id"], row["ticket_contract"], row["tier_id"], int(row["unit_price_wei"]))
        known = first.get(key)
        if known is None or row["first_token_id"] < known["first_token_id"]:
            first[key] = row
    asked = [(chain, Address(at), tier, row["first_token_id"]) for (chain, at, tier, _), row in first.items()]
    usual = await deedstore.usual_prices(tx, asked, newest=_HISTORY)
    return [
        Cause(
            AlarmKind.UNUSUAL_PRICE,
            f"{_contract_of(row)} tier {tier}",
            f"price {_contract_of(row)} tier {tier} {price}",
            {"price": str(price), "usual": str(int(before["median"])), "transaction": to_hex(row["tx_hash"])},
            row["mined_at"],
        )
        for ((_, _, tier, price), row), before in zip(first.items(), usual, strict=True)
        if rules.is_outlier(price, int(before["median"]), before["sales"])
    ]


def _contract_of(row: Row) -> str:
    return f"chain {row['chain_id']} contract {checksum(Address(row['ticket_contract']))}"


def _sale_of(row: Row) -> str:
    return f"sale {row['chain_id']} {to_hex(row['tx_hash'])} token {row['first_token_id']}"


def _log_of(row: Row) -> str:
    return f"{row['chain_id']} {to_hex(row['tx_hash'])} {row['kind']} {int(row['amount_wei'])}"


def _told(message: Relayed, now: datetime) -> Iterable[Cause]:
    """Return what a message itself is a reason for. One that cannot be read is a bug, and stops no other."""
    try:
        if message.type == "notification" and message.channel.startswith("user:"):
            yield from _of_notification(message, now)
        elif message.type == "admin_changed":
            yield _of_administrators(message, now)
    except Exception:  # noqa: BLE001 -- logged whole, and the next one is heard
        _log.exception("security.unreadable", type=message.type, sequence=message.sequence)


def _of_notification(message: Relayed, now: datetime) -> Iterable[Cause]:
    data = msgspec.json.decode(message.data, type=dict[str, Any])
    # Wallets' channels tell the same again.
    if data.get("about") == "session_reuse" and message.channel == f"user:{data.get('user')}":
        yield Cause(
            AlarmKind.REFRESH_REUSE,
            message.channel,
            f"session {data['session']}",
            {"device": rules.shown_device(data.get("device", ""))},
            now,
        )


def _of_administrators(message: Relayed, now: datetime) -> Cause:
    data = msgspec.json.decode(message.data, type=dict[str, Any])
    return Cause(
        AlarmKind.ADMIN_CHANGED,
        data["address"],
        f"message {message.sequence}",
        {"change": "granted" if data["granted"] else "revoked", "by": data["by"]},
        now,
    )
