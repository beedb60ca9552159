"""What the door keeps of a person, and what of it goes: who was admitted stays, who let them in does not."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from echain.infra.database import Tx
from echain.infra.personal import Holding, Section, Subject
from echain.kernel.evm import ZERO_ADDRESS

# Whoever was admitted held the ticket then, so it is theirs by the chain now, or it went from them later.
_ADMISSIONS: Final = """
    WITH theirs AS (
        SELECT chain_id, ticket_contract, token_id FROM tickets
         WHERE owner = ANY((SELECT wallets FROM subject)::bytea[])
         UNION
        SELECT chain_id, ticket_contract, token_id FROM transfers
         WHERE from_address = ANY((SELECT wallets FROM subject)::bytea[])
    )
    SELECT admissions.id::text AS key, admissions.id, chain_id AS "chainId",
           ticket_contract AS "ticketContract", token_id AS "tokenId", holder, gate_id AS "gateId",
           admitted_at AS "admittedAt", undone_at AS "undoneAt"
      FROM theirs JOIN admissions USING (chain_id, ticket_contract, token_id)
     WHERE holder = ANY((SELECT wallets FROM subject)::bytea[])
"""
# Whose tickets they were is those people's affair: the verdict and the time are what this person did.
_SCANS: Final = """
    SELECT id::text AS key, id, operator, verdict, scanned_at AS "scannedAt"
      FROM scans WHERE operator = ANY((SELECT wallets FROM subject)::bytea[])
"""
_UNDONE: Final = """
    SELECT id::text AS key, id, undone_by AS "undoneBy", undone_at AS "undoneAt"
      FROM admissions WHERE undone_by = ANY((SELECT wallets FROM subject)::bytea[])
"""
_POAPS: Final = """
    SELECT concat_ws('-', chain_id, blockchain_id, token_id) AS key, chain_id AS "chainId",
           blockchain_id AS "eventNumber", token_id AS "tokenId", attendee, tx_hash AS "transactionHash",
           mined_at AS "mintedAt"
      FROM poaps WHERE attendee = ANY((SELECT wallets FROM subject)::bytea[])
"""


async def _forget(tx: Tx, subject: Subject, _now: datetime) -> None:
    """Take the person out of what they did at the desk; the zero address stands where somebody must.

    Admissions stay with the wallet that held the ticket: it admits once, and the chain says so publicly.
    """
    wallets = list(subject.wallets)
    await tx.execute("UPDATE scans SET operator = $2 WHERE operator = ANY($1)", wallets, ZERO_ADDRESS)
    await tx.execute("UPDATE admissions SET operator = $2 WHERE operator = ANY($1)", wallets, ZERO_ADDRESS)
    await tx.execute("UPDATE admissions SET undone_by = $2 WHERE undone_by = ANY($1)", wallets, ZERO_ADDRESS)


HOLDING: Final = Holding(
    (
        Section("admissions", "When and at which gate your wallets were let in.", _ADMISSIONS),
        Section("deskCheckIns", "What you checked in by hand, without whose ticket it was.", _SCANS),
        Section("deskUndos", "Admissions that you took back.", _UNDONE),
        Section("poaps", "Proofs of attendance that the chain holds of your wallets.", _POAPS),
    ),
    _forget,
)
