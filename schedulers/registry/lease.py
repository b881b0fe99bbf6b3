"""Decides which replica of the scheduler reads the chain.

The lease in PostgreSQL spares the chain; it does not keep order, which the compare-and-set in KV does. If
PostgreSQL is away, the replica that read last goes on, and others read only once the published snapshot is
stale.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service import logs
from storage.database.engine import DATABASE_ERRORS
from storage.database.locks import Lease
from zipcast.clock import Clock

log = logs.logger()

CHECK_SECONDS = 5.0


@dataclass(slots=True)
class ReaderTurn:
    """The right to read. `stale_after` is the age at which a published snapshot shows that no replica
    reads."""

    lock: Lease
    clock: Clock
    stale_after: timedelta
    _held: bool = field(default=False, init=False)
    _known: bool = field(default=False, init=False)
    _check_at: float = field(default=float("-inf"), init=False)

    async def is_ours(self, published_at: datetime | None) -> bool:
        if self.clock.monotonic() >= self._check_at:
            await self._check()
            self._check_at = self.clock.monotonic() + CHECK_SECONDS
        if self._known or self._held:
            return self._held
        return published_at is None or self.clock.now() - published_at > self.stale_after

    async def close(self) -> None:
        await self.lock.close()

    async def _check(self) -> None:
        try:
            held = await self.lock.held()
        except DATABASE_ERRORS as error:
            if self._known:
                log.warning("registry_turn_unknown", error=type(error).__name__, ours=self._held)
            self._known = False
            return
        if held != self._held:
            log.info("registry_turn_taken" if held else "registry_turn_lost")
        self._held, self._known = held, True
