"""What one process shows of itself on its internal listener: metrics, counts, last error, connections.

Owns when a process counts as well: once it is ready, until it stops, with every NATS connection up and no
task that fails.
What it depends on beyond that is asked by `/healthcheck`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from nats.aio.client import Client
from prometheus_client import CollectorRegistry, generate_latest

from runtime.metrics import ProcessMetrics
from runtime.tally import Tally
from zipcast.clock import Clock
from zipcast.health import HealthStatus, ProcessHealth, ServiceHealth

_PREFIX = "zipcast_"

Page = Callable[[], Awaitable[tuple[bytes, str]]]
"""Makes a body and says its media type."""


@dataclass(slots=True)
class Vitals:
    process: str
    clock: Clock
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    metrics: ProcessMetrics = field(init=False)
    tally: Tally = field(init=False)
    serving: bool = field(default=False)
    """Between ready and stopping."""
    pages: dict[str, Page] = field(default_factory=dict)
    """What the internal listener shows beyond the common, by name: of this process alone."""
    failing: dict[str, str] = field(default_factory=dict)
    """Tasks that fail and are tried again, with the type of the error. Success takes a task out."""
    parts: dict[str, ServiceHealth] = field(default_factory=dict)
    """What the process watches besides its connections, by name."""
    _connections: dict[str, Client] = field(default_factory=dict)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = ProcessMetrics(self.registry)
        self.tally = Tally(self.metrics.log_lines, self.clock)
        self._started = self.clock.monotonic()

    def watch(self, user: str, connection: Client) -> None:
        """Show the state of that user's NATS connection from now on."""
        self._connections[user] = connection
        self.metrics.nats_connected.labels(user).set_function(lambda: connection.is_connected)
        self.metrics.nats_reconnects.labels(user)

    def show(self, part: str, status: HealthStatus, last_error: str | None, note: str | None = None) -> None:
        """Show the state of a part that this process watches from now on."""
        known = self.parts.get(part)
        same = known is not None and known.status is status
        since = known.since if known is not None and same else self.clock.now()
        self.parts[part] = ServiceHealth(
            status=status, latency_ms=0, last_error=last_error, since=since, note=note
        )

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def health(self) -> ProcessHealth:
        return ProcessHealth(
            process=self.process,
            status=self._status(),
            uptime=round(self.clock.monotonic() - self._started, 3),
            counts=self._counts(),
            problems=dict(self.tally.problems),
            last_error=self.tally.last_error,
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

    def _counts(self) -> dict[str, int]:
        """Every counter of ours, summed over its labels."""
        return {
            metric.name.removeprefix(_PREFIX): round(
                sum(sample.value for sample in metric.samples if sample.name.endswith("_total"))
            )
            for metric in self.registry.collect()
            if metric.type == "counter" and metric.name.startswith(_PREFIX)
        }


def _state(connection: Client) -> str:
    if connection.is_connected:
        return "connected"
    if connection.is_closed:
        return "closed"
    return "reconnecting" if connection.is_reconnecting else "connecting"
