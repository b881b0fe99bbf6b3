"""Opens each prepared epoch at its start, so that the other processes see it in PostgreSQL.

This is independent of publishing, so that HTTP serves an epoch on time even if NATS is down. All replicas
open epochs; the first one moves the rows.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.epochs.fault_points import NO_FAULTS, FaultPoint, FaultPoints
from schedulers.epochs.start_gate import NEAR, StartGate
from service import logs
from service.polling import Outage, poll
from storage.database import pending_epochs
from storage.database.engine import DATABASE_ERRORS
from storage.database.locks import limit_waiting
from zipcast.clock import Clock
from zipcast.protocol.calendar import EpochInterval

log = logs.logger()

LOOK_SECONDS = 0.5
STEP_SECONDS = 15.0
# Opening waits this long for locks. Only another scheduler can hold them, while it opens the same epoch.
LOCK_WAIT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Opening:
    database: AsyncEngine
    gate: StartGate
    clock: Clock
    failing: dict[str, str] = field(default_factory=dict)
    faults: FaultPoints = NO_FAULTS

    async def run(self) -> None:
        """Open epochs until cancelled. While PostgreSQL is unavailable, try again twice a second."""
        outage = Outage(log, "epochs_not_opened", DATABASE_ERRORS, "opening", self.failing)
        await poll(self.step, self.clock, LOOK_SECONDS, outage)

    async def step(self) -> None:
        """Open all epochs that are due, and the next one at its start if that is near."""
        async with asyncio.timeout(STEP_SECONDS):
            upcoming = await self._next()
        if upcoming is None or upcoming.start_at - self.clock.now() > 2 * NEAR:
            return
        await self.gate.wait(upcoming.start_at)
        async with asyncio.timeout(STEP_SECONDS):
            await self.open_started(upcoming.start_at)

    async def open_started(self, now: datetime) -> list[str]:
        """Open the epochs that have started by `now` and by PostgreSQL's clock, and return their ids."""
        async with self.database.begin() as connection:
            await limit_waiting(connection, LOCK_WAIT)
            opened = await pending_epochs.open_started(connection, now)
            if opened:
                self.faults.reached(FaultPoint.BEFORE_OPEN_COMMIT)
        if opened:
            self.faults.reached(FaultPoint.AFTER_OPEN)
        for epoch_id in opened:
            log.info("epoch_opened", epoch_id=epoch_id)
        return opened

    async def _next(self) -> EpochInterval | None:
        async with self.database.connect() as connection:
            await self.gate.ask(connection)
            intervals = await pending_epochs.pending_intervals(connection)
        return intervals[0] if intervals else None
