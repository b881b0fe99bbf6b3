"""The body of `GET …/stats`: public numbers, counted in the record, remembered for some seconds.

Owns the shape and the memory. While the record is away, the last numbers are told.
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
PATIENCE_SECONDS = 5.0

Status = Literal["ACTIVE", "COMPLETED", "LATE", "ARCHIVED", "MISSED"]


class CurrentEpochStatus(WireModel):
    id: str = Field(description="The epoch's id.", examples=["2026-11-22T04-00-00"])
    status: Status = Field(description="Where the epoch is in its life.", examples=["ACTIVE"])
    start_time: WireTime = Field(description="First instant, UTC.")
    end_time: WireTime = Field(description="First instant after it, UTC.")
    zipcode_count: int = Field(description="How many zipcodes the epoch has.", examples=[2])
    target_listings: int | None = Field(
        description="Listings the zipcodes of the epoch should hold together."
    )
    actual_expected: int | None = Field(
        description="Listings that the epoch's zipcodes hold together, as published."
    )


class Timing(WireModel):
    """Whole seconds; null while no epoch runs."""

    time_until_epoch_end: int | None = Field(description="Whole seconds; null while no epoch runs.")
    time_until_next_epoch: int | None = Field(description="Whole seconds; null while no epoch runs.")
    epoch_duration_hours: float | None = Field(description="Length of an epoch, hours.", examples=[4.0])


class NextEpoch(WireModel):
    start_time: WireTime | None = Field(description="First instant, UTC.")


class EpochStatus(WireModel):
    current_epoch: CurrentEpochStatus | None = Field(
        description="The epoch that runs now; null where none does."
    )
    timing: Timing = Field(description="What is left of the epoch.")
    next_epoch: NextEpoch = Field(description="When the next epoch begins.")


class Configuration(WireModel):
    """The rules that the newest epoch was committed to, without the weights."""

    target_listings: int = Field(description="Listings the zipcodes of the epoch should hold together.")
    tolerance_percent: int = Field(description="How far the sum may lie from the target, percent.")
    min_zipcode_listings: int = Field(description="Least listings of a zipcode that may be drawn.")
    max_zipcode_listings: int = Field(description="Most listings of a zipcode that may be drawn.")
    cooldown_hours: float = Field(description="How long a zipcode rests after it was drawn, hours.")
    epoch_duration_hours: float = Field(description="Length of an epoch, hours.", examples=[4.0])


class ZipcodeStatistics(WireModel):
    """The distributions count active zipcodes. `eligible_zipcodes` may be drawn, whatever their age and
    cooldown: this number changes with an import only."""

    total_zipcodes: int = Field(description="All zipcodes that are known.", examples=[900])
    active_zipcodes: int = Field(description="Those that may be drawn at all.", examples=[850])
    eligible_zipcodes: int | None = Field(
        description="Those that may be drawn, whatever their age and cooldown; changes with an import only. "
        "Null where no epoch was committed to."
    )
    state_distribution: dict[str, int] = Field(description="Active zipcodes by state.")
    tier_distribution: dict[str, int] = Field(description="Active zipcodes by market tier.")
    configuration: Configuration | None = Field(description="Rules of the newest epoch, without weights.")


class EpochPerformance(WireModel):
    """`miners_participated` reported on the epoch; `completion_rate` of those, 0 to 1, completed it in
    time."""

    epoch_id: str = Field(description="Start of the epoch, UTC, as YYYY-MM-DDTHH-MM-SS; ids sort by time.")
    status: Status = Field(description="Where the epoch is in its life.", examples=["ACTIVE"])
    zipcodes_assigned: int = Field(description="How many zipcodes the epoch had.", examples=[2])
    target_listings: int | None = Field(
        description="Listings the zipcodes of the epoch should hold together."
    )
    actual_expected: int | None = Field(
        description="Listings that the epoch's zipcodes hold together, as published."
    )
    miners_participated: int = Field(description="Miners that reported on the epoch.", examples=[3])
    completion_rate: float = Field(description="Share of those that completed it, 0 to 1.")


class StatisticsReply(WireModel):
    success: Success = True
    current_time: WireTime = Field(description="Now, UTC.")
    system_status: HealthStatus = Field(description="`degraded` while no epoch runs.", examples=["ok"])
    epoch_status: EpochStatus = Field(description="The running epoch and when the next begins.")
    zipcode_statistics: ZipcodeStatistics = Field(description="Numbers of zipcodes.")
    recent_performance: tuple[EpochPerformance, ...] = Field(
        description="The newest epochs that have started, newest first."
    )


@dataclass(slots=True)
class PublicStatistics:
    database: AsyncEngine
    clock: Clock
    current: CurrentEpoch
    _known: Statistics | None = field(default=None)
    _known_until: float = field(default=float("-inf"))
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reply(self) -> StatisticsReply:
        """Return the newest numbers. Raises ServiceError(SERVICE_UNAVAILABLE) if the database was never
        read."""
        async with self._reading:
            if self.clock.monotonic() >= self._known_until:
                await self._read()
        if self._known is None:
            raise ServiceError(ErrorCode.SERVICE_UNAVAILABLE, "The record does not answer.")
        return statistics_reply(self._known, self.clock.now(), self.held())

    def held(self) -> StartedEpoch | None:
        """The running epoch of memory, for when the record is away over a boundary."""
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
            async with asyncio.timeout(PATIENCE_SECONDS), self.database.connect() as connection:
                self._known = await read_statistics(connection)
        except DATABASE_ERRORS as error:
            log.warning("statistics_unread", error=type(error).__name__)
            self._known_until = self.clock.monotonic() + RETRY_SECONDS
            return
        # Not beyond the epoch's end: what follows it is news.
        running = _running(self._known, now := self.clock.now())
        left = (running.interval.end_at - now).total_seconds() if running else RETRY_SECONDS
        self._known_until = self.clock.monotonic() + min(REMEMBERED_SECONDS, left)


def statistics_reply(known: Statistics, now: datetime, held: StartedEpoch | None = None) -> StatisticsReply:
    """`held`: the running epoch of memory, which counts where the record has none yet."""
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
    """The share of the miners that reported which completed the epoch."""
    return round(epoch.miners_completed / max(1, epoch.miners_participated), 4)


def _running(known: Statistics, now: datetime) -> StartedEpoch | None:
    contain = (epoch for epoch in known.recent if epoch.interval.contains(now) and epoch.status != "missed")
    return next(contain, None)


def _status(epoch: StartedEpoch, now: datetime) -> Status:
    """Return the status by the clock: an epoch runs from its start to its end, whenever its row is marked."""
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
