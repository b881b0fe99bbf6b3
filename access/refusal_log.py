"""Writes refused requests to PostgreSQL: the sender, the verb and the error. Sampled under flood.

Decides what is written and what is left out. Never a signature, a body, or anything that was asked for beyond
the verb. A hotkey is written only if it was verified: anybody can name another's.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from service import logs
from service.database_reads import PATIENCE_SECONDS, RECORD_ERRORS
from service.polling import poll
from service.token_buckets import Bucket
from storage.database.engine import refuses_row
from storage.database.refusals import Refusal, record_refusals
from zipcast.clock import Clock
from zipcast.protocol.hotkeys import MalformedHotkeyError, parse_hotkey
from zipcast.protocol.verbs import ADMIN_VERBS

log = logs.logger()

EVERY_SECONDS = 1.0
# At worst 2 rows a second, some 40 MB a day; a flood of one kind leaves room for the others.
ALL_BURST, ALL_PER_SECOND = 200.0, 2.0
KIND_BURST, KIND_PER_SECOND = 20.0, 0.2
MOST_WAITING = 1000
ACCEPTED = "accepted"


@dataclass(slots=True)
class Sampler:
    """Decides which refusals are written. Pure but for its own state; kinds are few: verbs times codes."""

    _all: Bucket = field(default_factory=lambda: Bucket(ALL_BURST, ALL_PER_SECOND, ALL_BURST, 0.0))
    _kinds: dict[tuple[str, str], Bucket] = field(default_factory=dict)
    _suppressed: dict[tuple[str, str], int] = field(default_factory=dict)

    def sample(self, refusal: Refusal, now: float) -> Refusal | None:
        """The refusal with the count of those left out before it, or None if it is left out too."""
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
    """Writes in the background: a refusal costs the refused nothing but a place in a queue."""

    process: str
    database: AsyncEngine
    clock: Clock
    lost: int = 0
    """The number of sampled refusals that could not be written, since the database was away for long."""
    _sampler: Sampler = field(default_factory=Sampler)
    _waiting: deque[Refusal] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))

    def note(self, *, verb: str, error: str, hotkey: object, source: str, request_id: str) -> None:
        refusal = Refusal(
            self.clock.now(), self.process, verb, error, well_formed(hotkey), source, request_id
        )
        sampled = self._sampler.sample(refusal, self.clock.monotonic())
        if sampled is not None:
            self.lost += len(self._waiting) == MOST_WAITING
            self._waiting.append(sampled)

    async def run(self) -> None:
        """Write again and again until cancelled."""
        await poll(self.write, self.clock, EVERY_SECONDS)

    async def write(self) -> None:
        """Write what waits, in one statement. While PostgreSQL is away it goes on waiting.

        A row that PostgreSQL does not take is dropped, so that it cannot hold up the others."""
        batch = list(self._waiting)
        if not batch:
            return
        try:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS), self.database.begin() as connection:
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
        """Write one by one what PostgreSQL refused together, and drop the rows that it does not take."""
        for refusal in batch:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS), self.database.begin() as connection:
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
    """Write a log line for an admin request, accepted or refused (`result`: its error code), with the hotkey
    if it was verified; for other requests none."""
    if verb in ADMIN_VERBS:
        log.info("admin_command", command=verb, hotkey=well_formed(hotkey), source=source, result=result)


def well_formed(hotkey: object) -> str | None:
    """Return the text if it is a hotkey, else None."""
    if not isinstance(hotkey, str):
        return None
    try:
        return parse_hotkey(hotkey)
    except MalformedHotkeyError:
        return None
