"""Waiting for an instant: exact, never early, and sound when the wall clock steps.

Owns how the scheduler decides that an epoch's start has come. Two clocks must agree: this
machine's, and PostgreSQL's, which all replicas share.
"""

import asyncio
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from runtime import logs
from schedulers.metrics import SchedulerMetrics
from storage.epochs import database_now
from zipcast.clock import Clock

log = logs.logger()

# The wall clock is read again at least this often, so that a step is noticed.
LONGEST_NAP_SECONDS = 10.0
# Where PostgreSQL's clock is behind ours, it is asked again at least this often.
LONGEST_WAIT_SECONDS = 60.0
# Within this distance one exact sleep on the monotonic clock follows.
FINAL_SECONDS = 0.5
TOLERATED_OFFSET = timedelta(milliseconds=250)
# What a replica with a wrong clock leaves to the others before it publishes itself.
STAND_BACK_SECONDS = 2.0
# From so long before the start on, the connection for the last question is kept.
NEAR = timedelta(seconds=1)
# For one question of what time it is.
QUESTION_SECONDS = 5.0


async def sleep_until(clock: Clock, instant: datetime) -> None:
    """Returns when the wall clock has reached `instant`."""
    while (remaining := (instant - clock.now()).total_seconds()) > 0:
        if remaining > FINAL_SECONDS:
            await clock.sleep(min(remaining - FINAL_SECONDS, LONGEST_NAP_SECONDS))
        else:
            await clock.sleep(remaining)


class StartGate:
    """Opens at an epoch's start, by this machine's clock and by PostgreSQL's: the later of the two counts."""

    def __init__(self, database: AsyncEngine, clock: Clock, metrics: SchedulerMetrics | None = None) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics or SchedulerMetrics()

    async def wait(self, start_at: datetime) -> None:
        """Never returns before PostgreSQL's clock_timestamp() has passed `start_at`; where the clocks differ
        by more than `TOLERATED_OFFSET`, not before two seconds after it, so that others go first."""
        alarmed = False
        while True:
            await sleep_until(self._clock, start_at - NEAR)
            async with self._database.connect() as connection:
                # Measured now, with the connection at hand, so that one fast question is left at the start.
                record_now = await _record_now(connection)
                offset = record_now - self._clock.now()
                self._metrics.clock_offset(offset)
                if start_at - record_now <= 2 * NEAR:
                    await self._open(connection, start_at, offset)
                    return
            # Our clock is ahead. PostgreSQL's decides, and no connection is held open until then.
            if not alarmed:
                _alarm(offset)
            alarmed = True
            far = (start_at - record_now - NEAR).total_seconds()
            await self._clock.sleep(min(far, LONGEST_WAIT_SECONDS))

    async def _open(self, connection: AsyncConnection, start_at: datetime, offset: timedelta) -> None:
        await sleep_until(self._clock, start_at)
        if abs(offset) > TOLERATED_OFFSET:
            _alarm(offset)
            start_at += timedelta(seconds=STAND_BACK_SECONDS)
        while (early := (start_at - await _record_now(connection)).total_seconds()) > 0:
            await self._clock.sleep(early)


def _alarm(offset: timedelta) -> None:
    log.error("clock_offset", milliseconds=round(offset / timedelta(milliseconds=1)))


async def _record_now(connection: AsyncConnection) -> datetime:
    async with asyncio.timeout(QUESTION_SECONDS):
        return await database_now(connection)
