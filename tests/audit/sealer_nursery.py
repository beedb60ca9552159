"""Bears sealers to be killed: for each line on stdin one child, which seals until its end; prints its pid.

Batches are small and the pauses short, so that most kills meet one at work.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from echain.infra.audit import sealer
from echain.infra.audit.chain import AuditKeys
from echain.infra.database import Database
from echain.infra.secret import Secret


async def seal(database_url: str, key: str) -> None:
    database = Database.lazy(database_url, size=2, name=f"sealer {os.getpid()}")
    await sealer.Sealer(database, AuditKeys([Secret(key)])).run()


def main() -> None:
    for name, value in (("BATCH", 20), ("_STANDBY_SECONDS", 0.01), ("_POLL_SECONDS", 0.005)):
        setattr(sealer, name, value)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.close(0)
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - until its end
            asyncio.run(seal(*sys.argv[1:3]))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
