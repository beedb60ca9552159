"""What is kept of who asked us to watch a transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from echain.infra.database import Tx
from echain.infra.personal import Holding, Section, Subject

_WATCHED: Final = """
    SELECT encode(hash, 'hex') AS key, hash, chain_id AS "chainId", submitted_at AS "submittedAt"
      FROM watched_transactions WHERE submitted_by = ANY((SELECT wallets FROM subject)::bytea[])
"""


async def _forget(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Forget who asked; the transaction is the chain's and goes on being watched."""
    await tx.execute(
        "UPDATE watched_transactions SET submitted_by = NULL WHERE submitted_by = ANY($1)",
        list(subject.wallets),
    )


HOLDING: Final = Holding(
    (Section("watchedTransactions", "Transactions that you asked us to look after.", _WATCHED),), _forget
)
