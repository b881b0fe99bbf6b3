"""Metrics that every process has, in a registry that only the internal listener shows.

Metrics of one kind of process are in its `metrics.py`. A metric's help text is its meaning in
`docs/operations.md`, and a test compares the two. Labels have few values, all our own: never a hotkey, an
address, or anything of an epoch that has not started.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from service.current_epoch import CurrentEpoch
from service.registry import RegistryView
from zipcast.clock import Clock


class ProcessMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.log_lines = Counter("zipcast_log_lines", "Lines logged, by level.", ["level"], registry=registry)
        self.database_errors = Counter(
            "zipcast_database_errors", "Errors that PostgreSQL or its driver reported.", registry=registry
        )
        self.nats_connected = Gauge(
            "zipcast_nats_connected",
            "1 while the NATS connection of that user of nats.conf is up, else 0.",
            ["user"],
            registry=registry,
        )
        self.nats_reconnects = Counter(
            "zipcast_nats_reconnects", "Times a lost NATS connection came back.", ["user"], registry=registry
        )

    def count_errors_of(self, database: AsyncEngine) -> None:
        """Count whatever goes wrong on that engine, wherever it is handled."""

        def count(_: object) -> None:
            self.database_errors.inc()

        event.listen(database.sync_engine, "handle_error", count)


class RegistryMetrics:
    """Metrics of the registry snapshot in force in this process."""

    def __init__(self, registry: CollectorRegistry, view: RegistryView, clock: Clock) -> None:
        def age() -> float:
            held = view.age(clock.now())
            return float("nan") if held is None else held.total_seconds()

        def neurons() -> float:
            return 0 if view.snapshot is None else len(view.snapshot.neurons)

        _measured(
            registry,
            "zipcast_registry_age_seconds",
            "Age of the registry snapshot in force; NaN before the first.",
            age,
        )
        _measured(registry, "zipcast_registry_neurons", "Neurons in the snapshot in force.", neurons)


class CurrentEpochMetrics:
    """The running epoch in this process's memory."""

    def __init__(self, registry: CollectorRegistry, current: CurrentEpoch) -> None:
        def known() -> float:
            return current.running_or_none() is not None

        _measured(
            registry,
            "zipcast_running_epoch_known",
            "1 while this process holds the epoch that runs now, else 0.",
            known,
        )


def _measured(registry: CollectorRegistry, name: str, meaning: str, measure: Callable[[], float]) -> None:
    """A gauge that is measured when it is asked for."""
    Gauge(name, meaning, registry=registry).set_function(measure)
