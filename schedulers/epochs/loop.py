"""Runs the scheduler's loop, which handles the running epoch and then the next one, for ever.

An epoch is prepared, published at its start (`start_gate` waits for that instant), and completed after its
end. Each step can be repeated, so after an error the loop starts over and does the remaining steps.
"""

import asyncio
from dataclasses import dataclass, field

import nats.errors
from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.epochs import plan
from schedulers.epochs.fault_points import NO_FAULTS, FaultPoint, FaultPoints
from schedulers.epochs.missed import gap_before, record_missed
from schedulers.epochs.opening import Opening
from schedulers.epochs.preparation import EpochEndedError, Preparer, SealedEpochLostError
from schedulers.epochs.start_gate import StartGate, alarm, sleep_until
from schedulers.metrics import SchedulerMetrics
from schedulers.stream.publisher import Publisher
from service import logs
from service.correlation import concerning_epoch
from storage.database import epoch_changes, epochs
from storage.database.epochs import StoredEpoch, Timeline
from zipcast.clock import Clock
from zipcast.protocol.beacon import drafting_time
from zipcast.protocol.calendar import EpochInterval, preparation_lead

log = logs.logger()

RETRY_SECONDS = 0.25
MAX_RETRY_SECONDS = 1.0
# The time limit of a step. A step that takes longer is waiting for a server that is gone; it is cancelled,
# logged and repeated.
STEP_SECONDS = 15.0


