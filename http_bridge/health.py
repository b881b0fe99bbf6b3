"""Answers `/healthcheck` and `/health/ready` with the health of the bridge and of everything that it depends
on.

A bridge that cannot serve `current` is unhealthy; with any other fault it is degraded. The responder reports
the health of parts that only it can reach.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import version

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from access.rate_limits import Limits
from http_bridge.forwarding import Forwarder
from service.current_epoch import CurrentEpoch
from service.probes import Check, Finding, Probes
from service.process_status import ProcessStatus
from service.registry import RegistryView
from storage.database import epoch_health
from storage.database.data_age import read_data_now
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import WireModel, WireTime
from zipcast.protocol.messages.health import HealthStatus, ProcessHealth, ServiceHealth
from zipcast.protocol.messages.legacy import FOLDER_STRUCTURE

# The age from which the registry counts as too old. The scheduler publishes it every five minutes, even if it
# is unchanged.
REGISTRY_OLD = timedelta(minutes=15)
BOUNDARY_TRIES, BOUNDARY_PAUSE_SECONDS = 15, 0.1
# The parts of the health report without which `current` cannot be served.
ESSENTIAL = ("metagraph", "assignments")
FEATURES = ("currentAssignment", "epochProofs", "validatorUpload", "folderAccess", "btauth")


class RunningEpoch(WireModel):
    id: str = Field(description="The epoch's id.", examples=["2026-11-22T04-00-00"])
    start_time: WireTime = Field(description="First instant of the epoch, UTC.")
    end_time: WireTime = Field(description="First instant after the epoch, UTC.")


class HealthcheckReply(WireModel):
    """The health of the service. `uptime` is in seconds."""

    status: HealthStatus = Field(description="ok, degraded or unhealthy.", examples=["degraded"])
    timestamp: WireTime = Field(description="Time of the reply, UTC.")
    uptime: float = Field(description="Seconds since the process started.", examples=[12.5])
    version: str = Field(description="Version of the software.", examples=["0.1.0"])
    folder_structure: str = Field(
        alias="folder_structure", description="Pattern of a key.", examples=["data/hotkey={hotkey}/"]
    )
    services: dict[str, ServiceHealth] = Field(description="Health of each part, at most five seconds old.")
    current_epoch: RunningEpoch | None = Field(description="The running epoch; null if there is none.")
    features: dict[str, bool] = Field(description="Features of this service.")


@dataclass(slots=True)
class BridgeHealth:
    database: AsyncEngine
    forwarder: Forwarder
    registry: RegistryView
    current: CurrentEpoch
    limits: Limits
    process_status: ProcessStatus
    _probes: Probes = field(init=False)

    def __post_init__(self) -> None:
        self._probes = Probes(self._checks(), self.process_status.clock)

    async def reply(self) -> HealthcheckReply:
        services = await self._probes.services()
        return HealthcheckReply(
            status=overall(services),
            timestamp=self.process_status.clock.now(),
            uptime=self.process_status.uptime_seconds,
            version=version("zipcast"),
            folder_structure=FOLDER_STRUCTURE,
            services=services,
            current_epoch=self._running(),
            features=dict.fromkeys(FEATURES, True),
        )

    async def require_ready(self) -> None:
        """Check that `current` can be served, from memory or from the database.

        Raises ServiceError(REGISTRY_UNAVAILABLE | SERVICE_UNAVAILABLE)."""
        if self.registry.snapshot is None:
            raise ServiceError(
                ErrorCode.REGISTRY_UNAVAILABLE, "The list of registered hotkeys is not loaded yet."
            )
        if self._running() is not None:
            return
        if (await self._probes.services())["database"].status is not HealthStatus.OK:
            raise ServiceError(
                ErrorCode.SERVICE_UNAVAILABLE, "No epoch is in memory, and the database is unavailable."
            )

    def _running(self) -> RunningEpoch | None:
        running = self.current.running_or_none()
        if running is None:
            return None
        message = running.message
        return RunningEpoch(id=message.epoch_id, start_time=message.epoch_start, end_time=message.epoch_end)

    def _checks(self) -> dict[str, Check]:
        return {
            "database": self._database,
            "nats": self._nats,
            "object_store": lambda: self._as_the_responder_sees("object_store"),
            "validator_bucket": lambda: self._as_the_responder_sees("validator_bucket"),
            "metagraph": self._metagraph,
            "rate_limit_store": self._rate_limit_store,
            "broker": self._broker,
            "scheduler": self._scheduler,
            "assignments": self._assignments,
            "zipcode_data": self._zipcode_data,
        }

    async def _database(self) -> Finding:
        async with self.database.connect() as connection:
            await connection.execute(select(1))
        return Finding()

    async def _nats(self) -> Finding:
        await self.forwarder.round_trip()
        return Finding()

    async def _broker(self) -> Finding:
        process = (await self.forwarder.ask_health()).process
        return Finding() if process is None else broker(process)

    async def _as_the_responder_sees(self, service: str) -> Finding:
        seen = (await self.forwarder.ask_health()).services.get(service)
        if seen is None:
            return Finding(HealthStatus.UNHEALTHY, "unknown, because the responder does not reply")
        reason = None if seen.status is HealthStatus.OK else seen.last_error
        return Finding(seen.status, reason, seen.latency_ms)

    async def _metagraph(self) -> Finding:
        return metagraph(self.registry, self.process_status.clock.now())

    async def _rate_limit_store(self) -> Finding:
        if self.limits.shared is None:
            return Finding(note="counts are in memory, as configured")
        await self.limits.ask_store()
        if self.limits.store_fault is None:
            return Finding()
        return Finding(HealthStatus.DEGRADED, f"{self.limits.store_fault}: each process counts alone")

    async def _scheduler(self) -> Finding:
        async with self.database.connect() as connection:
            fault = epoch_health.fault(await epoch_health.epochs_now(connection))
        return Finding() if fault is None else Finding(HealthStatus.UNHEALTHY, fault)

    async def _zipcode_data(self) -> Finding:
        async with self.database.connect() as connection:
            found = await read_data_now(connection)
        if found is None:
            return Finding(note="no epoch has started yet")
        fault = found.fault()
        return Finding(HealthStatus.OK if fault is None else HealthStatus.DEGRADED, fault, note=found.note())

    async def _assignments(self) -> Finding:
        """Check that an epoch is running. At a boundary, the next epoch may arrive some milliseconds late,
        which is not a fault."""
        for _ in range(BOUNDARY_TRIES):
            if self._running() is not None:
                return Finding(latency_ms=0)
            await self.process_status.clock.sleep(BOUNDARY_PAUSE_SECONDS)
        return Finding(HealthStatus.UNHEALTHY, "no epoch is running", latency_ms=0)


def metagraph(registry: RegistryView, now: datetime) -> Finding:
    """Check the age of the registry. If the snapshot is too old, no credentials are issued, but epochs
    continue."""
    age = registry.age(now)
    if age is None:
        return Finding(HealthStatus.UNHEALTHY, "the list of registered hotkeys is not loaded yet")
    note = f"{max(0, int(age.total_seconds()))} s old"
    if age > min(REGISTRY_OLD, registry.max_age):
        reason = "too old to issue credentials" if age > registry.max_age else "not refreshed for 15 minutes"
        return Finding(HealthStatus.DEGRADED, reason, note=note)
    return Finding(note=note)


def broker(process: ProcessHealth) -> Finding:
    """Return the health of a responder that replied, with its last logged error."""
    error = process.last_error
    last = None if error is None else f"{error.action} at {error.at:%Y-%m-%dT%H:%M:%SZ}"
    if error is not None and error.error is not None:
        last = f"{last} ({error.error})"
    logged = sum(process.problems.values())
    note = f"{logged} warnings and errors in {int(process.uptime)} s"
    if process.status is not HealthStatus.OK:
        last = "a NATS connection of the responder is down"
    return Finding(process.status, last, note=note)


def overall(services: dict[str, ServiceHealth]) -> HealthStatus:
    if any(services[name].status is HealthStatus.UNHEALTHY for name in ESSENTIAL):
        return HealthStatus.UNHEALTHY
    well = all(service.status is HealthStatus.OK for service in services.values())
    return HealthStatus.OK if well else HealthStatus.DEGRADED
