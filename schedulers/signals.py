"""Looking through miners' reports once an epoch's decoys are revealed.

Owns when, not what: the comparison is one statement of `storage.honeypots`, done once for each epoch by
whichever replica comes first. What it finds is for validators to look at; nothing is done by it.
"""

from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime import logs
from storage.honeypots import flag_hits
from zipcast.calendar import preparation_lead
from zipcast.clock import Clock

log = logs.logger()


@dataclass(frozen=True, slots=True)
class Signals:
    database: AsyncEngine
    clock: Clock
    epoch_seconds: int

    async def run(self) -> None:
        """Until cancelled. What a database that is away delays is done when it is back."""
        pause = preparation_lead(self.epoch_seconds).total_seconds()
        while True:
            try:
                await self.flag()
            except (SQLAlchemyError, TimeoutError) as error:
                log.warning("signals_failed", error=type(error).__name__)
            await self.clock.sleep(pause)

    async def flag(self) -> None:
        async with self.database.begin() as connection:
            compared, flagged = await flag_hits(connection)
        if compared:
            log.info("honeypots_compared", epochs=compared, hits=flagged)
