"""Simulates time for a real scheduler on real servers: sleeping takes no time, and PostgreSQL follows.

The driver replaces `clock_timestamp()` in each statement by the simulated time. nats-server keeps its own
time, but nothing here depends on it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.processes import wait_until

MAX_RUN_SECONDS = 200
Due = Callable[[datetime], Awaitable[None]]


class SimulatedClock:
    """Both clocks of a machine. `lag` is added to the time that PostgreSQL gets."""

    def __init__(self, begin: datetime) -> None:
        self.wall = begin
        self.lag = timedelta(0)
        self._begin = begin
        self._end = datetime.max.replace(tzinfo=UTC)
        self._sleeps = 0
        self._duties: list[tuple[timedelta, datetime, Due]] = []

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return (self.wall - self._begin).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Sleep. The time is rounded up to a microsecond, because a real sleep never ends early."""
        self.wall += max(timedelta(seconds=seconds), timedelta.resolution)
        for number, (every, due_at, duty) in enumerate(self._duties):
            if self.wall >= due_at:
                self._duties[number] = every, self.wall + every, duty
                await duty(self.wall)
        self._sleeps += 1
        if self.wall >= self._end:
            # Nothing happens after the end. Only this is cancelled, because `wait_for` of Python 3.11, which
            # nats-py uses, may lose a cancellation.
            await asyncio.get_running_loop().create_future()
        if self._sleeps % 1000 == 0:
            await asyncio.sleep(0)

    def each(self, every: timedelta, duty: Due) -> None:
        """From now on, run `duty` once in each such interval of simulated time."""
        self._duties.append((every, self.wall + every, duty))

    def stop_duties(self) -> None:
        """Run no duty any more."""
        self._duties.clear()

    async def run(self, work: Awaitable[None], until: datetime) -> None:
        """Run `work`, which never ends by itself, until this time."""
        self._end = until
        running = asyncio.ensure_future(work)
        await wait_until(lambda: self.wall >= until or running.done(), MAX_RUN_SECONDS)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        self._end = datetime.max.replace(tzinfo=UTC)

    def rule(self, database: AsyncEngine) -> None:
        """Let PostgreSQL have this clock's time in all statements of this engine."""

        def told(
            _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
        ) -> tuple[str, Any]:
            at = f"timestamptz '{(self.wall + self.lag).isoformat()}'"
            return statement.replace("clock_timestamp()", at), parameters

        event.listen(database.sync_engine, "before_cursor_execute", told, retval=True)
