"""Fetches the beacon's rounds for the scheduler, and sends drafts and sealed epochs.

Every fetched round is stored, so that all replicas draw with the same round. The fallback round of the next
epoch is fetched as soon as it is published, because no relay may be reachable later.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import nats.errors
from nats.aio.client import Client
from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.epochs.start_gate import sleep_until
from schedulers.stream.sealed_stream import SealedStream
from service import logs
from service.polling import Outage, poll
from storage.database import beacon_rounds, epochs
from storage.database.engine import DATABASE_ERRORS
from zipcast.client.relays import Relays
from zipcast.clock import Clock
from zipcast.protocol.beacon import Purpose
from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope
from zipcast.protocol.messages.epochs import Proof
from zipcast.protocol.sealing import SealedEpoch, open_sealed
from zipcast.protocol.subjects import DRAFT

log = logs.logger()

RETRY_SECONDS = 0.5
PAUSE_SECONDS = 0.25
POLL_SECONDS = 1.0
FLUSH_TIMEOUT_SECONDS = 2
# The time limit of a query. If a query takes longer, the database server is probably gone.
DATABASE_TIMEOUT_SECONDS = 15.0


class BeaconSide(Protocol):
    """Gives the preparation of epochs access to the beacon and to subscribers."""

    async def obtain(self, round_number: int, until: datetime) -> None:
        """Wait until the round is published and its signature is stored, but not longer than `until`. If the
        round is published after `until`, return at once."""
        ...

    async def pause(self) -> None:
        """Wait for a fraction of a second."""
        ...

    async def send(self, draft: Proof) -> bool:
        """Send a draft to all subscribers. Return whether it was sent."""
        ...

    async def sealed(self, epoch_id: str) -> SealedEpoch | None:
        """Return the sealed epoch that subscribers have, or None. Raises nats.errors.Error."""
        ...

    async def send_sealed(self, epoch_id: str, own: Proof) -> SealedEpoch | None:
        """Send a sealed epoch to all subscribers. If they already have another one for this epoch, send
        nothing and return that one; otherwise return None. Raises nats.errors.Error."""
        ...

    async def opened(self, sealed: SealedEpoch, until: datetime) -> UnverifiedEnvelope | None:
        """Wait for the round of a sealed epoch, and return its message. Return None if the round was not
        fetched by `until`, or if the message does not verify."""
        ...


class NoBeacon:
    """Has no access to the beacon or to subscribers. It is for commands that show an epoch and do not draw
    it."""

    async def obtain(self, round_number: int, until: datetime) -> None:
        return

    async def pause(self) -> None:
        return

    async def send(self, draft: Proof) -> bool:
        return False

    async def sealed(self, epoch_id: str) -> SealedEpoch | None:
        return None

    async def send_sealed(self, epoch_id: str, own: Proof) -> SealedEpoch | None:
        return None

    async def opened(self, sealed: SealedEpoch, until: datetime) -> UnverifiedEnvelope | None:
        return None


@dataclass(frozen=True, slots=True)
class Beacon:
    """Fetches rounds from relays, and sends drafts and sealed epochs over NATS."""

    database: AsyncEngine
    relays: Relays
    clock: Clock
    connection: Client
    seals: SealedStream
    trust: Trust

    async def obtain(self, round_number: int, until: datetime) -> None:
        """Ask the relays until `until`, or until this replica or another has stored the round. Raises
        DATABASE_ERRORS."""
        instant = self.relays.chain.instant(round_number)
        if instant > until:
            return
        await sleep_until(self.clock, instant)
        while not await self._is_stored(round_number):
            signature = await self.relays.signature(round_number)
            if signature is not None:
                await self._store(round_number, signature)
                return
            left = (until - self.clock.now()).total_seconds()
            if left <= 0:
                return
            await self.clock.sleep(min(left, RETRY_SECONDS))

    async def pause(self) -> None:
        await self.clock.sleep(PAUSE_SECONDS)

    async def _is_stored(self, round_number: int) -> bool:
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), self.database.connect() as connection:
            found = await beacon_rounds.stored_round(connection, self.relays.chain.name, round_number)
        return found is not None

    async def _store(self, round_number: int, signature: bytes) -> None:
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), self.database.begin() as connection:
            await beacon_rounds.store_round(connection, self.relays.chain.name, round_number, signature)

    async def send(self, draft: Proof) -> bool:
        try:
            await self.connection.publish(DRAFT, draft.to_bytes())
            await self.connection.flush(FLUSH_TIMEOUT_SECONDS)
        except (nats.errors.Error, OSError) as error:
            log.warning("draft_not_sent", error=type(error).__name__)
            return False
        return True

    async def sealed(self, epoch_id: str) -> SealedEpoch | None:
        return await self.seals.held(epoch_id)

    async def send_sealed(self, epoch_id: str, own: Proof) -> SealedEpoch | None:
        return await self.seals.send(epoch_id, own)

    async def opened(self, sealed: SealedEpoch, until: datetime) -> UnverifiedEnvelope | None:
        await self.obtain(sealed.round_number, until)
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), self.database.connect() as connection:
            name = self.relays.chain.name
            signature = await beacon_rounds.stored_round(connection, name, sealed.round_number)
        if signature is None:
            log.error("sealed_epoch_not_opened", epoch_id=sealed.epoch_id, reason="no relay has the round")
            return None
        try:
            return open_sealed(sealed, signature.hex(), self.trust).envelope
        except EnvelopeError as error:
            log.error("sealed_epoch_refused", epoch_id=sealed.epoch_id, reason=str(error))
            return None


@dataclass(frozen=True, slots=True)
class FallbackRounds:
    """Stores the fallback round of the next epoch, which is published in the middle of the running epoch."""

    beacon: Beacon
    failing: dict[str, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Run until cancelled."""
        outage = Outage(log, "fallback_round_not_stored", DATABASE_ERRORS, "fallback_round", self.failing)
        await poll(self.step, self.beacon.clock, POLL_SECONDS, outage)

    async def step(self) -> None:
        """Fetch the fallback round during the running epoch, and wait for the end of that epoch."""
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), self.beacon.database.connect() as connection:
            timeline = await epochs.timeline(connection, self.beacon.clock.now())
        running = timeline.running
        if running is None:
            return
        half = running.start_at + (running.end_at - running.start_at) / 2
        wanted = self.beacon.relays.chain.last_by(half, Purpose.FALLBACK)
        await self.beacon.obtain(wanted, running.end_at)
        await sleep_until(self.beacon.clock, running.end_at + timedelta(milliseconds=1))
