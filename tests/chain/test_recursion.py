"""Deeply nested texts of strangers end in an error, in every process and after whatever was imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

DEEP = """
import sys, threading
import echain.entry.cli, echain.entry.{role}
from echain.chain.ethaccount import account
limit = sys.getrecursionlimit()
threads = [threading.Thread(target=account) for _ in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
account().create()
assert sys.getrecursionlimit() == limit == 1000, sys.getrecursionlimit()
import msgspec
try:
    msgspec.json.decode(b"[" * 1_000_000 + b"]" * 1_000_000)
except RecursionError:
    print("refused")
"""


@pytest.mark.parametrize("role", ["api", "indexer", "realtime", "worker"])
def test_no_import_takes_the_bound_of_recursion_away(role: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEEP.format(role=role)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "refused\n", f"{done.returncode} {done.stderr}"
