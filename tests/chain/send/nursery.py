"""Forks sending processes on demand, so that killing one costs no start of an interpreter.

Every line on standard input starts one; its process id is printed.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys

from echain.chain.chains import chain
from echain.chain.fees import Fees
from echain.chain.keys import DEVNET_KEY, Key
from echain.chain.rpc import Rpc
from echain.chain.send import Policy, Sender
from echain.infra.database import Database
from echain.kernel.evm import Address
from echain.kernel.time import utc_now

PR_SET_PDEATHSIG = 1
KEY = Key(DEVNET_KEY)


async def send(database_url: str, rpc_url: str, target: Address, selector: bytes) -> None:
    devnet = chain(84532, devnet=True)
    rpc = Rpc([rpc_url], chain_id=84532)
    policy = Policy(
        allowed={(target, selector)},
        cap_per_transaction_wei=10**18,
        cap_per_hour_wei=10**20,
        stuck_seconds=1.0,
        rebroadcast_seconds=0.5,
    )
    database = Database.lazy(database_url, size=2, name="sender")
    await Sender(rpc, database, KEY, devnet, fees=Fees(rpc, devnet), policy=policy, clock=utc_now).run()


def main(database_url: str, rpc_url: str, target: str, selector: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            asyncio.run(send(database_url, rpc_url, Address(bytes.fromhex(target)), bytes.fromhex(selector)))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
