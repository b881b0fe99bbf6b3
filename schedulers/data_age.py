"""Watches the age of the zipcode data, and warns before epochs have to use data that is too old."""

from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.metrics import SchedulerMetrics
from service import logs
from service.polling import Outage, poll
from service.probes import Finding
from service.process_status import ProcessStatus
from storage.database.data_age import read_data_now
from storage.database.engine import DATABASE_ERRORS
from zipcast.clock import Clock
from zipcast.protocol.messages.health import HealthStatus

log = logs.logger()

EVERY_SECONDS = 60.0
WARNED_EVERY_SECONDS = 3600.0
PART = "zipcode_data"


@dataclass(slots=True)
class DataWatch:
    """Watches the age of the zipcode data. Without `process_status`, it does not report health."""

    database: AsyncEngine
    clock: Clock
    metrics: SchedulerMetrics = field(default_factory=SchedulerMetrics)
    process_status: ProcessStatus | None = None
    _warned_at: float = field(default=float("-inf"))

    async def run(self) -> None:
        """Run until cancelled."""
        outage = Outage(log, "zipcode_data_unread", DATABASE_ERRORS)
        await poll(self.look, self.clock, EVERY_SECONDS, outage)

    async def look(self) -> None:
        """Read the age of the data once, and report it. There is at most one warning per hour."""
        async with self.database.connect() as connection:
            found = await read_data_now(connection)
        if found is None:
            return
        self.metrics.data(found)
        fault = found.fault()
        if self.process_status is not None:
            status = HealthStatus.OK if fault is None else HealthStatus.DEGRADED
            self.process_status.show(PART, Finding(status, fault, note=found.note()))
        if fault is None:
            self._warned_at = float("-inf")
        elif self.clock.monotonic() >= self._warned_at + WARNED_EVERY_SECONDS:
            self._warned_at = self.clock.monotonic()
            log.warning("zipcode_data_old", reason=fault, state=found.note())
