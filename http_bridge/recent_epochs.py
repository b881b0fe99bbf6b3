"""Shows when the last epochs were published, on `/` and `/ops`."""

from dataclasses import dataclass, field

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncEngine

from http_bridge.cached_replies import Remembered
from http_bridge.history import EndedStatus, ended_status, late_seconds
from service import logs
from service.database_reads import record_of
from storage.database.history import EpochTiming, ended_timings
from zipcast.clock import Clock
from zipcast.protocol.errors import ServiceError
from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.messages.epochs import BeaconKind

log = logs.logger()

SHOWN = 100
KEPT_SECONDS = 2.0
TIMEOUT_SECONDS = 2.0


class RecentEpoch(WireModel):
    epoch_id: str = Field(description="The epoch's id.")
    status: EndedStatus = Field(description="COMPLETED, LATE, ARCHIVED or MISSED.")
    late_ms: int | None = Field(description="Milliseconds from the start to the publication; null if missed.")
    beacon: BeaconKind | None = Field(description="Beacon round of the draw; null if missed.")


@dataclass(slots=True)
class RecentEpochs:
    """The newest ended epochs. While the database is unavailable, these are the last ones that were read."""

    database: AsyncEngine
    clock: Clock
    _kept: Remembered[tuple[RecentEpoch, ...]] = field(init=False)
    _last: tuple[RecentEpoch, ...] = field(default=())

    def __post_init__(self) -> None:
        self._kept = Remembered(self._read, self.clock, KEPT_SECONDS)

    async def newest(self) -> tuple[RecentEpoch, ...]:
        """Return up to SHOWN epochs, newest first."""
        return await self._kept.value()

    async def _read(self) -> tuple[RecentEpoch, ...]:
        try:
            async with record_of(self.database, TIMEOUT_SECONDS) as connection:
                found = await ended_timings(connection, SHOWN)
        except ServiceError as error:
            log.warning("recent_epochs_unread", error=str(error.code))
            return self._last
        self._last = tuple(_shown(timing) for timing in found)
        return self._last


def _shown(timing: EpochTiming) -> RecentEpoch:
    late = late_seconds(timing)
    return RecentEpoch(
        epoch_id=timing.interval.epoch_id,
        status=ended_status(timing),
        late_ms=None if late is None else round(late * 1000),
        beacon=timing.beacon,
    )
