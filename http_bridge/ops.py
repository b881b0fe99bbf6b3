"""Collects the data of the page `/ops`: the state of the service at a glance.

It never reads anything about an epoch that has not started.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from http_bridge.event_stream import Listeners
from http_bridge.health import BridgeHealth
from http_bridge.metrics import REQUESTS
from http_bridge.nats_monitor import ConnectedProcess, NatsFacts, NatsMonitor
from http_bridge.recent_epochs import RecentEpoch, RecentEpochs
from http_bridge.request_samples import RequestSampler, RequestSamples
from service.current_epoch import CurrentEpoch
from service.process_status import ProcessStatus
from service.registry import RegistryView
from zipcast.protocol.messages.base import WireModel, WireTime
from zipcast.protocol.messages.health import HealthStatus, ServiceHealth


class StartedEpoch(WireModel):
    epoch_id: str
    starts_at: WireTime
    ends_at: WireTime
    zipcodes: int
    listings: int


class OpsReply(WireModel):
    """The data of the page. `requests` counts requests by result since this process started, and `samples`
    over time. `nats` is null if no monitoring address is configured; then `subscribers` is null and
    `processes` empty."""

    now: datetime
    status: HealthStatus
    uptime: float
    epoch: StartedEpoch | None
    recent: tuple[RecentEpoch, ...]
    subscribers: int | None
    streams: int
    registry_age_seconds: int | None
    neurons: int
    requests: dict[str, int]
    samples: RequestSamples
    services: dict[str, ServiceHealth]
    processes: tuple[ConnectedProcess, ...]
    nats: dict[str, str | int] | None
    dashboard: str | None
    public: str | None


@dataclass(frozen=True, slots=True)
class Ops:
    """Collects the data. `dashboard` is the URL of a NATS dashboard, `public` that of the public pages."""

    health: BridgeHealth
    recent: RecentEpochs
    current: CurrentEpoch
    registry: RegistryView
    listeners: Listeners
    process_status: ProcessStatus
    sampler: RequestSampler
    monitor: NatsMonitor | None
    dashboard: str | None
    public: str | None

    async def reply(self) -> OpsReply:
        """Collect the data now."""
        health, recent, nats = await asyncio.gather(
            self.health.reply(), self.recent.newest(), self._nats_facts()
        )
        age = self.registry.age(self.process_status.clock.now())
        snapshot = self.registry.snapshot
        return OpsReply(
            now=self.process_status.clock.now(),
            status=health.status,
            uptime=self.process_status.uptime_seconds,
            epoch=started_epoch(self.current),
            recent=recent,
            subscribers=None if nats is None else nats.subscribers,
            streams=self.listeners.count(),
            registry_age_seconds=None if age is None else max(0, int(age.total_seconds())),
            neurons=0 if snapshot is None else len(snapshot.neurons),
            requests=self.process_status.counts_by("result", REQUESTS),
            samples=self.sampler.samples(),
            services=health.services,
            processes=() if nats is None else nats.processes,
            nats=None if nats is None else nats.server,
            dashboard=self.dashboard,
            public=self.public,
        )

    async def _nats_facts(self) -> NatsFacts | None:
        return None if self.monitor is None else await self.monitor.facts()


def started_epoch(current: CurrentEpoch) -> StartedEpoch | None:
    """Return public facts of the running epoch, without its zipcodes."""
    running = current.running_or_none()
    if running is None:
        return None
    message = running.message
    return StartedEpoch(
        epoch_id=message.epoch_id,
        starts_at=message.epoch_start,
        ends_at=message.epoch_end,
        zipcodes=message.metadata.zipcode_count,
        listings=message.metadata.total_expected_listings,
    )
