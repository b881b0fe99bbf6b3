"""Waiting for an instant: exact, never early, and sound when the wall clock steps.

Owns how the scheduler decides that an epoch's start has come. Two clocks must agree: this
machine's, and PostgreSQL's, which all replicas share.
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

# The wall clock is read again at least this often, so that a step is noticed.
LONGEST_NAP_SECONDS = 10.0
# If PostgreSQL's clock is behind ours, it is asked again at least this often.
LONGEST_WAIT_SECONDS = 60.0
# Within this distance one exact sleep on the monotonic clock follows.
FINAL_SECONDS = 0.5
TOLERATED_OFFSET = timedelta(milliseconds=250)
# A replica with a wrong clock leaves so much time to the others before it publishes itself.
STAND_BACK_SECONDS = 2.0
# PostgreSQL is asked for its time this long before the start.
NEAR = timedelta(seconds=1)
# It is asked once more this long before the start, so that little time has passed since its last answer.
LAST_QUESTION = timedelta(seconds=0.25)
# One question for the time may take so long; then the estimate from an earlier answer counts.
QUESTION_SECONDS, LAST_QUESTION_SECONDS = 1.0, 0.2
# PostgreSQL's clock may run slower than this machine's by this share: ten times what is usual.
WORST_DRIFT = 0.001


async def sleep_until(clock: Clock, instant: datetime) -> None:
    """Returns when the wall clock has reached `instant`."""
    while (remaining := (instant - clock.now()).total_seconds()) > 0:
        if remaining > FINAL_SECONDS:
            await clock.sleep(min(remaining - FINAL_SECONDS, LONGEST_NAP_SECONDS))
        else:
            await clock.sleep(remaining)


@dataclass(slots=True)
class RecordClock:
    """The time of PostgreSQL's clock, estimated from its last answer."""

    clock: Clock
    _told: tuple[datetime, float] | None = field(default=None, init=False)
    """The last answer, and the monotonic time at which it had arrived."""

    def note(self, record_now: datetime) -> None:
        self._told = record_now, self.clock.monotonic()

    def at_least(self) -> datetime | None:
        """Return a time that PostgreSQL's clock has certainly reached by now, unless it was set back since;
        None if it never answered."""
        if self._told is None:
            return None
        told, at = self._told
        return told + timedelta(seconds=(self.clock.monotonic() - at) * (1 - WORST_DRIFT))


class StartGate:
    """Opens at an epoch's start, by this machine's clock and by PostgreSQL's: the later of the two counts.

    PostgreSQL is asked shortly before the start and never at it: what it said counts, with the time that has
    passed since. So an epoch goes out on NATS on time while PostgreSQL is slow, or hangs."""

    def __init__(self, database: AsyncEngine, clock: Clock, metrics: SchedulerMetrics | None = None) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics or SchedulerMetrics()
        self._record = RecordClock(clock)
        self._questions: set[asyncio.Task[datetime]] = set()

    def note(self, record_now: datetime) -> None:
        """Remember what PostgreSQL has just answered."""
        self._record.note(record_now)

    async def wait(self, start_at: datetime) -> None:
        """Call `near`, and then `open`."""
        await self.open(start_at, await self.near(start_at))

    async def near(self, start_at: datetime) -> timedelta:
        """Return when PostgreSQL's clock is at most two seconds before `start_at`, and ours one: how far
        PostgreSQL's is ahead of ours.

        Raises TimeoutError, DATABASE_ERRORS if PostgreSQL has never told its time."""
        alarmed = False
        while True:
            await sleep_until(self._clock, start_at - NEAR)
            record_now = await self._record_now()
            offset = record_now - self._clock.now()
            self._metrics.clock_offset(offset)
            if start_at - record_now <= 2 * NEAR:
                return offset
            # Our clock is ahead, and PostgreSQL's decides.
            if not alarmed:
                _alarm(offset)
            alarmed = True
            far = (start_at - record_now - NEAR).total_seconds()
            await self._clock.sleep(min(far, LONGEST_WAIT_SECONDS))

    async def open(self, start_at: datetime, offset: timedelta) -> None:
        """Never returns before PostgreSQL's clock_timestamp() has passed `start_at`, unless it was set back
        since `near`; where the clocks differ by more than `TOLERATED_OFFSET`, not before two seconds after
        it, so that others go first."""
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
        """PostgreSQL's time, or what it has certainly reached. A question that hangs is left to itself: to
        cancel it would mean to wait for the server once more."""
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
        raise TimeoutError("PostgreSQL has never told its time")

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
