"""`eth_account`, without what it does to the interpreter.

It takes half a second to import, which most processes never need to pay, and a library that it brings along
raises the recursion limit to 100,000. With that a deeply nested JSON text of a stranger or a node overflows
the stack and kills the process, where it would raise RecursionError.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eth_account import Account

_lock = threading.Lock()


def account() -> type[Account]:
    """Return ``eth_account.Account``, imported when this is first called; any thread may."""
    with _lock:
        limit = sys.getrecursionlimit()
        try:
            from eth_account import Account
        finally:
            sys.setrecursionlimit(limit)
    return Account
