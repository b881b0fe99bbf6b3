"""Keeps the running epoch in memory. It is received from NATS, and compared with PostgreSQL twice a second.
One of the two sources is enough. Neither provides an epoch before its start, and only verified epochs are
kept.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from nats.aio.msg import Msg
from sqlalchemy.ext.asyncio import AsyncEngine

from service import logs
from service.database_reads import RECORD_ERRORS, TIMEOUT_SECONDS
from service.polling import Outage, poll
from storage.database import epochs
from zipcast.clock import Clock
from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope, VerifiedEpoch, verify
from zipcast.protocol.errors import ErrorCode, ServiceError

log = logs.logger()

CHECK_SECONDS = 0.5
MAX_AGE = 86_400.0
# Around an epoch's start, a request waits at most this long for the new epoch to arrive.
BOUNDARY_SECONDS = 1.0
# How long, and how often, the database is read for an epoch that has just been published.
OPENING_SECONDS, OPENING_READS = 2.0, 20

Result = TypeVar("Result")


@dataclass(slots=True)
class CurrentEpoch:
    """The running epoch, and the epoch before it."""

    trust: Trust
    clock: Clock
    database: AsyncEngine
    _newest: VerifiedEpoch | None = field(default=None)
    _previous: VerifiedEpoch | None = field(default=None)
    """The epoch before the newest one. It is still the running epoch if the local clock is behind the
    scheduler's."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a new epoch is kept, and then replaced by a new event."""
    _outage: Outage = field(default_factory=lambda: Outage(log, "record_unread", RECORD_ERRORS))
    _checked_at: float = field(default=float("-inf"))

    def unchecked_seconds(self) -> int:
        """Return how many seconds ago the database or a message last confirmed the epoch; 0 unless both NATS
        and PostgreSQL are unavailable."""
        return max(0, int(min(self.clock.monotonic() - self._checked_at, MAX_AGE)))

    def running(self) -> VerifiedEpoch:
        """Return the epoch that contains the present time. Raises ServiceError(NO_CURRENT_EPOCH)."""
        found = self.running_or_none()
        if found is None:
            raise ServiceError(ErrorCode.NO_CURRENT_EPOCH, "No epoch is running now.")
        return found

    def running_or_none(self) -> VerifiedEpoch | None:
        """Return the epoch that contains the present time, or None."""
        now = self.clock.now()
        for held in (self._newest, self._previous):
            if held is not None and held.message.epoch_start <= now < held.message.epoch_end:
                return held
        return None

    def has_received(self, epoch_id: str) -> bool:
        """Return whether the epoch is one of the two newest that were received, and has started."""
        now = self.clock.now()
        return any(
            held is not None and held.message.epoch_id == epoch_id and held.message.epoch_start <= now
            for held in (self._newest, self._previous)
        )

    async def when_stored(self, epoch_id: str, read: Callable[[], Awaitable[Result]]) -> Result:
        """Return the result of `read`, which reads the epoch from the database. An epoch can arrive before
        its row in the database can be read. If `read` does not find an epoch that was received, read again
        for two seconds.

        Raises the errors of `read`, and ServiceError(SERVICE_UNAVAILABLE) if it is still not found."""
        for _ in range(OPENING_READS):
            try:
                return await read()
            except ServiceError as error:
                if error.code is not ErrorCode.EPOCH_NOT_FOUND or not self.has_received(epoch_id):
                    raise
            await self.clock.sleep(OPENING_SECONDS / OPENING_READS)
        raise ServiceError(
            ErrorCode.SERVICE_UNAVAILABLE,
            "The epoch has just started and is not ready yet.",
            retry_after_seconds=1,
        )

    def has_reached(self, epoch_id: str) -> bool:
        """Return whether this epoch or a later one was received."""
        return self._newest is not None and self._newest.message.epoch_id >= epoch_id

    async def awaited(self) -> VerifiedEpoch:
        """Return the running epoch. In the first second after an epoch's end, wait for the next one, so that
        a client that sends its request exactly at the start gets it.

        Raises ServiceError(NO_CURRENT_EPOCH)."""
        try:
            return self.running()
        except ServiceError:
            left = self._boundary_seconds_left()
            if left <= 0:
                raise
        with suppress(TimeoutError):  # if none arrives, `running` decides
            async with asyncio.timeout(left):
                await self._news.wait()
        return self.running()

    def _boundary_seconds_left(self) -> float:
        if self._newest is None:
            return 0.0
        since = (self.clock.now() - self._newest.message.epoch_end).total_seconds()
        return BOUNDARY_SECONDS - since if since >= 0 else 0.0

    def offer(self, envelope: UnverifiedEnvelope) -> None:
        """Keep the epoch if it verifies and is newer than the one kept so far."""
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

    async def receive(self, message: Msg) -> None:
        """Receive a message of the epoch subject."""
        try:
            self.offer(UnverifiedEnvelope.from_headers(message.headers, message.data))
            self._checked_at = self.clock.monotonic()
        except EnvelopeError as error:
            log.error("epoch_refused", reason=str(error))

    async def check(self) -> None:
        """Compare the epoch with the database once. If the database is unavailable, log that once and
        continue."""
        with self._outage:
            async with asyncio.timeout(TIMEOUT_SECONDS), self.database.connect() as connection:
                stored = await epochs.running_epoch(connection)
            self._checked_at = self.clock.monotonic()
            if stored is not None:
                self.offer(stored.envelope)

    async def run(self) -> None:
        await poll(self.check, self.clock, CHECK_SECONDS)