@dataclass(slots=True)
class EpochEngine:
    """The scheduler's loop over the epochs of one subnet."""

    preparer: Preparer
    publisher: Publisher
    gate: StartGate
    clock: Clock
    metrics: SchedulerMetrics = field(default_factory=SchedulerMetrics)
    faults: FaultPoints = NO_FAULTS
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the running epoch is published, or when it is known that there is no running epoch yet."""
    failures: int = field(default=0)
    failing: dict[str, str] = field(default_factory=dict)
    """The tasks that fail at present, for the health page."""
    opening: Opening = field(init=False)

    def __post_init__(self) -> None:
        self.opening = Opening(self.database, self.gate, self.clock, self.failing, self.faults)

    @property
    def database(self) -> AsyncEngine:
        return self.preparer.database

    async def run(self) -> None:
        """Publish epochs until cancelled. After an error, log and count it, and continue."""
        pause = RETRY_SECONDS
        while True:
            following: EpochInterval | None = None
            try:
                following = await self.catch_up()
                self.caught_up.set()
                self.failing.pop("epochs", None)
                await self.next_epoch(following)
            except Exception as error:
                self.failures += 1
                self.failing["epochs"] = type(error).__name__
                self.metrics.step_failures.inc()
                about = {} if following is None else {"epoch_id": following.epoch_id}
                log.exception(
                    "scheduler_step_failed", error=type(error).__name__, failures=self.failures, **about
                )
                await self.clock.sleep(pause)
                pause = min(pause * 2, MAX_RETRY_SECONDS)
            else:
                pause = RETRY_SECONDS

    async def catch_up(self) -> EpochInterval:
        """Publish epochs that are due, complete ended ones, prepare the running one, and return the next
        epoch."""
        calendar = self.preparer.calendar
        await self._open()
        while True:
            running = await self._bring_up_to_date()
            async with asyncio.timeout(STEP_SECONDS):
                timeline = await self._timeline()
            # If another epoch has started in the meantime, repeat these steps for it.
            if plan.running_interval(calendar, timeline) == running:
                if running is not None:
                    self.metrics.in_stream(running.start_at)
                return plan.next_interval(calendar, timeline)

    async def _open(self) -> None:
        """Make database and stream agree before new epochs are prepared. While the stream is unavailable,
        epochs that are due are still prepared, because readers of the database see them."""
        async with asyncio.timeout(STEP_SECONDS):
            await self.opening.open_started(self.clock.now())
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await self.publisher.open()
        except (nats.errors.Error, OSError):
            async with asyncio.timeout(STEP_SECONDS):
                await self._prepare_what_is_due()
            raise

    async def _prepare_what_is_due(self) -> None:
        """Prepare the running epoch, and the next one if it is time for that."""
        calendar = self.preparer.calendar
        timeline = await self._timeline()
        running = plan.running_interval(calendar, timeline)
        if running is not None and timeline.running is None:
            await self._prepare_if_due(running, timeline)
            await self.opening.open_started(self.clock.now())
            timeline = await self._timeline()
        following = plan.next_interval(calendar, timeline)
        if timeline.now >= following.start_at - preparation_lead(calendar.epoch_seconds):
            await self._prepare_if_due(following, timeline)

    async def _prepare_if_due(self, interval: EpochInterval, timeline: Timeline) -> None:
        """Prepare an epoch without waiting for its round of the beacon, because the stream may come back in
        the meantime and epochs that are due must be published."""
        try:
            await self.preparer.prepare_if_due(interval, timeline.now)
        except EpochEndedError:
            log.error("epoch_ended_unprepared", epoch_id=interval.epoch_id)

    async def _bring_up_to_date(self) -> EpochInterval | None:
        """Do one pass over the epochs in the database. Return the epoch that was running at its beginning, if
        any."""
        async with asyncio.timeout(STEP_SECONDS):
            timeline = await self._timeline()
            # Publish prepared epochs first, so that they do not wait for an epoch that cannot be prepared.
            await self._publish_due(timeline)
            running = plan.running_interval(self.preparer.calendar, timeline)
        if running is not None:
            await self._publish_sealed(running, timeline)
            async with asyncio.timeout(STEP_SECONDS):
                self.metrics.missed.inc(await record_missed(self.database, self.preparer, running))
        if running is not None and timeline.running is None and self._can_be_drawn(running, timeline):
            await self._prepare(running)
            async with asyncio.timeout(STEP_SECONDS):
                await self._publish_due(timeline)
        return running

    async def _publish_sealed(self, running: EpochInterval, timeline: Timeline) -> None:
        """Publish the running epoch and those before it, if the database lacks them but subscribers could
        open them, because such epochs are not missed. An epoch that cannot be opened is missed."""
        async with asyncio.timeout(STEP_SECONDS), self.database.connect() as connection:
            gap = await gap_before(connection, self.preparer.calendar, running)
        if timeline.running is None:
            gap.insert(0, running)
        for interval in reversed(gap):
            sealed = await self.preparer.beacon.sealed(interval.epoch_id)
            if sealed is None:
                continue
            try:
                stored = await self.preparer.as_sealed(interval, sealed)
            except SealedEpochLostError:
                continue
            await self.publisher.publish(stored)
            await self.publisher.open()

    def _can_be_drawn(self, running: EpochInterval, timeline: Timeline) -> bool:
        """Return whether an epoch that is drafted now can be drawn before its end. If not, the next epoch is
        prepared instead, so that it is not late too."""
        length = running.end_at - running.start_at
        return running.end_at - timeline.now > drafting_time(self.preparer.chain, length)

    async def next_epoch(self, following: EpochInterval) -> None:
        """Prepare the next epoch ahead of its start, and publish it at that instant."""
        lead = preparation_lead(self.preparer.calendar.epoch_seconds)
        await sleep_until(self.clock, following.start_at - lead)
        with concerning_epoch(following.epoch_id):
            stored = await self._prepare(following)
            if stored is None:
                return
            offset = await self.gate.near(following.start_at)
            await self.gate.open(following.start_at, offset)
            async with asyncio.timeout(STEP_SECONDS):
                await self.publisher.publish(stored)

    async def _prepare(self, interval: EpochInterval) -> StoredEpoch | None:
        """Prepare an epoch. Return None if it has ended in the meantime, so that it is missed."""
        try:
            return await self.preparer.prepare(interval)
        except EpochEndedError:
            log.error("epoch_ended_unprepared", epoch_id=interval.epoch_id)
            return None

    async def _publish_due(self, timeline: Timeline) -> None:
        await self.opening.open_started(timeline.now)
        await self.publisher.publish_due(timeline.now)
        self.faults.reached(FaultPoint.BEFORE_COMPLETE)
        async with self.database.begin() as connection:
            completed = await epoch_changes.complete_ended(connection)
            if completed:
                self.faults.reached(FaultPoint.BEFORE_COMPLETE_COMMIT)
        if completed:
            self.faults.reached(FaultPoint.AFTER_COMPLETE)
        for epoch_id in completed:
            self.metrics.completed.inc()
            log.info("epoch_completed", epoch_id=epoch_id)

    async def _timeline(self) -> Timeline:
        """Return the epochs around the present, by PostgreSQL's clock or this machine's, whichever is behind,
        because an epoch starts only when both clocks have reached its start."""
        async with self.database.connect() as connection:
            database_time, offset = await self.gate.ask(connection)
            alarm(offset)
            return await epochs.timeline(connection, min(database_time, self.clock.now()))
