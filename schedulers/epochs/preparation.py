"""Prepares epochs in two steps: a draft, and a draw as soon as the epoch's round of the beacon is known.

The draft commits the epoch and the next one to their inputs (`schedulers.epochs.drafts`). The draw mixes the
beacon into the seed, selects the zipcodes, and signs the message, in one transaction. The rules are in the
pure packages `zipcast.selection` and `zipcast.protocol`.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schedulers.epochs.beacon import BeaconSide, NoBeacon
from schedulers.epochs.drafts import DraftedEpoch, Drafter
from schedulers.epochs.fault_points import NO_FAULTS, FaultPoint, FaultPoints
from schedulers.epochs.seed_secrets import Secrets
from schedulers.epochs.target_override import MAX_PAYLOAD_BYTES
from schedulers.epochs.zipcode_choice import ChosenEpoch, choose_epoch
from schedulers.metrics import SchedulerMetrics
from service import logs
from storage.database import epoch_changes, epoch_drafts, epochs, pending_epochs
from storage.database.epoch_changes import Preparation
from storage.database.epochs import StoredEpoch
from zipcast.protocol import envelope
from zipcast.protocol.beacon import BeaconRound, Chain, chain_of
from zipcast.protocol.calendar import EpochCalendar, EpochInterval
from zipcast.protocol.hotkeys import Hotkey, Signer
from zipcast.protocol.messages.epochs import (
    AssignedZipcode,
    BeaconKind,
    EpochBeacon,
    EpochMessage,
    EpochMetadata,
    Proof,
)
from zipcast.protocol.sealing import SealedEpoch, seal_epoch
from zipcast.selection import seeds
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.honeypots import Choice, HoneypotSettings
from zipcast.selection.model import SelectionSettings

log = logs.logger()

# The time limit of a step. A step that takes longer is waiting for a server that is gone; it is cancelled,
# logged and repeated.
STEP_TIMEOUT_SECONDS = 15.0


class EpochEndedError(Exception):
    """The epoch ended before it was prepared, so it is missed."""


class EpochsOverlapError(Exception):
    """An epoch of another length overlaps this one."""


class SealedEpochLostError(Exception):
    """Subscribers have a sealed epoch that the database lacks, and it could not be opened."""


class MessageTooLargeError(Exception):
    """The signed message would be too large for nats-server. Assign fewer or larger zipcodes."""


@dataclass(frozen=True, slots=True)
class ChainLink:
    """The links of a message: to the previous epoch and its seed, and to the inputs of the next epoch."""

    previous_epoch_id: str | None
    revealed_seed: str | None
    next_seed_commitment: str
    next_inputs_hash: str


@dataclass(frozen=True, slots=True)
class Preparer:
    """Prepares epochs of one subnet. Changed settings apply from the next epoch whose inputs are not
    committed yet."""

    database: AsyncEngine
    network: str
    netuid: int
    calendar: EpochCalendar
    settings: SelectionSettings
    secrets: Secrets
    signer: Signer
    metrics: SchedulerMetrics = field(default_factory=SchedulerMetrics)
    honeypots: HoneypotSettings = field(default_factory=HoneypotSettings)
    next_signer: Hotkey | None = None
    faults: FaultPoints = NO_FAULTS
    beacon: BeaconSide = field(default_factory=NoBeacon)

    @property
    def chain(self) -> Chain:
        """Return the beacon's chain for this network."""
        return chain_of(self.network)

    @property
    def drafter(self) -> Drafter:
        """Return the part that commits epochs to their inputs."""
        return Drafter(
            network=self.network,
            netuid=self.netuid,
            calendar=self.calendar,
            settings=self.settings,
            honeypots=self.honeypots,
            secrets=self.secrets,
            signer=self.signer,
            metrics=self.metrics,
            faults=self.faults,
        )

    def seed(self, epoch_id: str, secret_id: str) -> bytes:
        """Return the epoch's seed, which is secret until the epoch has ended. Raises UnknownSecretError."""
        return self.drafter.seed(epoch_id, secret_id)

    async def prepare(self, interval: EpochInterval) -> StoredEpoch:
        """Draft the epoch, wait for its round of the beacon, draw it, and send it sealed. Return the prepared
        epoch, which may have been there already. If subscribers have another sealed epoch, return the epoch
        that it contains, as soon as it can be opened.

        Raises the errors of `draft` and `draw`, nats.errors.Error, and SealedEpochLostError."""
        sealed = await self.beacon.sealed(interval.epoch_id)
        if sealed is None:
            stored = await self._draw_when_possible(interval)
            own = await self._own_seal(interval.epoch_id)
            sealed = None if own is None else await self.beacon.send_sealed(interval.epoch_id, own)
            if sealed is None:
                return stored
        return await self.as_sealed(interval, sealed)

    async def _draw_when_possible(self, interval: EpochInterval) -> StoredEpoch:
        while True:
            drafted = await self.draft(interval)
            if isinstance(drafted, StoredEpoch):
                return drafted
            await self.beacon.obtain(drafted.inputs.beacon.draw_round, drafted.decide_at)
            drawn = await self.draw(interval)
            if drawn is not None:
                return drawn
            # It is not time to draw yet, because PostgreSQL's clock decides, and it is behind this machine's
            # clock.
            await self.beacon.pause()

    async def _own_seal(self, epoch_id: str) -> Proof | None:
        """Return the sealed epoch of the database, or None if the epoch was opened already."""
        async with asyncio.timeout(STEP_TIMEOUT_SECONDS), self.database.connect() as connection:
            pending = await pending_epochs.pending_epoch(connection, epoch_id)
        return None if pending is None else pending.prepared.sealed

    async def as_sealed(self, interval: EpochInterval, sealed: SealedEpoch) -> StoredEpoch:
        """Return the epoch with the message that subscribers can open. If the database has another epoch that
        has not started, discard it. Raises SealedEpochLostError."""
        async with asyncio.timeout(STEP_TIMEOUT_SECONDS), self.database.begin() as connection:
            await epoch_changes.lock_preparation(connection)
            pending = await pending_epochs.pending_epoch(connection, interval.epoch_id)
            found = await epochs.prepared_epoch(connection, interval.epoch_id)
            if found is not None and (pending is None or pending.prepared.sealed == sealed.proof):
                return found
            if pending is not None:
                await pending_epochs.discard(connection, interval.epoch_id)
        log.error("database_lacked_sealed_epoch", epoch_id=interval.epoch_id)
        envelope = await self.beacon.opened(sealed, interval.end_at)
        if envelope is None:
            raise SealedEpochLostError(interval.epoch_id)
        return StoredEpoch(interval, "pending", envelope, None)

    async def prepare_if_due(self, interval: EpochInterval, now: datetime) -> None:
        """Draft the epoch, and draw it if its round is known already. Do not wait for the round. Raises the
        errors of `draft` and `draw`."""
        drafted = await self.draft(interval)
        if isinstance(drafted, DraftedEpoch):
            await self.beacon.obtain(drafted.inputs.beacon.draw_round, now)
            await self.draw(interval)

    async def draft(self, interval: EpochInterval) -> StoredEpoch | DraftedEpoch:
        """Commit the epoch, unless that was done before, and send its draft unless its round is known by now.
        Return the drafted epoch, or the prepared epoch if there is one.

        Raises EpochEndedError, EpochsOverlapError, NothingImportedError, PoolTooSmallError,
        UnknownSecretError."""
        async with asyncio.timeout(STEP_TIMEOUT_SECONDS), self.database.begin() as connection:
            await epoch_changes.lock_preparation(connection)
            found = await self._prepared(connection, interval)
            if found is not None:
                return found
            drafted = await self.drafter.commit(connection, interval)
            instant = self.chain.instant(drafted.inputs.beacon.draw_round)
            is_early = not drafted.is_promised and await epochs.database_now(connection) < instant
        if is_early and drafted.draft is not None and await self.beacon.send(drafted.draft):
            async with asyncio.timeout(STEP_TIMEOUT_SECONDS), self.database.begin() as connection:
                await epoch_drafts.mark_sent(connection, interval.epoch_id, instant)
        return drafted

    async def draw(self, interval: EpochInterval) -> StoredEpoch | None:
        """Draw a drafted epoch, sign it and store it. Return the prepared epoch, which may have been there
        already, or None if its round may still be published.

        Raises EpochEndedError, EpochsOverlapError, PoolTooSmallError, UnknownSecretError and
        MessageTooLargeError."""
        async with asyncio.timeout(STEP_TIMEOUT_SECONDS), self.database.begin() as connection:
            await epoch_changes.lock_preparation(connection)
            found = await self._prepared(connection, interval)
            if found is not None:
                return found
            drafted = await self.drafter.stored(connection, interval)
            if drafted is None:
                return None
            beacon = await self.drafter.usable_round(connection, drafted)
            if beacon is None and await epochs.database_now(connection) < drafted.decide_at:
                return None
            prepared = await self.build(connection, drafted, beacon)
            await pending_epochs.insert_prepared(connection, prepared)
            self.faults.reached(FaultPoint.BEFORE_PREPARE_COMMIT)
        self.faults.reached(FaultPoint.AFTER_PREPARE_COMMIT)
        self.metrics.prepared.inc()
        self._report_beacon(interval, prepared.message.beacon_kind)
        # Nothing else about the epoch may be logged before its start.
        log.info("epoch_prepared", epoch_id=interval.epoch_id)
        return StoredEpoch(interval, "pending", prepared.envelope, None)

    def _report_beacon(self, interval: EpochInterval, kind: BeaconKind) -> None:
        self.metrics.drawn.labels(kind).inc()
        if kind == "none":
            log.error("epoch_without_beacon", epoch_id=interval.epoch_id)
        elif kind == "fallback":
            log.warning("epoch_with_fallback_round", epoch_id=interval.epoch_id)

    async def _prepared(self, connection: AsyncConnection, interval: EpochInterval) -> StoredEpoch | None:
        found = await epochs.prepared_epoch(connection, interval.epoch_id)
        if found is not None:
            return found
        if await epochs.database_now(connection) >= interval.end_at:
            raise EpochEndedError(interval.epoch_id)
        if await epochs.overlaps_an_epoch(connection, interval):
            raise EpochsOverlapError(interval.epoch_id)
        return None

    async def is_drafted(self, interval: EpochInterval) -> bool:
        """Return whether the epoch is drafted already."""
        async with self.database.connect() as connection:
            return await self.drafter.stored(connection, interval) is not None

    async def build(
        self, connection: AsyncConnection, drafted: DraftedEpoch, beacon: BeaconRound | None
    ) -> Preparation:
        """Build the epoch as it is drawn with `beacon`, and write nothing. The caller must hold the lock for
        preparing epochs."""
        now = await epochs.database_now(connection)
        interval, inputs = drafted.interval, drafted.inputs
        draw_seed = seeds.derive_draw_seed(self.seed(interval.epoch_id, inputs.secret_id), beacon)
        chosen = await self._choose(connection, interval, inputs, draw_seed)
        choice = chosen.choice
        link = await self._link(connection, interval, drafted.following)
        message = self._message(drafted, choice, link, now, draw_seed, beacon)
        signed = envelope.seal(message, self.signer)
        if len(signed.payload) > MAX_PAYLOAD_BYTES:
            raise MessageTooLargeError(
                f"the message has {len(signed.payload)} bytes, more than {MAX_PAYLOAD_BYTES}"
            )
        return Preparation(
            envelope=signed,
            message=message,
            seed=self.seed(interval.epoch_id, inputs.secret_id),
            secret_id=inputs.secret_id,
            import_id=inputs.import_id,
            relaxed_cooldown=choice.selection.relaxed_cooldown,
            relaxed_age_days=choice.selection.relaxed_age_days,
            prepared_at=now,
            honeypots=chosen.drawn,
            sealed=seal_epoch(message, signed, self.signer),
        )

    async def _link(
        self, connection: AsyncConnection, interval: EpochInterval, following: bytes
    ) -> ChainLink:
        promised = SelectionInputs.from_bytes(following)
        commitment = seeds.seed_commitment(self.seed(promised.epoch_id, promised.secret_id))
        previous = await epochs.epoch_before(connection, interval.start_at)
        previous_id, revealed = None, None
        if previous is not None:
            previous_id = previous.epoch_id
            # The previous epoch's seed may be part of this message. The message becomes public when this
            # epoch starts. A constraint of the table prevents overlaps, so the previous epoch has ended
            # by then.
            revealed = await epochs.seed_of(connection, previous_id)
        return ChainLink(previous_id, revealed, commitment, seeds.inputs_hash(following))

    async def _choose(
        self, connection: AsyncConnection, interval: EpochInterval, inputs: SelectionInputs, draw_seed: bytes
    ) -> ChosenEpoch:
        chosen = await choose_epoch(connection, inputs, draw_seed, interval.start_at)
        # Log only the epoch id: the zipcodes of a future epoch, and even their number, must stay secret.
        if chosen.choice.selection.relaxed_age_days:
            log.warning("data_age_relaxed", epoch_id=interval.epoch_id)
        if chosen.choice.selection.relaxed_cooldown:
            log.warning("cooldown_relaxed", epoch_id=interval.epoch_id)
        return chosen

    def _message(
        self,
        drafted: DraftedEpoch,
        choice: Choice,
        link: ChainLink,
        issued_at: datetime,
        draw_seed: bytes,
        beacon: BeaconRound | None,
    ) -> EpochMessage:
        interval, inputs = drafted.interval, drafted.inputs
        # These are ordered by zipcode, because the order of the draw would reveal weights.
        chosen = choice.zipcodes
        commitment = seeds.seed_commitment(self.seed(interval.epoch_id, inputs.secret_id))
        picked = seeds.selected_zipcodes_hash((c.zipcode, c.expected_listings) for c in chosen)
        start = int(interval.start_at.timestamp())
        return EpochMessage(
            network=self.network,
            netuid=self.netuid,
            epoch_id=interval.epoch_id,
            epoch_start=interval.start_at,
            epoch_end=interval.end_at,
            nonce=seeds.derive_nonce(draw_seed, interval.epoch_id, start, picked),
            target_listings=inputs.settings.target_listings,
            tolerance_percent=inputs.settings.tolerance_percent,
            submission_deadline=interval.end_at,
            zipcodes=AssignedZipcode.all_of(chosen),
            metadata=EpochMetadata(
                total_expected_listings=choice.published_total,
                zipcode_count=len(chosen),
                algorithm_version=inputs.algorithm_version,
                seed_commitment=commitment,
            ),
            previous_epoch_id=link.previous_epoch_id,
            seed_commitment=commitment,
            next_seed_commitment=link.next_seed_commitment,
            next_inputs_hash=link.next_inputs_hash,
            revealed_seed=link.revealed_seed,
            candidate_pool_hash=seeds.candidate_pool_hash(choice.selection.pool),
            beacon=None if beacon is None else EpochBeacon.of(beacon),
            draft=drafted.draft,
            next_signer=self.next_signer,
            issued_at=issued_at,
        )
