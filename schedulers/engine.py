"""The scheduler's loop: for ever, the running epoch and the next one.

Owns the order of an epoch's life: prepare, wait, publish, complete. Each step is idempotent, so
after any error the loop starts over and does what is still to be done.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from sqlalchemy.ext.asyncio import AsyncEngine

from runtime import logs
from schedulers.prepare import Preparer
from schedulers.publisher import Publisher
from schedulers.timing import StartGate, sleep_until
from storage import epochs
from zipcast import fairness
from zipcast.calendar import EpochInterval, preparation_lead
from zipcast.clock import Clock

log = logs.logger()

RETRY_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 1.0
# How many missed epochs one gap records at the most, newest first: 83 days of four hours.
MOST_MISSED = 500


@dataclass(slots=True)
class EpochEngine:
    database: AsyncEngine
    preparer: Preparer
    publisher: Publisher
    gate: StartGate
    clock: Clock
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the running epoch is out."""
    failures: int = field(default=0)

    async def run(self) -> None:
        """Until cancelled. Errors are logged and counted, and the loop goes on."""
        pause = RETRY_SECONDS
        while True:
            try:
                await self.publisher.open()
                await self._run_epochs()
            except Exception as error:
                self.failures += 1
                log.exception("scheduler_step_failed", error=type(error).__name__, failures=self.failures)
                await self.clock.sleep(pause)
                pause = min(pause * 2, LONGEST_RETRY_SECONDS)
            else:
                pause = RETRY_SECONDS

    async def _run_epochs(self) -> None:
        running = await self.catch_up()
        self.caught_up.set()
        await self.next_epoch(self.preparer.calendar.after(running))

    async def catch_up(self) -> EpochInterval:
        """The running epoch is prepared and published, what is due is out, what ended is completed."""
        async with self.database.connect() as connection:
            now = await epochs.database_now(connection)
        running = self.preparer.calendar.at(now)
        await self._record_missed(running)
        await self.preparer.prepare(running)
        await self.publisher.publish_due()
        await self._complete()
        return running

    async def next_epoch(self, following: EpochInterval) -> None:
        """Prepare the next epoch ahead of its start, and publish it at that instant."""
        lead = preparation_lead(self.preparer.calendar.epoch_seconds)
        await sleep_until(self.clock, following.start_at - lead)
        stored = await self.preparer.prepare(following)
        await self.gate.wait(following.start_at)
        await self.publisher.publish(stored)

    async def _complete(self) -> None:
        async with self.database.begin() as connection:
            for epoch_id in await epochs.complete_ended(connection):
                log.info("epoch_completed", epoch_id=epoch_id)

    async def _record_missed(self, running: EpochInterval) -> None:
        async with self.database.begin() as connection:
            await epochs.lock_preparation(connection)
            end = await epochs.newest_end(connection, running.start_at)
            if end is None:
                return
            gap = list(takewhile(lambda interval: interval.start_at >= end, self._back_from(running)))
            recorded_at = await epochs.database_now(connection)
            secret = self.preparer.secret
            rows = [(interval, *self._seed(interval)) for interval in gap]
            await epochs.record_missed(connection, rows, secret.id, recorded_at)
        for interval in reversed(gap):
            log.error("epoch_missed", epoch_id=interval.epoch_id)

    def _back_from(self, running: EpochInterval) -> Iterator[EpochInterval]:
        calendar = self.preparer.calendar
        for _ in range(MOST_MISSED):
            running = calendar.before(running)
            yield running

    def _seed(self, interval: EpochInterval) -> tuple[bytes, str]:
        seed = self.preparer.seed(interval.epoch_id)
        return seed, fairness.seed_commitment(seed)
