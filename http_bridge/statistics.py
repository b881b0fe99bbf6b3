"""The body of `GET …/stats`: public numbers, counted in the record, remembered for some seconds.

Owns the shape and the memory. While the record is away, the last numbers are told.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncEngine

from http_bridge.history import came_too_late
from runtime import logs
from runtime.current_epoch import CurrentEpoch
from storage.database import DATABASE_ERRORS
from storage.statistics import Rules, StartedEpoch, Statistics, ZipcodeCounts, read_statistics
from zipcast.calendar import EpochInterval
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError
from zipcast.health import HealthStatus
from zipcast.messages import WireModel, WireTime

log = logs.logger()

REMEMBERED_SECONDS = 10.0
RETRY_SECONDS = 2.0
PATIENCE_SECONDS = 5.0

Status = Literal["ACTIVE", "COMPLETED", "LATE", "ARCHIVED", "MISSED"]


class CurrentEpochStatus(WireModel):
    id: str
    status: Status
    start_time: WireTime
    end_time: WireTime
    zipcode_count: int
    target_listings: int | None
    actual_expected: int | None


class Timing(WireModel):
    """Whole seconds; null while no epoch runs."""

    time_until_epoch_end: int | None
    time_until_next_epoch: int | None
    epoch_duration_hours: float | None


class NextEpoch(WireModel):
    start_time: WireTime | None


class EpochStatus(WireModel):
    current_epoch: CurrentEpochStatus | None
    timing: Timing
    next_epoch: NextEpoch


class Configuration(WireModel):
    """What the newest epoch was committed to, never the weights."""

    target_listings: int
    tolerance_percent: int
    min_zipcode_listings: int
    max_zipcode_listings: int
    cooldown_hours: float
    epoch_duration_hours: float


class ZipcodeStatistics(WireModel):
    """The distributions count active zipcodes. `eligible_zipcodes` may be drawn, whatever their age and
    cooldown: this number changes with an import only."""

    total_zipcodes: int
    active_zipcodes: int
    eligible_zipcodes: int | None
    state_distribution: dict[str, int]
    tier_distribution: dict[str, int]
    configuration: Configuration | None


class EpochPerformance(WireModel):
    """`miners_participated` reported on the epoch; `completion_rate` of those, 0 to 1, completed it in
    time."""

    epoch_id: str
    status: Status
    zipcodes_assigned: int
    target_listings: int | None
    actual_expected: int | None
    miners_participated: int
    completion_rate: float


class StatisticsReply(WireModel):
    success: Literal[True] = True
    current_time: WireTime
    system_status: HealthStatus
    epoch_status: EpochStatus
    zipcode_statistics: ZipcodeStatistics
    recent_performance: tuple[EpochPerformance, ...]


@dataclass(slots=True)
class PublicStatistics:
    database: AsyncEngine
    clock: Clock
    current: CurrentEpoch
    _known: Statistics | None = field(default=None)
    _known_until: float = field(default=float("-inf"))
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reply(self) -> StatisticsReply:
        """Raises ServiceError(SERVICE_UNAVAILABLE) if the record was never read."""
        async with self._reading:
            if self.clock.monotonic() >= self._known_until:
                await self._read()
        if self._known is None:
            raise ServiceError(ErrorCode.SERVICE_UNAVAILABLE, "The record does not answer.")
        return statistics_reply(self._known, self.clock.now(), self.held())

    def held(self) -> StartedEpoch | None:
        """The running epoch of memory, for when the record is away over a boundary."""
        try:
            message = self.current.running().message
        except ServiceError:
            return None
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
    """By the clock: an epoch runs from its start to its end, whenever its row is marked."""
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
