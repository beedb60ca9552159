"""How far the chains are indexed, for whoever watches the platform."""

from __future__ import annotations

from typing import Final

from echain.infra.database import Database
from echain.infra.metrics import Metrics

_CURSORS: Final = """
    SELECT chain_id, block_number, finalized_number FROM chain_cursors WHERE block_number >= 0
"""


def measure_chains(metrics: Metrics, database: Database) -> None:
    """Have each scrape tell the newest block of every chain in our tables, and its newest final one.

    The lag is the distance to `echain_rpc_endpoint_head`, which the same process tells.
    """
    indexed = metrics.gauge("echain_chain_indexed_block", "Newest block in our tables", ["chain"])
    final = metrics.gauge("echain_chain_final_block", "Newest block that counts as final", ["chain"])

    async def read() -> None:
        for row in await database.fetch(_CURSORS):
            indexed.labels(str(row["chain_id"])).set(row["block_number"])
            final.labels(str(row["chain_id"])).set(row["finalized_number"])

    metrics.on_scrape(read)
