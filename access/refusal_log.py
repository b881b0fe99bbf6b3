"""Writes refused requests to PostgreSQL: the sender, the verb and the error. In a flood, it writes only a
sample.

It never writes a signature, a body, or any other content of a request. It writes a hotkey only if its
signature was verified, because anyone can name another's hotkey.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from service import logs
from service.database_reads import RECORD_ERRORS, TIMEOUT_SECONDS
from service.polling import poll
from service.token_buckets import Bucket
from storage.database.engine import refuses_row
from storage.database.refusals import Refusal, record_refusals
from zipcast.clock import Clock
from zipcast.protocol.hotkeys import MalformedHotkeyError, parse_hotkey
from zipcast.protocol.verbs import ADMIN_VERBS

log = logs.logger()

EVERY_SECONDS = 1.0
# All refusals together fill at most 2 rows per second, about 40 MB per day. Each kind of refusal has a
# smaller limit, so that a flood of one kind leaves room for the other kinds.
ALL_BURST, ALL_PER_SECOND = 200.0, 2.0
KIND_BURST, KIND_PER_SECOND = 20.0, 0.2
MAX_WAITING = 1000
ACCEPTED = "accepted"


@dataclass(slots=True)
class Sampler:
    """Decides which refusals are written. It does no I/O. There are only a few kinds of refusals: one per
    verb and error code."""

    _all: Bucket = field(default_factory=lambda: Bucket(ALL_BURST, ALL_PER_SECOND, ALL_BURST, 0.0))
    _kinds: dict[tuple[str, str], Bucket] = field(default_factory=dict)
    _suppressed: dict[tuple[str, str], int] = field(default_factory=dict)

    def sample(self, refusal: Refusal, now: float) -> Refusal | None:
        """Return the refusal with the number of refusals left out before it, or None to leave it out too."""
        key = (refusal.verb, refusal.error)
        kind = self._kinds.setdefault(key, Bucket(KIND_BURST, KIND_PER_SECOND, KIND_BURST, now))
        for bucket in (self._all, kind):
            bucket.refill(now)
        if min(self._all.tokens, kind.tokens) < 1:
            self._suppressed[key] = self._suppressed.get(key, 0) + 1
            return None
        self._all.tokens -= 1
        kind.tokens -= 1
        return replace(refusal, suppressed=self._suppressed.pop(key, 0))


@dataclass(slots=True)
class RefusalTrail:
    """Writes refusals in the background, so that the reply to the client does not wait for the database."""

    process: str
    database: AsyncEngine
    clock: Clock
    lost: int = 0
    """The number of sampled refusals that were lost because the database was unavailable for too long."""
    _sampler: Sampler = field(default_factory=Sampler)
    _waiting: deque[Refusal] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))

    def note(self, *, verb: str, error: str, hotkey: object, source: str, request_id: str) -> None:
        refusal = Refusal(
            self.clock.now(), self.process, verb, error, well_formed(hotkey), source, request_id
        )
        sampled = self._sampler.sample(refusal, self.clock.monotonic())
        if sampled is not None:
            self.lost += len(self._waiting) == MAX_WAITING
            self._waiting.append(sampled)

    async def run(self) -> None:
        """Write waiting refusals repeatedly until cancelled."""
        await poll(self.write, self.clock, EVERY_SECONDS)

    async def write(self) -> None:
        """Write all waiting refusals in one statement. While PostgreSQL is unavailable, they keep waiting.

        If PostgreSQL rejects a row, drop it, so that it cannot block the others."""
        batch = list(self._waiting)
        if not batch:
            return
        try:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS), self.database.begin() as connection:
                    await record_refusals(connection, batch)
            except DBAPIError as error:
                if not refuses_row(error):
                    raise
                await self._write_each(batch)
                return
        except RECORD_ERRORS as error:
            log.warning("refusals_not_written", waiting=len(batch), error=type(error).__name__)
            return
        self._forget(len(batch))

    async def _write_each(self, batch: Sequence[Refusal]) -> None:
        """Write refusals one by one after PostgreSQL rejected them together, and drop those that it
        rejects."""
        for refusal in batch:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS), self.database.begin() as connection:
                    await record_refusals(connection, [refusal])
            except DBAPIError as error:
                if not refuses_row(error):
                    raise
                self.lost += 1
                log.error("refusal_dropped", verb=refusal.verb, error=type(error).__name__)
            self._forget(1)

    def _forget(self, written: int) -> None:
        for _ in range(min(written, len(self._waiting))):
            self._waiting.popleft()


def note_admin_request(verb: str, hotkey: object, source: str, result: str) -> None:
    """Log an admin request, with its hotkey if it was verified. `result` is `accepted` or the error code.
    Other requests are not logged."""
    if verb in ADMIN_VERBS:
        log.info("admin_command", command=verb, hotkey=well_formed(hotkey), source=source, result=result)


def well_formed(hotkey: object) -> str | None:
    """Return the text if it is a hotkey, otherwise None."""
    if not isinstance(hotkey, str):
        return None
    try:
        return parse_hotkey(hotkey)
    except MalformedHotkeyError:
        return None
