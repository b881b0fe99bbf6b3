"""Defines the metrics of the scheduler. They reveal nothing about an epoch's content, and do not distinguish
one prepared epoch from another.
"""

from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service import logs
from storage.database.data_age import DataNow
from zipcast.client.relays import RelayFailure

log = logs.logger()

# The buckets cover a normal publication (milliseconds), a restart (seconds) and an outage (up to an hour).
_LATENESS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600)


class SchedulerMetrics:
    """The metrics. Without a `registry`, they are not shown, as in tests of other parts."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.prepared = Counter(
            "zipcast_epochs_prepared", "Epochs that this replica prepared.", registry=registry
        )
        self.drawn = Counter(
            "zipcast_epochs_drawn",
            "Epochs that this replica drew, by the round that it used: round, fallback or none.",
            ["beacon"],
            registry=registry,
        )
        self.relay_failures = Counter(
            "zipcast_beacon_relay_failures",
            "Unusable replies of the beacon's relays, by reason.",
            ["reason"],
            registry=registry,
        )
        self.published = Counter(
            "zipcast_epochs_published",
            "Epochs that this replica marked as published; each epoch is marked by one replica.",
            registry=registry,
        )
        self.completed = Counter(
            "zipcast_epochs_completed", "Epochs that this replica marked as completed.", registry=registry
        )
        self.archived = Counter(
            "zipcast_epochs_archived", "Epochs that this replica archived.", registry=registry
        )
        self.rows_dropped = Counter(
            "zipcast_rows_dropped",
            "Rows deleted after their retention time, by kind; for issuance_days, partitions.",
            ["kind"],
            registry=registry,
        )
        self.missed = Counter(
            "zipcast_epochs_missed",
            "Epochs recorded as missed because no replica prepared or published them in time.",
            registry=registry,
        )
        self.lateness = Histogram(
            "zipcast_epoch_publication_lateness_seconds",
            "Seconds from an epoch's start until the stream stored it, by nats-server's clock.",
            buckets=_LATENESS_SECONDS,
            registry=registry,
        )
        self.newest_start = Gauge(
            "zipcast_newest_published_epoch_start_timestamp_seconds",
            "Start of the newest epoch known to be in the stream, Unix seconds.",
            registry=registry,
        )
        self.admin_commands = Counter(
            "zipcast_admin_commands",
            "Admin commands that this replica finished, by result: done or failed.",
            ["result"],
            registry=registry,
        )
        self.step_failures = Counter(
            "zipcast_scheduler_step_failures",
            "Steps of the epoch loop that failed and were repeated.",
            registry=registry,
        )
        self.honeypots_opened = Gauge(
            "zipcast_honeypots_opened_ratio",
            "Share of the present honeypots that validators know from revealed epochs, 0 to 1.",
            registry=registry,
        )
        self._data_age = Gauge(
            "zipcast_zipcode_data_age_seconds", "Age of the newest zipcode data.", registry=registry
        )
        self._data_zipcodes = Gauge(
            "zipcast_zipcodes_eligible",
            "Eligible zipcodes apart from cooldown, by whether their data is fresh or too old.",
            ["kind"],
            registry=registry,
        )
        self._data_epochs = Gauge(
            "zipcast_zipcode_data_epochs_left",
            "Epochs that the zipcodes can still fill with data that is not too old.",
            registry=registry,
        )
        self._data_relaxed = Gauge(
            "zipcast_epoch_relaxed_age_days",
            "Days by which the newest epoch exceeded the age limit of data; usually 0.",
            registry=registry,
        )
        self._clock_offset = Gauge(
            "zipcast_clock_offset_seconds",
            "PostgreSQL's clock minus this machine's, at the last comparison.",
            registry=registry,
        )

    def data(self, found: DataNow) -> None:
        """Report the age of the zipcode data."""
        outlook = found.outlook
        if outlook.newest_at is not None:
            self._data_age.set((found.now - outlook.newest_at).total_seconds())
        self._data_zipcodes.labels("fresh").set(outlook.zipcodes - outlook.too_old)
        self._data_zipcodes.labels("too_old").set(outlook.too_old)
        self._data_epochs.set(outlook.epochs_left)
        self._data_relaxed.set(found.relaxed_age_days)

    def relay_failed(self, address: str, failure: RelayFailure) -> None:
        """Count and log an unusable reply of a relay."""
        self.relay_failures.labels(str(failure)).inc()
        log.warning("beacon_relay_failed", relay=address, reason=str(failure))

    def clock_offset(self, offset: timedelta) -> None:
        """Report PostgreSQL's clock minus this machine's."""
        self._clock_offset.set(offset.total_seconds())

    def in_stream(self, start_at: datetime) -> None:
        """Report that the epoch with this start is in the stream."""
        self.newest_start.set(start_at.timestamp())

    def marked_published(self, late: timedelta) -> None:
        """Count a published epoch. `late` is the time from its start until the stream stored it."""
        self.published.inc()
        self.lateness.observe(max(0.0, late.total_seconds()))
