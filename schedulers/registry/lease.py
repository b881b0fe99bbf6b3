"""Decides which replica of the scheduler reads the chain.

A lease in PostgreSQL lets only one replica read, to reduce the load on the chain. Correctness does not depend
on it, because the compare-and-set in KV keeps snapshots in order. If PostgreSQL is unavailable, the replica
that read last continues, and others read only if the published snapshot is old.
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
    """The lease that lets one replica read the chain. While PostgreSQL is unavailable, a replica without the
    lease reads only if the published snapshot is older than `stale_after`."""

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
