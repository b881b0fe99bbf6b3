"""Keeps the list of hotkeys that refuse legacy signatures, and reads it from the database every two seconds.

While the database is unavailable, the last list remains in use.
"""

import asyncio
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from service import logs
from service.database_reads import RECORD_ERRORS, TIMEOUT_SECONDS
from service.polling import Outage, poll
from storage.database import opt_outs
from zipcast.clock import Clock

log = logs.logger()

EVERY_SECONDS = 2.0


@dataclass(slots=True)
class LegacyOptOuts:
    """The hotkeys that refuse legacy signatures."""

    database: AsyncEngine
    clock: Clock
    _hotkeys: frozenset[str] = field(default=frozenset())
    _outage: Outage = field(default_factory=lambda: Outage(log, "opt_outs_unread", RECORD_ERRORS))

    def __contains__(self, hotkey: object) -> bool:
        return hotkey in self._hotkeys

    async def run(self) -> None:
        """Read the list repeatedly until cancelled."""
        await poll(self.read, self.clock, EVERY_SECONDS)

    async def read(self) -> None:
        with self._outage:
            async with asyncio.timeout(TIMEOUT_SECONDS), self.database.connect() as connection:
                self._hotkeys = await opt_outs.opted_out(connection)
