"""Retention, once an hour: partitions of claims, old refusals. Owns when, not what."""

from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime import logs
from storage import housekeeping
from zipcast.clock import Clock

log = logs.logger()

EVERY_SECONDS = 3600.0
RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Housekeeping:
    database: AsyncEngine
    clock: Clock

    async def run(self) -> None:
        """Until cancelled. A database that is away is asked again in a minute."""
        while True:
            try:
                await self.tidy()
            except (SQLAlchemyError, TimeoutError) as error:
                log.warning("housekeeping_failed", error=type(error).__name__)
                await self.clock.sleep(RETRY_SECONDS)
            else:
                await self.clock.sleep(EVERY_SECONDS)

    async def tidy(self) -> None:
        async with self.database.begin() as connection:
            await housekeeping.keep_claims_partitioned(connection)
        while await self._drop_refusals() == housekeeping.BATCH:
            continue

    async def _drop_refusals(self) -> int:
        async with self.database.begin() as connection:
            return await housekeeping.drop_old_refusals(connection, self.clock.now())
