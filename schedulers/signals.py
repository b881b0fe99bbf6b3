"""Searches an epoch's reports, refusals and uploads for signals once the epoch is revealed.

`signal_rules` and a statement of `storage.database.honeypots` have the rules. Each epoch is searched once, by
the first replica that takes it. Signals are for validators to examine and have no other effect.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schedulers import signal_rules
from schedulers.signal_rules import LOOKED_BACK, Exactness, SignalSettings
from service import logs
from service.polling import Outage, poll
from storage.database import honeypots, signals
from storage.database.engine import DATABASE_ERRORS
from storage.database.honeypots import flag_hits
from storage.database.signals import MinerFacts, NewSignal
from zipcast.clock import Clock
from zipcast.protocol.calendar import EpochInterval, preparation_lead

log = logs.logger()

# Computing the signals of an epoch's uploads is attempted this many times. After that, the other signals of
# the epoch are stored without them.
MAX_UPLOAD_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Signals:
    database: AsyncEngine
    clock: Clock
    epoch_seconds: int
    settings: SignalSettings = field(default_factory=SignalSettings)
    _failures: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Search for signals until cancelled. If the database is unavailable, the work is done afterwards."""
        pause = preparation_lead(self.epoch_seconds).total_seconds()
        flagging, looking = [Outage(log, "signals_failed", DATABASE_ERRORS) for _ in range(2)]

        async def step() -> None:
            with flagging:
                await self.flag()
            with looking:
                await self.look_through()

        await poll(step, self.clock, pause)

    async def look_through(self) -> None:
        """Search all epochs that are due, until one fails. The next time, the failed epoch comes last."""
        while await self.look_next():
            pass

    async def flag(self) -> None:
        async with self.database.begin() as connection:
            compared, flagged = await flag_hits(connection)
        if compared:
            log.info("honeypots_compared", epochs=compared, hits=flagged)

    async def look_next(self) -> bool:
        """Search the oldest epoch that is due, or the next one if that failed more often. Return False if
        none is due."""
        async with self.database.begin() as connection:
            interval = await self._next(connection)
            if interval is None:
                return False
            self._failures[interval.epoch_id] += 1
            found = await self._found(connection, interval)
            found += await self._of_uploads_if_possible(connection, interval.epoch_id)
            await signals.note_signals(connection, interval.epoch_id, found)
        del self._failures[interval.epoch_id]
        log.info("signals_computed", epoch_id=interval.epoch_id, signals=len(found))
        return True

    async def _next(self, connection: AsyncConnection) -> EpochInterval | None:
        due = await signals.unlooked(connection)
        for interval in sorted(due, key=lambda one: (self._failures[one.epoch_id], one.end_at)):
            if await signals.lock_unlooked(connection, interval.epoch_id):
                return interval
        return None

    async def _found(self, connection: AsyncConnection, interval: EpochInterval) -> list[NewSignal]:
        found: list[NewSignal] = []
        for one in await signals.nonce_refusals(connection, interval):
            details = signal_rules.nonce_failures(one.refusals, one.suppressed, self.settings)
            if details is not None:
                found.append(NewSignal(one.hotkey, signal_rules.NONCE_FAILURES, details))
        epoch_ids = await signals.epochs_until(connection, interval.start_at, LOOKED_BACK)
        by_miner: dict[str, dict[str, MinerFacts]] = defaultdict(dict)
        for facts in await signals.miner_facts(connection, epoch_ids):
            by_miner[facts.hotkey][facts.epoch_id] = facts
        for reports in by_miner.values():
            # `epoch_ids`, and so the history, begins with the newest epoch. Skip miners that did not report
            # on the newest one.
            history = [reports[epoch_id] for epoch_id in epoch_ids if epoch_id in reports]
            if history[0].epoch_id == interval.epoch_id:
                found += self._of_reports(interval, history)
        return found

    async def _of_uploads_if_possible(self, connection: AsyncConnection, epoch_id: str) -> list[NewSignal]:
        """Return the signals of uploads. If this fails for the last of MAX_UPLOAD_ATTEMPTS times, log that
        and return none; before that, raise DATABASE_ERRORS."""
        try:
            async with connection.begin_nested():
                return await self._of_uploads(connection, epoch_id)
        except DATABASE_ERRORS as error:
            if self._failures[epoch_id] < MAX_UPLOAD_ATTEMPTS:
                raise
            log.warning("upload_signals_failed", epoch_id=epoch_id, error=type(error).__name__)
            return []

    async def _of_uploads(self, connection: AsyncConnection, epoch_id: str) -> list[NewSignal]:
        """Compare miners' uploads with the honeypots. A report can omit a honeypot, but the files reveal
        it."""
        revealed = await honeypots.revelation(connection, epoch_id)
        opened = {
            one.zipcode: signal_rules.FalseCount(one.real_listings, one.published_listings)
            for one in (revealed.honeypots if revealed else ())
            if not one.discarded
        }
        if not opened:
            return []
        published = await signals.published_counts(connection, epoch_id)
        uploads = await signals.uploaded_bytes(connection, epoch_id)
        compared = {
            hotkey: signal_rules.honeypot_uploads(uploaded, published, opened)
            for hotkey, uploaded in uploads.items()
        }
        return [
            NewSignal(hotkey, honeypots.HONEYPOT_HIT, details)
            for hotkey, details in compared.items()
            if details is not None
        ]

    def _of_reports(self, interval: EpochInterval, history: list[MinerFacts]) -> Iterator[NewSignal]:
        newest = history[0]
        if newest.completed_at is not None:
            details = signal_rules.implausible_speed(
                interval.start_at, newest.completed_at, newest.listings, self.settings
            )
            if details is not None:
                yield NewSignal(newest.hotkey, signal_rules.IMPLAUSIBLE_SPEED, details)
        exactness = [Exactness(one.epoch_id, one.reported, one.exact) for one in history]
        details = signal_rules.exact_target(exactness, self.settings)
        if details is not None:
            yield NewSignal(newest.hotkey, signal_rules.EXACT_TARGET, details)
