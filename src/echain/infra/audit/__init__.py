"""The audit log: who changed what, written in the transaction of the change and sealed soon after.

`docs/adr/0023-audit-entries-are-sealed-after-the-fact.md` says what that proves and what it does not.
"""

from echain.infra.audit.clients import ADDRESSES, ClientSeals
from echain.infra.audit.entries import ANONYMOUS, SYSTEM, Actor, Client, Mark, operator, record
from echain.infra.audit.redaction import Diff, changed, redacted

__all__ = [
    "ADDRESSES",
    "ANONYMOUS",
    "SYSTEM",
    "Actor",
    "Client",
    "ClientSeals",
    "Diff",
    "Mark",
    "changed",
    "operator",
    "record",
    "redacted",
]
