"""How the nodes of a chain speak, where networks differ: data on the chain's row, read by the RPC client."""

from __future__ import annotations

import msgspec


class Manners(msgspec.Struct, frozen=True, kw_only=True):
    """What may be asked of a chain's nodes, and what in their answers proves something.

    ``header_hashes``: headers hash as Ethereum's do, so that a forged one shows. ``receipt_roots``: receipts
    do too. ``true_blooms``: headers carry a true filter over their logs. ``batch_limit`` is how many calls
    one request may hold, ``multi_address_span`` the widest block range of a log query that names several
    contracts, ``log_span_seconds`` the longest time that any log query may cover. ``later_codes`` are errors
    that pass by themselves within moments. ``subscriptions``: ``newHeads`` is worth listening to.
    """

    header_hashes: bool = False
    receipt_roots: bool = False
    true_blooms: bool = True
    batch_limit: int = 100
    multi_address_span: int | None = None
    log_span_seconds: int | None = None
    later_codes: tuple[int, ...] = ()
    subscriptions: bool = True


LIKE_ETHEREUM = Manners(header_hashes=True, receipt_roots=True)
