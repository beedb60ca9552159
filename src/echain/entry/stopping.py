"""Ends a role when it is asked to, and in any case soon after."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final

_GRACE_SECONDS: Final = 8
"""Less than the supervisor waits before it kills."""


def limit_stopping() -> None:
    """Let the kernel end this process if it has not ended by itself after its grace.

    What it waits for may be gone for good: when the supervisor was killed, the database went with it.
    """
    signal.alarm(_GRACE_SECONDS)


async def until_stopped(*work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` side by side until SIGINT or SIGTERM, then cancel it and wait for its end.

    The first error of any ends all and is raised: the supervisor starts the role again.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, stop)
    tasks = [asyncio.create_task(one) for one in work]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, stopping):
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def _stop(stop: asyncio.Event) -> None:
    limit_stopping()
    stop.set()
