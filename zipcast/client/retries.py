"""Repeats failed requests for a limited time, and spreads requests that all clients would send at once.

Both use random pauses, so that clients that failed or started at the same time do not send their next
requests at the same time.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from zipcast.clock import Clock
from zipcast.errors import ZipcastError
from zipcast.protocol.messages.epochs import EpochMessage

FIRST_PAUSE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 15.0
MAX_SPREAD_SECONDS = 2.0
SPREAD_SHARE = 0.05
"""The first requests of all clients are spread over this share of an epoch, which begins at the epoch's start
and is at most MAX_SPREAD_SECONDS long."""

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(slots=True)
class Retries:
    """Repeats work for at most `max_seconds`. `chance` returns a random number from 0 to 1."""

    clock: Clock
    max_seconds: float
    chance: Callable[[], float] = random.random
    _spread_for: str | None = field(default=None, init=False)

    async def run(
        self,
        work: Callable[[], Awaitable[Result]],
        *,
        max_seconds: float | None = None,
        pause_after: Callable[[ZipcastError], float | None] = lambda error: error.retry_after,
    ) -> Result:
        """Return the result of `work`. If `work` fails, repeat it if `pause_after` returns a pause in seconds
        for the error, and if the next attempt would begin within `max_seconds`; otherwise raise the error.
        The pauses grow, and are never shorter than `pause_after` returns."""
        end_at = self.clock.monotonic() + (self.max_seconds if max_seconds is None else max_seconds)
        growing = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await work()
            except ZipcastError as error:
                stated = pause_after(error)
                if stated is None:
                    raise
                pause = max(stated, growing * self.chance()) * (1 + self.chance() / 2)
                if self.clock.monotonic() + pause > end_at:
                    raise
                log.info("Trying again in %.1f s. Reason: %s", pause, error)
            await self.clock.sleep(pause)
            growing = min(growing * 2, MAX_PAUSE_SECONDS)

    async def spread(self, newest: EpochMessage | None, now: datetime) -> None:
        """Wait a random time if an epoch has just started, because all clients send requests at that time.
        Only the first request of an epoch waits."""
        if newest is None or newest.epoch_id == self._spread_for:
            return
        self._spread_for = newest.epoch_id
        length = (newest.epoch_end - newest.epoch_start).total_seconds()
        window = min(MAX_SPREAD_SECONDS, length * SPREAD_SHARE)
        if 0 <= (now - newest.epoch_start).total_seconds() < window:
            await self.clock.sleep(window * self.chance())
