"""Applies retention once an hour: archives epochs, and drops old rows.

It uses short transactions and separate connections, so that preparing and publishing never wait for it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schedulers.metrics import SchedulerMetrics
from service import logs
from service.polling import Outage
from storage.database import retention
from storage.database.engine import DATABASE_ERRORS
from storage.database.retention import Retention
from zipcast.clock import Clock

log = logs.logger()

EVERY_SECONDS = 3600.0
RETRY_SECONDS = 60.0
Batch = Callable[[AsyncConnection], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Housekeeping:
    database: AsyncEngine
    clock: Clock
    retention: Retention
    metrics: SchedulerMetrics = field(default_factory=SchedulerMetrics)
    failing: dict[str, str] = field(default_factory=dict)
    """The tasks that fail at present, for the health page."""

    async def run(self) -> None:
        """Tidy once an hour until cancelled. After a failure, try again in a minute."""
        outage = Outage(log, "housekeeping_failed", DATABASE_ERRORS, "housekeeping", self.failing)
        while True:
            with outage:
                await self.tidy()
            await self.clock.sleep(RETRY_SECONDS if outage.lasts else EVERY_SECONDS)

    async def tidy(self) -> None:
        """Archive and delete everything that is due, in batches."""
        async with self.database.begin() as connection:
            await retention.add_issuance_days(connection)
        refused_before = self.clock.now() - self.retention.refusals
        await self._drop("refusals", lambda one: retention.drop_refusals(one, refused_before))
        audited_before = self.clock.now() - self.retention.audit
        await self._drop("audit", lambda one: retention.drop_audit(one, audited_before))
        await self._archive()
        # Drop the days of issuances last, because this fails while another transaction reads the table.
        async with self.database.begin() as connection:
            gone = await retention.drop_issuance_days(connection, audited_before)
        self.metrics.rows_dropped.labels("issuance_days").inc(gone)

    async def _archive(self) -> None:
        before = self.clock.now() - self.retention.epochs
        while await self._archive_some(before) == retention.EPOCHS_AT_ONCE:
            continue
        async with self.database.begin() as connection:
            needed = await retention.needed(connection, before)
        await self._drop("assignments", lambda one: retention.drop_assignments(one, needed.assigned_id))
        await self._drop("reports", lambda one: retention.drop_reports(one, needed.epoch_id))
        import_id = needed.import_id
        if import_id is not None:
            await self._drop("revisions", lambda one: retention.drop_revisions(one, import_id))
            await self._drop("published", lambda one: retention.drop_published(one, import_id))

    async def _archive_some(self, before: datetime) -> int:
        async with self.database.begin() as connection:
            archived = await retention.archive_epochs(connection, before)
        self.metrics.archived.inc(len(archived))
        if archived:
            log.info("epochs_archived", count=len(archived), first=archived[0], last=archived[-1])
        return len(archived)

    async def _drop(self, what: str, batch: Batch) -> None:
        """Delete batches until one is not full; then nothing is left, or another replica is deleting it."""
        gone = retention.BATCH
        while gone == retention.BATCH:
            async with self.database.begin() as connection:
                gone = await batch(connection)
            self.metrics.rows_dropped.labels(what).inc(gone)
