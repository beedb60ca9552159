"""Redis as something that may be away: asked with little patience, left alone for a second when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

_PATIENCE_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class RedisGuard:
    """Runs work on Redis and answers None when that fails; tells the log once until it works again."""

    def __init__(self, user: str) -> None:
        """``user`` is the part of the program that asks, as the log names it."""
        self._user = user
        self._paused_until = 0.0
        self._told = False

    async def ask(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Return what ``work`` returns, None when Redis is away or takes longer than 250 ms."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                result = await work()
        except (RedisError, OSError, TimeoutError) as error:
            heed_cancellation()
            self._paused_until = now + _PAUSE_SECONDS
            if not self._told:
                _log.warning(f"{self._user}.redis_gone", reason=str(error) or type(error).__name__)
            self._told = True
            return None
        heed_cancellation()
        if self._told:
            _log.info(f"{self._user}.redis_back")
        self._told = False
        return result


def heed_cancellation() -> None:
    """End a cancelled task: the client may swallow its cancellation while it closes a broken connection."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
