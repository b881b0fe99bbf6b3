"""Waits for an epoch's start exactly: never too early, and correctly even if the wall clock is adjusted.

An epoch starts when two clocks have reached its start: this machine's, and PostgreSQL's, which all replicas
share. `loop` waits here before it publishes, and `opening` before it shows the epoch in the database.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schedulers.metrics import SchedulerMetrics
from service import logs
from storage.database.epochs import database_now
from zipcast.clock import Clock

log = logs.logger()

# While waiting, the wall clock is read at least this often, so that an adjustment of it is noticed.
MAX_NAP_SECONDS = 10.0
# If PostgreSQL's clock is behind the local clock, PostgreSQL's clock is read at least this often.
MAX_WAIT_SECONDS = 60.0
# The last part of a wait: if no more than this is left, one exact sleep on the monotonic clock follows.
FINAL_SECONDS = 0.5
TOLERATED_OFFSET = timedelta(milliseconds=250)
# A replica with a wrong clock waits this much longer, so that others can publish first.
STAND_BACK_SECONDS = 2.0
# PostgreSQL's clock is read this long before an epoch's start.
NEAR = timedelta(seconds=1)
# PostgreSQL's clock is read once more this long before an epoch's start, so that the last reading is recent.
LAST_QUESTION = timedelta(seconds=0.25)
# The time limits of the two readings of PostgreSQL's clock. If the limit is exceeded, the time is estimated
# from an earlier reading.
QUESTION_SECONDS, LAST_QUESTION_SECONDS = 1.0, 0.2
# The largest fraction by which the rates of PostgreSQL's clock and the local clock may differ: ten times the
# usual difference.
MAX_DRIFT = 0.001


async def sleep_until(clock: Clock, instant: datetime) -> None:
    """Wait until the wall clock has reached `instant`."""
    while (remaining := (instant - clock.now()).total_seconds()) > 0:
        if remaining > FINAL_SECONDS:
            await clock.sleep(min(remaining - FINAL_SECONDS, MAX_NAP_SECONDS))
        else:
            await clock.sleep(remaining)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A reading of PostgreSQL's clock: the time `stated`, which was right at some moment between the query
    (`asked`) and its answer (`arrived`). These two are in monotonic seconds."""

    stated: datetime
    asked: float
    arrived: float

    def least(self, monotonic: float) -> datetime:
        """Return a time that PostgreSQL's clock has certainly reached by then."""
        return self.stated + timedelta(seconds=(monotonic - self.arrived) * (1 - MAX_DRIFT))

    def most(self, monotonic: float) -> datetime:
        """Return a time that PostgreSQL's clock has certainly not passed by then."""
        return self.stated + timedelta(seconds=(monotonic - self.asked) * (1 + MAX_DRIFT))


@dataclass(slots=True)
class DatabaseClock:
    """The time of PostgreSQL's clock, estimated from its most useful reading."""

    clock: Clock
    _best: _Answer | None = field(default=None, init=False)

    def note(self, stated: datetime, asked: float) -> None:
        """Store a reading that has just arrived. A reading that took long is ignored if an earlier one is
        more exact, unless the new one shows that the clock was set back."""
        answer, best = _Answer(stated, asked, self.clock.monotonic()), self._best
        if best is not None and stated < best.least(answer.arrived):
            was_set_back = asked >= best.arrived and stated < best.least(asked)
            if not was_set_back:
                return
        self._best = answer

    def at_least(self) -> datetime | None:
        """Return a time that PostgreSQL's clock has certainly reached by now, unless it was set back. Return
        None if it was never read."""
        return None if self._best is None else self._best.least(self.clock.monotonic())

    def offset(self) -> timedelta | None:
        """Return by how much PostgreSQL's clock is certainly ahead of the local one, or behind it, which is
        the smallest difference that the reading allows. Return None if the clock was never read."""
        if self._best is None:
            return None
        own_now, monotonic = self.clock.now(), self.clock.monotonic()
        least, most = self._best.least(monotonic) - own_now, self._best.most(monotonic) - own_now
        return max(least, min(most, timedelta(0)))


