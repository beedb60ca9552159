"""What the projections show of a person's wallets: all of it the chain's own, so nothing here is erased."""

from __future__ import annotations

from typing import Final

from echain.infra.personal import Holding, Section

_TICKETS: Final = """
    SELECT concat_ws('-', chain_id, '0x' || encode(ticket_contract, 'hex'), token_id) AS key,
           chain_id AS "chainId", ticket_contract AS "ticketContract", token_id AS "tokenId", owner, state,
           tier_id AS "tierId", price_paid_wei AS "pricePaidWei", minted_at AS "mintedAt"
      FROM tickets WHERE owner = ANY((SELECT wallets FROM subject)::bytea[])
"""

HOLDING: Final = Holding(
    (Section("tickets", "Tickets that the chain says your wallets hold. They stay there.", _TICKETS),)
)
