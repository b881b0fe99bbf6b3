"""Collects the data that a process shows on its internal listener: metrics, counts, last error, connections.

A process is healthy if it is ready and not stopping, every NATS connection is up, every part that it watches
is ok, and no task fails. For an error, only the action, the time and the exception's type are shown, because
its message may contain an address or a secret. `/healthcheck` checks the services on which a process depends.
"""

import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import prometheus_client
from nats.aio.client import Client
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from starlette.requests import Request
from starlette.responses import Response
from structlog.typing import EventDict

from service.metrics import ProcessMetrics
from service.probes import Finding, noted
from zipcast.clock import Clock
from zipcast.protocol.messages.health import HealthStatus, LastError, ProcessHealth, ServiceHealth

_PREFIX = "zipcast_"

_ERRORS = frozenset({"error", "critical"})
_PROBLEMS = _ERRORS | {"warning"}
_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

Page = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class LogCounts:
    """A structlog processor that counts lines and does not change them. It must run before exceptions are
    formatted as text."""

    lines: prometheus_client.Counter
    clock: Clock
    problems: Counter[str] = field(default_factory=Counter)
    """Numbers of warnings and errors, by action."""
    last_error: LastError | None = field(default=None)

    def __call__(self, _: object, __: str, event: EventDict) -> EventDict:
        level, action = str(event["level"]), str(event["event"])
        self.lines.labels(level).inc()
        if level in _PROBLEMS:
            self.problems[action] += 1
        if level in _ERRORS:
            self.last_error = LastError(action=action, at=self.clock.now(), error=_error_type(event))
        return event


@dataclass(slots=True)
class ProcessStatus:
    process: str
    clock: Clock
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    metrics: ProcessMetrics = field(init=False)
    log_counts: LogCounts = field(init=False)
    serving: bool = field(default=False)
    """Whether the process is ready and not stopping."""
    pages: dict[str, Page] = field(default_factory=dict)
    """Additional pages of this process's internal listener, by path without the first slash."""
    failing: dict[str, str] = field(default_factory=dict)
    """Tasks that fail and are retried, with the type of the error. A task is removed when it succeeds, or if
    it has not failed for ten minutes (`Lifecycle.spawn_beside`)."""
    parts: dict[str, ServiceHealth] = field(default_factory=dict)
    """Other parts that the process watches, by name."""
    _connections: dict[str, Client] = field(default_factory=dict)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = ProcessMetrics(self.registry)
        self.log_counts = LogCounts(self.metrics.log_lines, self.clock)
        self._started = self.clock.monotonic()

    def watch(self, user: str, connection: Client) -> None:
        """Show the state of this user's NATS connection from now on."""
        self._connections[user] = connection
        self.metrics.nats_connected.labels(user).set_function(lambda: connection.is_connected)
        self.metrics.nats_reconnects.labels(user)

    def show(self, part: str, found: Finding) -> None:
        """Show a part that the process watches, in this state."""
        self.parts[part] = noted(self.parts.get(part), found, self.clock.now())

    @property
    def uptime_seconds(self) -> float:
        return round(self.clock.monotonic() - self._started, 3)

    def exposition(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    def health(self) -> ProcessHealth:
        return ProcessHealth(
            process=self.process,
            status=self._status(),
            uptime=self.uptime_seconds,
            counts=self._counts(),
            problems=dict(self.log_counts.problems),
            last_error=self.log_counts.last_error,
            connections={user: _state(connection) for user, connection in self._connections.items()},
            failing=dict(self.failing),
            parts=dict(self.parts),
        )

    def _status(self) -> HealthStatus:
        if not self.serving:
            return HealthStatus.UNHEALTHY
        up = all(connection.is_connected for connection in self._connections.values())
        well = all(part.status is HealthStatus.OK for part in self.parts.values())
        return HealthStatus.OK if up and well and not self.failing else HealthStatus.DEGRADED

    def counts_by(self, label: str, name: str) -> dict[str, int]:
        """Return the sums of a counter, by the values of one of its labels."""
        found: Counter[str] = Counter()
        for metric in self._counters():
            for sample in metric.samples if metric.name == name else ():
                if sample.name.endswith("_total"):
                    found[sample.labels[label]] += round(sample.value)
        return dict(sorted(found.items()))

    def _counts(self) -> dict[str, int]:
        """Return every counter of Zipcast, summed over its labels."""
        return {
            metric.name.removeprefix(_PREFIX): round(
                sum(sample.value for sample in metric.samples if sample.name.endswith("_total"))
            )
            for metric in self._counters()
        }

    def _counters(self) -> Iterator[Metric]:
        for metric in self.registry.collect():
            if metric.type == "counter" and metric.name.startswith(_PREFIX):
                yield metric


def _state(connection: Client) -> str:
    if connection.is_connected:
        return "connected"
    if connection.is_closed:
        return "closed"
    return "reconnecting" if connection.is_reconnecting else "connecting"


def _error_type(event: EventDict) -> str | None:
    """Return the exception's type, from any form of `exc_info` or from the field `error` of the line."""
    info = event.get("exc_info")
    if info is True:
        info = sys.exc_info()
    raised = info[1] if isinstance(info, tuple) else info
    if isinstance(raised, BaseException):
        return type(raised).__name__
    named = event.get("error")
    return named if isinstance(named, str) and _TYPE_NAME.fullmatch(named) else None
