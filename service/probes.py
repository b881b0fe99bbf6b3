"""Checks the health of dependencies. All are checked at the same time, each with a timeout, and the results
are cached for a few seconds.

There is one check per service. A check that hangs is cancelled, but nothing waits until it ends, because
cancelling a driver may take longer than the timeout.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from service import logs
from zipcast.clock import Clock
from zipcast.protocol.messages.health import HealthStatus, ServiceHealth

log = logs.logger()

REMEMBERED_SECONDS = 5.0
TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check, by default a good one. `latency_ms` is set only if it differs from the time that
    the check took."""

    status: HealthStatus = HealthStatus.OK
    reason: str | None = None
    latency_ms: float | None = None
    note: str | None = None


Check = Callable[[], Coroutine[None, None, Finding]]


def noted(
    known: ServiceHealth | None, found: Finding, now: datetime, took_milliseconds: float = 0
) -> ServiceHealth:
    """Return the new health of a part. `known` is its previous health, from which `since` and the last error
    are kept."""
    return ServiceHealth(
        status=found.status,
        latency_ms=round(took_milliseconds if found.latency_ms is None else found.latency_ms, 2),
        last_error=found.reason or (known.last_error if known else None),
        since=now if known is None or known.status is not found.status else known.since,
        note=found.note,
    )


@dataclass(slots=True)
class Probes:
    checks: Mapping[str, Check]
    clock: Clock
    patience_seconds: float = TIMEOUT_SECONDS
    _known: dict[str, ServiceHealth] = field(default_factory=dict)
    _remembered_until: float = field(default=float("-inf"))
    _round: "asyncio.Task[None] | None" = field(default=None)
    _left_behind: "set[asyncio.Task[Finding]]" = field(default_factory=set)

    async def services(self) -> dict[str, ServiceHealth]:
        """Return the health of each service, by name, in the order of `checks`. Simultaneous callers share
        one round of checks."""
        if self.clock.monotonic() >= self._remembered_until:
            if self._round is None:
                self._round = asyncio.create_task(self._ask_all())
            await asyncio.shield(self._round)
        return dict(self._known)

    async def _ask_all(self) -> None:
        found = await asyncio.gather(*(self._ask(name, check) for name, check in self.checks.items()))
        self._known = dict(zip(self.checks, found, strict=True))
        self._remembered_until = self.clock.monotonic() + REMEMBERED_SECONDS
        self._round = None

    async def _ask(self, name: str, check: Check) -> ServiceHealth:
        began = self.clock.monotonic()
        finding = await self._bounded(check)
        took = (self.clock.monotonic() - began) * 1000
        known = self._known.get(name)
        if known is None or known.status is not finding.status:
            log.info("health_changed", service=name, status=finding.status, reason=finding.reason)
        return noted(known, finding, self.clock.now(), took)

    async def _bounded(self, check: Check) -> Finding:
        task = asyncio.create_task(check())
        await asyncio.wait({task}, timeout=self.patience_seconds)
        if not task.done():
            self._leave_behind(task)
            return Finding(HealthStatus.UNHEALTHY, f"no reply within {self.patience_seconds:g} s")
        error = None if task.cancelled() else task.exception()
        if error is not None or task.cancelled():
            return Finding(HealthStatus.UNHEALTHY, type(error).__name__ if error else "cancelled")
        return task.result()

    def _leave_behind(self, task: "asyncio.Task[Finding]") -> None:
        def ended(done: "asyncio.Task[Finding]") -> None:
            self._left_behind.discard(done)
            if not done.cancelled():
                done.exception()  # retrieved, so that asyncio does not warn about it

        self._left_behind.add(task)
        task.add_done_callback(ended)
        task.cancel()