class StartGate:
    """Waits for an epoch's start by this machine's clock and by PostgreSQL's; the later one counts.

    PostgreSQL's clock is read shortly before the start, not at the start, and the time since then is added. A
    reading that arrives late does not replace a better one. So an epoch is published on time even if
    PostgreSQL is slow or hangs."""

    def __init__(self, database: AsyncEngine, clock: Clock, metrics: SchedulerMetrics | None = None) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics or SchedulerMetrics()
        self._record = DatabaseClock(clock)
        self._questions: set[asyncio.Task[None]] = set()

    async def ask(self, connection: AsyncConnection) -> tuple[datetime, timedelta]:
        """Read PostgreSQL's clock. Return a time that it has certainly reached, and by how much it is
        certainly ahead of the local clock, or behind it. Raises DATABASE_ERRORS."""
        asked = self._clock.monotonic()
        self._record.note(await database_now(connection), asked)
        return self._estimate()

    def _estimate(self) -> tuple[datetime, timedelta]:
        """Return what `ask` returns, estimated from the readings so far. Raises TimeoutError if PostgreSQL's
        clock was never read."""
        reached, offset = self._record.at_least(), self._record.offset()
        if reached is None or offset is None:
            raise TimeoutError("PostgreSQL's clock could not be read")
        self._metrics.clock_offset(offset)
        return reached, offset

    async def wait(self, start_at: datetime) -> None:
        """Call `near`, and then `open`."""
        await self.open(start_at, await self.near(start_at))

    async def near(self, start_at: datetime) -> timedelta:
        """Wait until PostgreSQL's clock is at most two seconds, and the local clock at most one second,
        before `start_at`. Return by how much PostgreSQL's clock is certainly ahead of the local one, or
        behind it.

        Raises TimeoutError and DATABASE_ERRORS if PostgreSQL's clock was never read."""
        is_alarmed = False
        while True:
            await sleep_until(self._clock, start_at - NEAR)
            await self._question()
            reached, offset = self._estimate()
            if start_at - reached <= 2 * NEAR:
                return offset
            # The local clock is far ahead of PostgreSQL's clock, which decides when the epoch starts. Wait
            # longer.
            if not is_alarmed:
                is_alarmed = alarm(offset)
            far = (start_at - reached - NEAR).total_seconds()
            await self._clock.sleep(min(far, MAX_WAIT_SECONDS))

    async def open(self, start_at: datetime, offset: timedelta) -> None:
        """Wait until PostgreSQL's clock_timestamp() has passed `start_at`. It never returns too early, unless
        that clock was set back since `near`. If the clocks differ by more than `TOLERATED_OFFSET`, wait two
        seconds longer, so that other replicas go first."""
        if self._clock.now() < start_at:
            await sleep_until(self._clock, start_at - LAST_QUESTION)
            await self._question(LAST_QUESTION_SECONDS)
        await sleep_until(self._clock, start_at)
        if alarm(offset):
            start_at += timedelta(seconds=STAND_BACK_SECONDS)
        while (reached := self._record.at_least()) is not None and reached < start_at:
            await self._clock.sleep((start_at - reached).total_seconds())

    async def _question(self, patience_seconds: float = QUESTION_SECONDS) -> None:
        """Read PostgreSQL's clock. If there is no reply in time, use an earlier reading. A query that hangs
        is abandoned and not cancelled, because cancelling it would wait for the server again. Raises
        DATABASE_ERRORS if the clock was never read."""
        question = asyncio.create_task(self._ask_on_a_connection())
        self._questions.add(question)
        question.add_done_callback(self._forget)
        done, _ = await asyncio.wait({question}, timeout=patience_seconds)
        if done and question.exception() is None:
            return
        if self._record.at_least() is not None:
            log.warning("database_clock_estimated")
        elif done:
            question.result()

    async def _ask_on_a_connection(self) -> None:
        async with self._database.connect() as connection:
            await self.ask(connection)

    def _forget(self, question: asyncio.Task[None]) -> None:
        self._questions.discard(question)
        if not question.cancelled() and question.exception() is not None:
            log.debug("database_clock_unread", error=type(question.exception()).__name__)


def alarm(offset: timedelta) -> bool:
    """Return whether the clocks differ by more than `TOLERATED_OFFSET`, and log it if so."""
    is_wrong = abs(offset) > TOLERATED_OFFSET
    if is_wrong:
        log.error("clock_offset", milliseconds=round(offset / timedelta(milliseconds=1)))
    return is_wrong
