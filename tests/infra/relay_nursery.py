"""Bears relays to be killed: for each line on stdin one child, which relays until its end; prints its pid.

Children are forked from a process that has imported everything, so that fifty take seconds, not minutes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from redis.asyncio import Redis

from echain.infra.database import Database, Tx
from echain.infra.relay import Relay, Relayed


def noting(table: str):
    async def note(tx: Tx, messages: Sequence[Relayed]) -> None:
        await tx.executemany(
            f"INSERT INTO {table} (sequence, channel, data) VALUES ($1, $2, $3)",
            [(message.sequence, message.channel, message.data.decode()) for message in messages],
        )

    return note


async def relay(database_url: str, redis_url: str) -> None:
    database = Database.lazy(database_url, size=5, name=f"relay {os.getpid()}")
    redis = Redis.from_url(redis_url, socket_timeout=0.5)
    handlers = {"handled": noting("handled")}
    await Relay(database, redis, handlers, {"settled": noting("settled")}).run()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.close(0)
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - until its end
            asyncio.run(relay(*sys.argv[1:3]))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
