"""Compares what contracts hold and have booked with what our tables say, at a block that is final.

Money that moved is compared once its block is final; besides, all contracts are gone through in a round, for
what leaves no log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from eth_abi.exceptions import DecodingError

from echain.chain.contracts import contract
from echain.chain.rpc import Rpc
from echain.infra.database import Database, Tx
from echain.insights.types import Books
from echain.kernel.evm import Address, checksum, quantity, to_hex
from echain.security import driftstore, service
from echain.security.types import AlarmKind, Cause

AT_ONCE: Final = 100
"""Contracts of each sort that one look compares."""

_ESCROW: Final = "escrow()"
_NOTHING: Final = Books(0, 0, 0, 0)


class Look(msgspec.Struct, frozen=True):
    """What contracts hold at a block, beside our books; what could not be asked is not there."""

    chain_id: int
    block: int
    ours: Mapping[Address, Books]
    theirs: Mapping[Address, Books]
    balances: Mapping[Address, int]
    after: Address


async def look(rpc: Rpc, database: Database, unit_scale: int) -> Look | None:
    """Ask the next contracts what they hold; None when no block is final yet, or the node is elsewhere.

    The books are read in one snapshot, so what the indexer writes meanwhile is not half in them. A node that
    does not know the newest of our blocks, as after a reorg or on a devnet that began anew, is not believed.
    ``unit_scale`` is how many wei of a node's balance are one unit in contracts.

    Raises:
        ChainUnreachable, RpcRefused, WrongChain: nobody can tell now.
    """
    chain_id = rpc.chain_id
    async with database.connection() as connection, connection.transaction(isolation="repeatable_read"):
        cursor = await driftstore.cursor(connection, chain_id)
        if cursor is None or cursor["final"] < 0:
            return None
        block: int = cursor["final"]
        above, after = await driftstore.progress(connection, chain_id)
        # What moved before the first look is looked at on the round.
        moved = await driftstore.moved(
            connection, chain_id, above=block if above is None else above, upto=block, limit=AT_ONCE
        )
        turn = await driftstore.next_in_round(connection, chain_id, after=after, limit=AT_ONCE)
        touched = [Address(row["ticket_contract"]) for row in moved]
        round_ = [Address(row["ticket_contract"]) for row in turn]
        contracts = sorted({*touched, *round_})
        rows = await driftstore.books_at(connection, chain_id, contracts, block=block)
    ours = {
        Address(row["ticket_contract"]): Books(
            *(int(row[name]) for name in ("paid_in_wei", "refunded_wei", "withdrawn_wei", "fees_wei"))
        )
        for row in rows
    }
    newest = await rpc.header(quantity(cursor["number"]))
    if newest is None or newest.hash != cursor["hash"]:
        return None
    theirs, balances = await _asked(rpc, contracts, block, unit_scale)
    # Where more moved than one look takes, the round comes to the others; it takes all within some looks.
    return Look(
        chain_id,
        block,
        ours,
        theirs,
        balances,
        round_[-1] if len(round_) == AT_ONCE else driftstore.FIRST,
    )


async def _asked(
    rpc: Rpc, contracts: Sequence[Address], block: int, unit_scale: int
) -> tuple[dict[Address, Books], dict[Address, int]]:
    abi, at = contract("EventTicket"), quantity(block)
    data = to_hex(abi.encode(_ESCROW, []))
    answers = await rpc.batch(
        [
            call
            for one in contracts
            for call in (
                ("eth_getBalance", (checksum(one), at)),
                ("eth_call", ({"to": checksum(one), "data": data}, at)),
            )
        ]
    )
    theirs: dict[Address, Books] = {}
    balances: dict[Address, int] = {}
    for place, one in enumerate(contracts):
        balance, escrow = answers[2 * place : 2 * place + 2]
        balances[one] = int(balance, 16) // unit_scale
        try:
            [books] = abi.decode_output(_ESCROW, bytes.fromhex(escrow[2:]))
        except DecodingError:
            continue  # no ticket contract of ours answers like this
        theirs[one] = Books(*books)
    return theirs, balances


async def judge(tx: Tx, seen: Look, *, now: datetime) -> None:
    """Suspect what does not agree, and remember how far comparing has come."""
    await driftstore.keep_progress(tx, seen.chain_id, seen.block, seen.after)
    causes = [cause for one in seen.ours if (cause := _judged(seen, one, now)) is not None]
    await service.suspect(tx, causes)


def _judged(seen: Look, one: Address, now: datetime) -> Cause | None:
    """Return what is wrong with a contract's money, the worst first; None when nothing is."""
    ours, theirs, balance = seen.ours[one], seen.theirs.get(one), seen.balances[one]
    subject = f"chain {seen.chain_id} contract {checksum(one)}"
    facts = {"block": str(seen.block), "expected": str(ours.owed_wei), "balance": str(balance)}
    if theirs is None and ours == _NOTHING:
        return None  # it was created after that block
    if balance < ours.owed_wei or theirs != ours:
        if theirs is not None:
            facts["booked by the contract"] = str(theirs.owed_wei)
        name = f"drift {subject}: {balance} for {ours.owed_wei} {now:%Y-%m-%d}"
        return Cause(AlarmKind.BALANCE_DRIFT, subject, name, facts, now)
    if balance > ours.owed_wei:
        # Anybody can force ether into a contract; the same surplus is told once.
        name = f"surplus {subject}: {balance - ours.owed_wei}"
        return Cause(AlarmKind.BALANCE_SURPLUS, subject, name, facts, now)
    return None
