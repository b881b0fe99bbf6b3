"""Defines the metrics that all processes have. Only the internal listener shows them.

Metrics of one process are in that process's `metrics.py`. The help text of a metric is also its description
in `docs/metrics.md`, which is made from the code. A label has few values, and all of them are defined in the
code. A value is never a hotkey, an address, or a fact about an epoch that has not started.
"""

from collections.abc import Callable

import asyncpg
from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from service.registry import RegistryView
from zipcast.clock import Clock


class ProcessMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.log_lines = Counter("zipcast_log_lines", "Log lines, by level.", ["level"], registry=registry)
        self.database_errors = Counter(
            "zipcast_database_errors", "Errors that PostgreSQL or its driver reported.", registry=registry
        )
        self._pool_in_use = Gauge(
            "zipcast_database_connections_in_use",
            "Connections to PostgreSQL that are in use, by pool.",
            ["pool"],
            registry=registry,
        )
        self._pool_size = Gauge(
            "zipcast_database_connections_limit",
            "Largest number of connections to PostgreSQL that this process opens, by pool.",
            ["pool"],
            registry=registry,
        )
        self.nats_connected = Gauge(
            "zipcast_nats_connected",
            "1 if the NATS connection of this user of nats.conf is up, otherwise 0.",
            ["user"],
            registry=registry,
        )
        self.nats_reconnects = Counter(
            "zipcast_nats_reconnects",
            "Number of times that a lost NATS connection was restored.",
            ["user"],
            registry=registry,
        )

    def watch_database(self, database: AsyncEngine) -> None:
        """Show the use of the engine's pool, and count all errors of the engine, wherever they are
        handled."""
        connections = database.pool
        if isinstance(connections, QueuePool):
            self._pool_in_use.labels("main").set_function(connections.checkedout)
            self._pool_size.labels("main").set(connections.size())

        def count(_: object) -> None:
            self.database_errors.inc()

        event.listen(database.sync_engine, "handle_error", count)

    def watch_pool(self, name: str, pool: asyncpg.Pool) -> None:
        """Show the use of another pool."""
        self._pool_in_use.labels(name).set_function(lambda: pool.get_size() - pool.get_idle_size())
        self._pool_size.labels(name).set(pool.get_max_size())


class RegistryMetrics:
    """Metrics of the registry snapshot that this process uses."""

    def __init__(self, registry: CollectorRegistry, view: RegistryView, clock: Clock) -> None:
        def age() -> float:
            held = view.age(clock.now())
            return float("nan") if held is None else held.total_seconds()

        def neurons() -> float:
            return 0 if view.snapshot is None else len(view.snapshot.neurons)

        _measured(
            registry,
            "zipcast_registry_age_seconds",
            "Age of the registry snapshot that this process uses; NaN before the first.",
            age,
        )
        _measured(
            registry,
            "zipcast_registry_neurons",
            "Number of neurons in the registry snapshot that this process uses.",
            neurons,
        )


class CurrentEpochMetrics:
    """Metrics of the running epoch in this process's memory. `running` returns this epoch, or None."""

    def __init__(self, registry: CollectorRegistry, running: Callable[[], object | None]) -> None:
        def known() -> float:
            return running() is not None

        _measured(
            registry,
            "zipcast_running_epoch_known",
            "1 if this process has the running epoch, otherwise 0.",
            known,
        )


def _measured(registry: CollectorRegistry, name: str, meaning: str, measure: Callable[[], float]) -> None:
    """Add a gauge whose value is measured when the metrics are read."""
    Gauge(name, meaning, registry=registry).set_function(measure)
