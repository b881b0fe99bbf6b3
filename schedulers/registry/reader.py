"""Reads the registry repeatedly and publishes it while the process runs.

This module decides when the source is read: at regular intervals, sooner if a reading needs confirmation,
after a growing pause if reading failed, and only if this replica has the lease.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from nats.errors import Error as NatsError

from schedulers.registry.confirmation import judge
from schedulers.registry.lease import ReaderTurn
from schedulers.registry.publisher import RegistryPublisher
from schedulers.registry.source import Reading, RegistrySource, RegistryUnreadableError
from service import logs
from service.polling import poll
from storage.database.engine import DATABASE_ERRORS
from zipcast.clock import Clock

log = logs.logger()

POLL_SECONDS = 0.5
STEP_SECONDS = 15.0
CLOSE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 5.0
# An unchanged registry file is published again after this time, so that the age of the snapshot shows when
# the file was last read.
REPUBLISH_AFTER = timedelta(minutes=5)
# The shortest time between two blocks: a local chain makes four blocks per second. Other chains make one
# block in twelve seconds.
MIN_BLOCK_SECONDS = 0.25
MAX_BLOCKS_AHEAD = 300
# If the newest block is older than this, the chain or the node has stopped.
STANDSTILL = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Pace:
    """The seconds between two readings, and before a confirming reading. After failures, the pause grows up
    to `read_seconds`."""

    read_seconds: float
    confirm_seconds: float


FILE_PACE = Pace(POLL_SECONDS, POLL_SECONDS)


@dataclass(slots=True)
class RegistryReader:
    """Reads and publishes the registry. `random` yields numbers in [0, 1), which spread the pauses after
    failures."""

    source: RegistrySource
    publisher: RegistryPublisher
    turn: ReaderTurn
    clock: Clock
    pace: Pace
    max_drop_percent: int
    random: Callable[[], float]
    failing: dict[str, str] = field(default_factory=dict)
    """Tasks that fail at present, with the type of the error, for the health page."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is a snapshot, or when the chain turned out to be unreadable. When the process starts,
    epochs wait for this event."""
    _next_at: float = field(default=float("-inf"), init=False)
    _failures: int = field(default=0, init=False)
    _previous: Reading | None = field(default=None, init=False)
    _complaints: dict[str, str] = field(default_factory=dict, init=False)

    async def run(self) -> None:
        try:
            await poll(self.step, self.clock, POLL_SECONDS)
        finally:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(self.source.close(), self.turn.close())

    async def step(self) -> None:
        """Check the published snapshot, and, if it is time, read the source and publish. A failure is logged
        and retried."""
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await self.publisher.look()
            if self.publisher.held is not None and not self.source.certain:
                self.settled.set()
            await self._read_if_due()
        except (NatsError, *DATABASE_ERRORS) as error:
            self._complain("publishing", error)
        else:
            self._worked("publishing")
        await self._keep()

    async def _read_if_due(self) -> None:
        held = self.publisher.held
        if not await self.turn.is_ours(None if held is None else held.taken_at):
            await self.source.close()
            self._previous = None
            # This replica is ready if there is a snapshot of another replica, which is as good as its own.
            if held is not None or not self.source.certain:
                self.settled.set()
            return
        if self.clock.monotonic() < self._next_at:
            return
        try:
            reading = await self.source.read()
            self._check_advance(reading)
        except RegistryUnreadableError as error:
            await self._failed(error)
            return
        self._failures = 0
        self._complaints.pop("reading", None)
        async with asyncio.timeout(STEP_SECONDS):
            await self._take(reading)
        self.settled.set()

    def _check_advance(self, reading: Reading) -> None:
        """Check the block number. Raises RegistryUnreadableError if the node is behind the published
        snapshot, does not advance, or is further ahead than is possible."""
        held, block = self.publisher.held, reading.block_number
        if held is None or block is None:
            return
        if block > held.block_number:
            # A false block number that is too high must not be accepted: all readings of honest nodes would
            # look older until the chain reaches that block.
            waited = max(0.0, (self.clock.now() - held.taken_at).total_seconds())
            if block - held.block_number > MAX_BLOCKS_AHEAD + waited / MIN_BLOCK_SECONDS:
                raise RegistryUnreadableError(
                    f"block {block} is too far ahead of the published block {held.block_number}"
                )
            return
        if block < held.block_number:
            raise RegistryUnreadableError(f"block {block} is older than the published {held.block_number}")
        if self.clock.now() - held.taken_at > STANDSTILL:
            raise RegistryUnreadableError(f"there is no newer block than {block}")

    async def _failed(self, error: RegistryUnreadableError) -> None:
        self._complain("reading", error)
        await self.source.distrust()
        grown = min(FIRST_PAUSE_SECONDS * 2**self._failures, self.pace.read_seconds)
        pause = max(grown * (0.5 + self.random() / 2), error.retry_after_seconds)
        self._failures = min(self._failures + 1, 16)
        self._next_at = self.clock.monotonic() + min(pause, self.pace.read_seconds)
        if not self.source.certain:
            self.settled.set()

    async def _take(self, reading: Reading) -> None:
        """Publish the accepted parts of a reading, and plan the next reading."""
        if self.source.certain:
            if self._is_news(reading):
                await self.publisher.publish(reading, self.clock.now())
            self._plan(self.pace.read_seconds)
            return
        published, previous = self.publisher.held, self._previous
        if published is not None and reading.block_number == published.block_number:
            self._plan(self.pace.confirm_seconds)
            return
        verdict = judge(
            None if published is None else published.neurons,
            None if previous is None or previous.block_number == reading.block_number else previous.neurons,
            reading.neurons,
            self.max_drop_percent,
        )
        if not verdict.is_final:
            log.warning(
                "registry_awaits_confirmation",
                departures=verdict.departures,
                permits=verdict.permits,
                losses=verdict.losses,
            )
        if verdict.neurons is not None:
            await self.publisher.publish(replace(reading, neurons=verdict.neurons), self.clock.now())
        self._previous = reading
        self._plan(self.pace.read_seconds if verdict.is_final else self.pace.confirm_seconds)

    def _is_news(self, reading: Reading) -> bool:
        held = self.publisher.held
        return (
            held is None
            or held.neurons != reading.neurons
            or self.clock.now() - held.taken_at >= REPUBLISH_AFTER
        )

    def _plan(self, seconds: float) -> None:
        self._next_at = self.clock.monotonic() + seconds

    async def _keep(self) -> None:
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await self.publisher.keep()
        except DATABASE_ERRORS as error:
            self._complain("keeping", error)
        else:
            self._worked("keeping")

    def _complain(self, of: str, error: Exception) -> None:
        """Log a failure once for each cause."""
        complaint = f"{type(error).__name__}: {error}"
        if complaint != self._complaints.get(of):
            log.error("registry_not_published", at=of, error=type(error).__name__, reason=str(error))
        self._complaints[of] = complaint
        self.failing[f"registry_{of}"] = type(error).__name__

    def _worked(self, of: str) -> None:
        self._complaints.pop(of, None)
        self.failing.pop(f"registry_{of}", None)
