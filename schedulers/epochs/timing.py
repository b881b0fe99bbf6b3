"""Waits for an epoch's start: exactly, never too early, and correctly even if the wall clock is adjusted.

An epoch starts when two clocks have reached its start: this machine's, and PostgreSQL's, which all replicas
share.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.metrics import SchedulerMetrics
from service import logs
from storage.database.epochs import database_now
from zipcast.clock import Clock

log = logs.logger()

# The wall clock is read at least this often, so that an adjustment is noticed.
LONGEST_NAP_SECONDS = 10.0
# If PostgreSQL's clock is behind the local clock, it is read at least this often.
LONGEST_WAIT_SECONDS = 60.0
# If less time than this is left, one exact sleep on the monotonic clock follows.
FINAL_SECONDS = 0.5
TOLERATED_OFFSET = timedelta(milliseconds=250)
# How long a replica with a wrong clock waits for the others before it publishes itself.
STAND_BACK_SECONDS = 2.0
# How long before the start PostgreSQL's clock is read.
NEAR = timedelta(seconds=1)
# How long before the start it is read once more, so that little time has passed since the last reading.
LAST_QUESTION = timedelta(seconds=0.25)
# The time limit of reading PostgreSQL's clock; after it, an estimate from an earlier reading is used.
QUESTION_SECONDS, LAST_QUESTION_SECONDS = 1.0, 0.2
# How much slower PostgreSQL's clock may run than the local clock: ten times the usual difference.
WORST_DRIFT = 0.001


async def sleep_until(clock: Clock, instant: datetime) -> None:
    """Wait until the wall clock has reached `instant`."""
    while (remaining := (instant - clock.now()).total_seconds()) > 0:
        if remaining > FINAL_SECONDS:
            await clock.sleep(min(remaining - FINAL_SECONDS, LONGEST_NAP_SECONDS))
        else:
            await clock.sleep(remaining)


@dataclass(slots=True)
class RecordClock:
    """The time of PostgreSQL's clock, estimated from its last reading."""

    clock: Clock
    _told: tuple[datetime, float] | None = field(default=None, init=False)
    """The last reading, and the monotonic time at which it arrived."""

    def note(self, record_now: datetime) -> None:
        self._told = record_now, self.clock.monotonic()

    def at_least(self) -> datetime | None:
        """Return a time that PostgreSQL's clock has certainly reached by now, unless it was set back; None if
        it was never read."""
        if self._told is None:
            return None
        told, at = self._told
        return told + timedelta(seconds=(self.clock.monotonic() - at) * (1 - WORST_DRIFT))


class StartGate:
    """Waits for an epoch's start by this machine's clock and by PostgreSQL's; the later one counts.

    PostgreSQL's clock is read shortly before the start, not at the start, and the time since then is added.
    So an epoch is published on time even if PostgreSQL is slow or hangs."""

    def __init__(self, database: AsyncEngine, clock: Clock, metrics: SchedulerMetrics | None = None) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics or SchedulerMetrics()
        self._record = RecordClock(clock)
        self._questions: set[asyncio.Task[datetime]] = set()

    def note(self, record_now: datetime) -> None:
        """Store the time that PostgreSQL has just returned."""
        self._record.note(record_now)

    async def wait(self, start_at: datetime) -> None:
        """Call `near`, and then `open`."""
        await self.open(start_at, await self.near(start_at))

    async def near(self, start_at: datetime) -> timedelta:
        """Wait until PostgreSQL's clock is at most two seconds, and the local clock at most one second,
        before `start_at`. Return how far PostgreSQL's clock is ahead of the local clock.

        Raises TimeoutError and DATABASE_ERRORS if PostgreSQL's clock was never read."""
        alarmed = False
        while True:
            await sleep_until(self._clock, start_at - NEAR)
            record_now = await self._record_now()
            offset = record_now - self._clock.now()
            self._metrics.clock_offset(offset)
            if start_at - record_now <= 2 * NEAR:
                return offset
            # The local clock is ahead, so PostgreSQL's clock decides.
            if not alarmed:
                _alarm(offset)
            alarmed = True
            far = (start_at - record_now - NEAR).total_seconds()
            await self._clock.sleep(min(far, LONGEST_WAIT_SECONDS))

    async def open(self, start_at: datetime, offset: timedelta) -> None:
        """Wait until PostgreSQL's clock_timestamp() has passed `start_at`. It never returns too early, unless
        that clock was set back since `near`. If the clocks differ by more than `TOLERATED_OFFSET`, wait two
        seconds longer, so that other replicas go first."""
        if self._clock.now() < start_at:
            await sleep_until(self._clock, start_at - LAST_QUESTION)
            await self._record_now(LAST_QUESTION_SECONDS)
        await sleep_until(self._clock, start_at)
        if abs(offset) > TOLERATED_OFFSET:
            _alarm(offset)
            start_at += timedelta(seconds=STAND_BACK_SECONDS)
        while (reached := self._record.at_least()) is not None and reached < start_at:
            await self._clock.sleep((start_at - reached).total_seconds())

    async def _record_now(self, patience_seconds: float = QUESTION_SECONDS) -> datetime:
        """Return PostgreSQL's time, or a time that it has certainly reached. A query that hangs is abandoned
        and not cancelled, because cancelling it would wait for the server again."""
        question = asyncio.create_task(self._ask())
        self._questions.add(question)
        question.add_done_callback(self._forget)
        done, _ = await asyncio.wait({question}, timeout=patience_seconds)
        if done and question.exception() is None:
            return question.result()
        reached = self._record.at_least()
        if reached is not None:
            log.warning("record_clock_estimated")
            return reached
        if done:
            return question.result()
        raise TimeoutError("PostgreSQL's clock could not be read")

    async def _ask(self) -> datetime:
        async with self._database.connect() as connection:
            record_now = await database_now(connection)
        self._record.note(record_now)
        return record_now

    def _forget(self, question: asyncio.Task[datetime]) -> None:
        self._questions.discard(question)
        if not question.cancelled() and question.exception() is not None:
            log.debug("record_clock_unread", error=type(question.exception()).__name__)


def _alarm(offset: timedelta) -> None:
    log.error("clock_offset", milliseconds=round(offset / timedelta(milliseconds=1)))
