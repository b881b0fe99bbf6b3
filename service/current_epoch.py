"""Keeps the running epoch in memory: received live from NATS, checked against PostgreSQL twice a second.

Either source alone is enough; neither shows an epoch before its start, and bytes that do not verify are never
kept.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from nats.aio.msg import Msg
from sqlalchemy.ext.asyncio import AsyncEngine

from service import logs
from service.database_reads import PATIENCE_SECONDS, RECORD_ERRORS
from service.polling import Outage, poll
from storage.database import epochs
from zipcast.clock import Clock
from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope, VerifiedEpoch, verify
from zipcast.protocol.errors import ErrorCode, ServiceError

log = logs.logger()

CHECK_SECONDS = 0.5
LONGEST_AGE = 86_400.0
# A request at the boundary waits so long for the epoch that has started and is on its way.
BOUNDARY_SECONDS = 1.0


@dataclass(slots=True)
class CurrentEpoch:
    trust: Trust
    clock: Clock
    database: AsyncEngine
    _newest: VerifiedEpoch | None = field(default=None)
    _previous: VerifiedEpoch | None = field(default=None)
    """Still runs while our clock is a little behind the scheduler's, which announced the newest."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced, when an epoch is held."""
    _outage: Outage = field(default_factory=lambda: Outage(log, "record_unread", RECORD_ERRORS))
    _checked_at: float = field(default=float("-inf"))

    def unchecked_seconds(self) -> int:
        """Return the seconds since the database or a live message last confirmed the epoch; 0 unless both are
        away."""
        return max(0, int(min(self.clock.monotonic() - self._checked_at, LONGEST_AGE)))

    def running(self) -> VerifiedEpoch:
        """The epoch whose interval holds this instant. Raises ServiceError(NO_CURRENT_EPOCH)."""
        found = self.running_or_none()
        if found is None:
            raise ServiceError(ErrorCode.NO_CURRENT_EPOCH, "No epoch is running now.")
        return found

    def running_or_none(self) -> VerifiedEpoch | None:
        now = self.clock.now()
        for held in (self._newest, self._previous):
            if held is not None and held.message.epoch_start <= now < held.message.epoch_end:
                return held
        return None

    def has_heard_of(self, epoch_id: str) -> bool:
        """Return whether it is one of the two newest epochs that were received, and has started."""
        now = self.clock.now()
        return any(
            held is not None and held.message.epoch_id == epoch_id and held.message.epoch_start <= now
            for held in (self._newest, self._previous)
        )

    async def awaited(self) -> VerifiedEpoch:
        """Return the running epoch; in the first second after an epoch's end, wait for the next one, so that
        a client that asks at the very start gets it.

        Raises ServiceError(NO_CURRENT_EPOCH)."""
        try:
            return self.running()
        except ServiceError:
            left = self._boundary_seconds_left()
            if left <= 0:
                raise
        with suppress(TimeoutError):  # none came: what `running` says then
            async with asyncio.timeout(left):
                await self._news.wait()
        return self.running()

    def _boundary_seconds_left(self) -> float:
        if self._newest is None:
            return 0.0
        since = (self.clock.now() - self._newest.message.epoch_end).total_seconds()
        return BOUNDARY_SECONDS - since if since >= 0 else 0.0

    def offer(self, envelope: UnverifiedEnvelope) -> None:
        """Hold it if it verifies and is newer than what is held."""
        newest = self._newest
        if newest is not None and envelope.epoch_id <= newest.message.epoch_id:
            return
        try:
            self._newest, self._previous = verify(envelope, self.trust), newest
        except EnvelopeError as error:
            log.error("epoch_refused", epoch_id=envelope.epoch_id, reason=str(error))
        else:
            log.info("epoch_held", epoch_id=envelope.epoch_id)
            news, self._news = self._news, asyncio.Event()
            news.set()

    async def hear(self, message: Msg) -> None:
        """Subscriber of the epoch subject."""
        try:
            self.offer(UnverifiedEnvelope.from_headers(message.headers, message.data))
            self._checked_at = self.clock.monotonic()
        except EnvelopeError as error:
            log.error("epoch_refused", reason=str(error))

    async def check(self) -> None:
        """Compare with the record once. An unreachable record is logged once and asked again."""
        with self._outage:
            async with asyncio.timeout(PATIENCE_SECONDS), self.database.connect() as connection:
                stored = await epochs.running_epoch(connection)
            self._checked_at = self.clock.monotonic()
            if stored is not None:
                self.offer(stored.envelope)

    async def run(self) -> None:
        await poll(self.check, self.clock, CHECK_SECONDS)
