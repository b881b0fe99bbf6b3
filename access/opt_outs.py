"""Keeps the hotkeys for which no legacy commitment counts, read again every two seconds.

While the database is away, the last reading stays in force.
"""

import asyncio
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from service import logs
from service.database_reads import PATIENCE_SECONDS, RECORD_ERRORS
from service.polling import Outage, poll
from storage.database import opt_outs
from zipcast.clock import Clock

log = logs.logger()

EVERY_SECONDS = 2.0


@dataclass(slots=True)
class LegacyOptOuts:
    """A container of hotkeys."""

    database: AsyncEngine
    clock: Clock
    _hotkeys: frozenset[str] = field(default=frozenset())
    _outage: Outage = field(default_factory=lambda: Outage(log, "opt_outs_unread", RECORD_ERRORS))

    def __contains__(self, hotkey: object) -> bool:
        return hotkey in self._hotkeys

    async def run(self) -> None:
        """Read again and again until cancelled."""
        await poll(self.read, self.clock, EVERY_SECONDS)

    async def read(self) -> None:
        with self._outage:
            async with asyncio.timeout(PATIENCE_SECONDS), self.database.connect() as connection:
                self._hotkeys = await opt_outs.opted_out(connection)
