"""Serves `/ops` on the internal listener: the state of the service at a glance, updated live.

It never reads anything about an epoch that has not started.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from typing import Any

import httpx

from http_bridge.event_stream import Listeners
from http_bridge.health import BridgeHealth
from http_bridge.history import History, PageRequest
from http_bridge.metrics import REQUESTS
from service import logs
from service.current_epoch import CurrentEpoch
from service.process_status import Page, Vitals
from service.registry import RegistryView
from zipcast.client.http import open_client
from zipcast.protocol.errors import ServiceError
from zipcast.protocol.messages.base import WireModel, WireTime
from zipcast.protocol.messages.health import HealthStatus, ServiceHealth

log = logs.logger()

REMEMBERED_SECONDS = 1.0
TIMEOUT_SECONDS = 1.5
RECENT = 10
_STATIC = files("http_bridge") / "static"
_OWN = _STATIC / "own"


class OpsEpoch(WireModel):
    epoch_id: str
    ends_at: WireTime
    zipcodes: int
    listings: int


class OpsEndedEpoch(WireModel):
    epoch_id: str
    status: str
    late_ms: int | None


class OpsReply(WireModel):
    """The data of the page. `requests` counts requests by result since this process started. `nats` is null
    if no monitoring address is configured."""

    now: datetime
    status: HealthStatus
    epoch: OpsEpoch | None
    recent: tuple[OpsEndedEpoch, ...]
    subscribers: int | None
    streams: int
    registry_age_seconds: int | None
    neurons: int
    requests: dict[str, int]
    services: dict[str, ServiceHealth]
    nats: dict[str, str | int] | None
    dashboard: str | None


@dataclass(frozen=True, slots=True)
class NatsMonitor:
    """Reads nats-server's monitoring pages. `url` is None if there is no address."""

    url: str | None

    async def facts(self) -> tuple[dict[str, str | int] | None, int | None]:
        """Return facts about the server, and the number of clients that are connected to it."""
        if self.url is None:
            return None, None
        try:
            async with open_client(self.url, TIMEOUT_SECONDS) as http:
                varz, connz, jsz = [
                    (await http.get(self.url + path)).raise_for_status().json()
                    for path in ("/varz", "/connz?acc=APP&limit=1", "/jsz")
                ]
        except (httpx.HTTPError, ValueError) as error:
            log.debug("nats_monitor_unread", error=type(error).__name__)
            return {"state": f"does not respond ({type(error).__name__})"}, None
        return _server(varz, jsz), int(connz.get("total", 0))


def _server(varz: Mapping[str, Any], jsz: Mapping[str, Any]) -> dict[str, str | int]:
    asked = ("version", "uptime", "connections", "total_connections", "subscriptions")
    told = {name.replace("_", " "): varz.get(name, 0) for name in asked}
    return told | {
        "messages in": varz.get("in_msgs", 0),
        "messages out": varz.get("out_msgs", 0),
        "slow consumers": varz.get("slow_consumers", 0),
        "memory, MB": varz.get("mem", 0) // 2**20,
        "streams": jsz.get("streams", 0),
        "messages stored": jsz.get("messages", 0),
        "stored, KB": jsz.get("bytes", 0) // 2**10,
    }


@dataclass(slots=True)
class Ops:
    health: BridgeHealth
    history: History
    current: CurrentEpoch
    registry: RegistryView
    listeners: Listeners
    vitals: Vitals
    monitor: NatsMonitor
    dashboard: str | None
    _known: bytes = field(default=b"")
    _known_until: float = field(default=float("-inf"))
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def pages(self) -> dict[str, Page]:
        """Return the pages for the internal listener, by name."""
        return {
            "ops": _file(_STATIC / "ops.html", "text/html"),
            "ops.js": _file(_OWN / "ops.js", "text/javascript"),
            "page.css": _file(_OWN / "page.css", "text/css"),
            "ops.json": self._json,
        }

    async def _json(self) -> tuple[bytes, str]:
        """Return the data as JSON. However many viewers there are, it is collected at most once a second."""
        async with self._asking:
            if self.vitals.clock.monotonic() >= self._known_until:
                self._known = (await self.reply()).to_bytes()
                self._known_until = self.vitals.clock.monotonic() + REMEMBERED_SECONDS
        return self._known, "application/json"

    async def reply(self) -> OpsReply:
        health, recent, (nats, subscribers) = await asyncio.gather(
            self.health.reply(), self._recent(), self.monitor.facts()
        )
        age = self.registry.age(self.vitals.clock.now())
        snapshot = self.registry.snapshot
        return OpsReply(
            now=self.vitals.clock.now(),
            status=health.status,
            epoch=self._epoch(),
            recent=recent,
            subscribers=subscribers,
            streams=self.listeners.count(),
            registry_age_seconds=None if age is None else max(0, int(age.total_seconds())),
            neurons=0 if snapshot is None else len(snapshot.neurons),
            requests=self.vitals.counts_by("result", REQUESTS),
            services=health.services,
            nats=nats,
            dashboard=self.dashboard,
        )

    async def _recent(self) -> tuple[OpsEndedEpoch, ...]:
        """Return the newest ended epochs; none while the database is unavailable, which its health shows."""
        try:
            page = await self.history.page(PageRequest(RECENT, None))
        except ServiceError:
            return ()
        return tuple(
            OpsEndedEpoch(
                epoch_id=one.epoch_id,
                status=one.status,
                late_ms=None if one.late_seconds is None else round(one.late_seconds * 1000),
            )
            for one in page.epochs
        )

    def _epoch(self) -> OpsEpoch | None:
        running = self.current.running_or_none()
        if running is None:
            return None
        message = running.message
        return OpsEpoch(
            epoch_id=message.epoch_id,
            ends_at=message.epoch_end,
            zipcodes=message.metadata.zipcode_count,
            listings=message.metadata.total_expected_listings,
        )


def _file(path: Any, media_type: str) -> Page:
    body = path.read_bytes()

    async def page() -> tuple[bytes, str]:
        return body, media_type

    return page
