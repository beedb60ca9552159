"""SQL of refused credentials, counted by the site that sent them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from echain.infra.database import Row, Tx


async def add(tx: Tx, counts: Mapping[str, int], minute: datetime) -> None:
    """Add to what was refused within a minute; sites in their order, so that processes do not deadlock."""
    sites = sorted(counts)
    await tx.execute(
        """
        INSERT INTO security_refusals AS known (site, minute, count)
        SELECT site, $3, count FROM unnest($1::text[], $2::bigint[]) AS said (site, count) ORDER BY site
        ON CONFLICT (minute, site) DO UPDATE SET count = known.count + excluded.count
        """,
        sites,
        [counts[site] for site in sites],
        minute,
    )


async def totals(tx: Tx, sites: Sequence[str], *, since: datetime) -> Sequence[Row]:
    """Return how much was refused from each of these sites since a moment."""
    return await tx.fetch(
        """
        SELECT site, sum(count)::bigint AS total FROM security_refusals
        WHERE site = ANY($1) AND minute >= $2 GROUP BY site
        """,
        list(sites),
        since,
    )


async def total(tx: Tx, *, since: datetime) -> tuple[int, int]:
    """Return how much was refused since a moment from anywhere, and from how many sites."""
    row = await tx.fetchrow(
        """
        SELECT coalesce(sum(count), 0)::bigint AS total, count(DISTINCT site) AS sites
        FROM security_refusals WHERE minute >= $1
        """,
        since,
    )
    assert row is not None, "an aggregate has a row"
    return row["total"], row["sites"]


async def sweep(tx: Tx, *, before: datetime) -> None:
    """Forget what was refused before a moment."""
    await tx.execute("DELETE FROM security_refusals WHERE minute < $1", before)
