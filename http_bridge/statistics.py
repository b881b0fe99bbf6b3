"""Builds the reply of `GET …/stats`: public statistics from the database, cached for some seconds.

While the database is unavailable, the reply contains the last statistics that were read.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncEngine

from http_bridge.history import came_too_late
from service import logs
from service.current_epoch import CurrentEpoch
from storage.database.engine import DATABASE_ERRORS
from storage.database.statistics import Rules, StartedEpoch, Statistics, ZipcodeCounts, read_statistics
from zipcast.clock import Clock
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import Success, WireModel, WireTime
from zipcast.protocol.messages.health import HealthStatus

log = logs.logger()

REMEMBERED_SECONDS = 10.0
RETRY_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0

Status = Literal["ACTIVE", "COMPLETED", "LATE", "ARCHIVED", "MISSED"]


class CurrentEpochStatus(WireModel):
    id: str = Field(description="The epoch's id.", examples=["2026-11-22T04-00-00"])
    status: Status = Field(description="State of the epoch.", examples=["ACTIVE"])
    start_time: WireTime = Field(description="First instant of the epoch, UTC.")
    end_time: WireTime = Field(description="First instant after the epoch, UTC.")
    zipcode_count: int = Field(description="Number of zipcodes.", examples=[2])
    target_listings: int | None = Field(description="Target for the sum of listings of the epoch's zipcodes.")
    actual_expected: int | None = Field(description="Sum of the published listings of the epoch's zipcodes.")


class Timing(WireModel):
    """The time left, in whole seconds; null while no epoch runs."""

    time_until_epoch_end: int | None = Field(
        description="Seconds until the epoch ends; null while no epoch runs."
    )
    time_until_next_epoch: int | None = Field(
        description="Seconds until the next epoch starts; null while no epoch runs."
    )
    epoch_duration_hours: float | None = Field(description="Length of an epoch, hours.", examples=[4.0])


class NextEpoch(WireModel):
    start_time: WireTime | None = Field(description="First instant of the epoch, UTC.")


class EpochStatus(WireModel):
    current_epoch: CurrentEpochStatus | None = Field(description="The running epoch; null if there is none.")
    timing: Timing = Field(description="Time left in the epoch.")
    next_epoch: NextEpoch = Field(description="The next epoch.")


class Configuration(WireModel):
    """The selection rules of the newest committed inputs, without the weights."""

    target_listings: int = Field(description="Target for the sum of the zipcodes' listings.")
    tolerance_percent: int = Field(
        description="Largest difference between the sum and the target, percent of the target."
    )
    min_zipcode_listings: int = Field(description="Minimum listings of an eligible zipcode.")
    max_zipcode_listings: int = Field(description="Maximum listings of an eligible zipcode.")
    cooldown_hours: float = Field(description="Hours for which an assigned zipcode is not assigned again.")
    epoch_duration_hours: float = Field(description="Length of an epoch, hours.", examples=[4.0])


class ZipcodeStatistics(WireModel):
    """Statistics of zipcodes. The distributions count active zipcodes. `eligible_zipcodes` are those allowed
    by state and listings, whatever their age and cooldown, so that the number changes only with an import."""

    total_zipcodes: int = Field(description="Number of all zipcodes.", examples=[900])
    active_zipcodes: int = Field(description="Number of active zipcodes.", examples=[850])
    eligible_zipcodes: int | None = Field(
        description="Number of zipcodes allowed by state and listings, whatever their age and cooldown; it "
        "changes only with an import. Null before the first commitment."
    )
    state_distribution: dict[str, int] = Field(description="Active zipcodes by state.")
    tier_distribution: dict[str, int] = Field(description="Active zipcodes by market tier.")
    configuration: Configuration | None = Field(description="Selection rules, without the weights.")


class EpochPerformance(WireModel):
    """Statistics of one epoch. `miners_participated` counts miners that reported on the epoch;
    `completion_rate` is the share of them that completed it in time, 0 to 1."""

    epoch_id: str = Field(description="Start of the epoch, UTC, as YYYY-MM-DDTHH-MM-SS; ids sort by time.")
    status: Status = Field(
        description="ACTIVE while it runs, then COMPLETED, LATE (published after its end), ARCHIVED (details "
        "deleted) or MISSED (never prepared).",
        examples=["ACTIVE"],
    )
    zipcodes_assigned: int = Field(description="Number of zipcodes.", examples=[2])
    target_listings: int | None = Field(description="Target for the sum of listings of the epoch's zipcodes.")
    actual_expected: int | None = Field(description="Sum of the published listings of the epoch's zipcodes.")
    miners_participated: int = Field(description="Number of miners that reported.", examples=[3])
    completion_rate: float = Field(
        description="Share of these miners that completed the epoch in time, 0 to 1."
    )


class StatisticsReply(WireModel):
    success: Success = True
    current_time: WireTime = Field(description="Time of the reply, UTC.")
    system_status: HealthStatus = Field(description="`degraded` while no epoch runs.", examples=["ok"])
    epoch_status: EpochStatus = Field(description="The running and the next epoch.")
    zipcode_statistics: ZipcodeStatistics = Field(description="Statistics of zipcodes.")
    recent_performance: tuple[EpochPerformance, ...] = Field(description="The last epochs, newest first.")


@dataclass(slots=True)
class PublicStatistics:
    database: AsyncEngine
    clock: Clock
    current: CurrentEpoch
    _known: Statistics | None = field(default=None)
    _known_until: float = field(default=float("-inf"))
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reply(self) -> StatisticsReply:
        """Return the newest statistics. Raises ServiceError(SERVICE_UNAVAILABLE) if the database could never
        be read."""
        async with self._reading:
            if self.clock.monotonic() >= self._known_until:
                await self._read()
        if self._known is None:
            raise ServiceError(ErrorCode.SERVICE_UNAVAILABLE, "The database does not respond.")
        return statistics_reply(self._known, self.clock.now(), self.held())

    def held(self) -> StartedEpoch | None:
        """Return the running epoch in memory, in case the database is unavailable when an epoch starts."""
        running = self.current.running_or_none()
        if running is None:
            return None
        message = running.message
        return StartedEpoch(
            interval=EpochInterval(message.epoch_start, message.epoch_end),
            status="active",
            zipcode_count=message.metadata.zipcode_count,
            target_listings=message.target_listings,
            expected_listings=message.metadata.total_expected_listings,
            miners_participated=0,
            miners_completed=0,
            published_at=message.epoch_start,
        )

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS), self.database.connect() as connection:
                self._known = await read_statistics(connection)
        except DATABASE_ERRORS as error:
            log.warning("statistics_unread", error=type(error).__name__)
            self._known_until = self.clock.monotonic() + RETRY_SECONDS
            return
        # Do not cache beyond the epoch's end, because then there is a new epoch.
        running = _running(self._known, now := self.clock.now())
        left = (running.interval.end_at - now).total_seconds() if running else RETRY_SECONDS
        self._known_until = self.clock.monotonic() + min(REMEMBERED_SECONDS, left)


def statistics_reply(known: Statistics, now: datetime, held: StartedEpoch | None = None) -> StatisticsReply:
    """Return the reply. `held` is the running epoch in memory, used if the database does not have it yet."""
    running = _running(known, now) or held
    return StatisticsReply(
        current_time=now,
        system_status=HealthStatus.DEGRADED if running is None else HealthStatus.OK,
        epoch_status=_epoch_status(running, now),
        zipcode_statistics=_zipcode_statistics(known.zipcodes, known.rules, known.recent),
        recent_performance=tuple(
            EpochPerformance(
                epoch_id=epoch.interval.epoch_id,
                status=_status(epoch, now),
                zipcodes_assigned=epoch.zipcode_count,
                target_listings=epoch.target_listings,
                actual_expected=epoch.expected_listings,
                miners_participated=epoch.miners_participated,
                completion_rate=_rate(epoch),
            )
            for epoch in known.recent
        ),
    )


def _rate(epoch: StartedEpoch) -> float:
    """Return the share of the miners that reported and completed the epoch."""
    return round(epoch.miners_completed / max(1, epoch.miners_participated), 4)


def _running(known: Statistics, now: datetime) -> StartedEpoch | None:
    contain = (epoch for epoch in known.recent if epoch.interval.contains(now) and epoch.status != "missed")
    return next(contain, None)


def _status(epoch: StartedEpoch, now: datetime) -> Status:
    """Return the status by the clock: an epoch runs from its start to its end, even if its row is marked
    later."""
    if epoch.status == "missed":
        return "MISSED"
    if epoch.status == "archived":
        return "ARCHIVED"
    if now < epoch.interval.end_at:
        return "ACTIVE"
    return "LATE" if came_too_late(epoch.published_at, epoch.interval) else "COMPLETED"


def _epoch_status(running: StartedEpoch | None, now: datetime) -> EpochStatus:
    if running is None:
        timing = Timing(time_until_epoch_end=None, time_until_next_epoch=None, epoch_duration_hours=None)
        return EpochStatus(current_epoch=None, timing=timing, next_epoch=NextEpoch(start_time=None))
    interval = running.interval
    left = int((interval.end_at - now).total_seconds())
    return EpochStatus(
        current_epoch=CurrentEpochStatus(
            id=interval.epoch_id,
            status=_status(running, now),
            start_time=interval.start_at,
            end_time=interval.end_at,
            zipcode_count=running.zipcode_count,
            target_listings=running.target_listings,
            actual_expected=running.expected_listings,
        ),
        timing=Timing(
            time_until_epoch_end=left, time_until_next_epoch=left, epoch_duration_hours=_hours(running)
        ),
        next_epoch=NextEpoch(start_time=interval.end_at),
    )


def _zipcode_statistics(
    counts: ZipcodeCounts, rules: Rules | None, recent: tuple[StartedEpoch, ...]
) -> ZipcodeStatistics:
    return ZipcodeStatistics(
        total_zipcodes=counts.total,
        active_zipcodes=counts.active,
        eligible_zipcodes=counts.eligible,
        state_distribution=counts.by_state,
        tier_distribution=counts.by_tier,
        configuration=None if rules is None else _configuration(rules, recent[0]),
    )


def _configuration(rules: Rules, newest: StartedEpoch) -> Configuration:
    return Configuration(
        target_listings=rules.target_listings,
        tolerance_percent=rules.tolerance_percent,
        min_zipcode_listings=rules.min_zipcode_listings,
        max_zipcode_listings=rules.max_zipcode_listings,
        cooldown_hours=round(rules.cooldown.total_seconds() / 3600, 4),
        epoch_duration_hours=_hours(newest),
    )


def _hours(epoch: StartedEpoch) -> float:
    return round((epoch.interval.end_at - epoch.interval.start_at).total_seconds() / 3600, 4)
