"""Preparing an epoch: from committed inputs to a signed message, in one transaction.

Owns the order of steps and what is written together. The rules themselves are pure and live in
`zipcast.selection.select`, `zipcast.selection.seeds` and `zipcast.protocol.envelope`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schedulers.epochs.fault_points import NO_FAULTS, FaultPoint, FaultPoints
from schedulers.epochs.seed_secrets import Secrets
from schedulers.epochs.target_override import MAX_PAYLOAD_BYTES, import_in_force, settings_of
from schedulers.epochs.zipcode_choice import ChosenEpoch, choose_epoch, publish_import
from schedulers.metrics import SchedulerMetrics
from service import logs
from storage.database import epoch_changes, epoch_inputs, epochs, pending_epochs, published_zipcodes
from storage.database.epoch_changes import Preparation
from storage.database.epochs import StoredEpoch
from zipcast.protocol import envelope
from zipcast.protocol.calendar import EpochCalendar, EpochInterval
from zipcast.protocol.hotkeys import Hotkey, Signer
from zipcast.protocol.messages.epochs import AssignedZipcode, EpochMessage, EpochMetadata
from zipcast.selection import seeds
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.honeypots import Choice, HoneypotSettings
from zipcast.selection.model import SelectionSettings

log = logs.logger()

# An epoch that starts within this time is left as it is: schedulers read the message that they will publish
# up to two seconds before its start.
REGENERATION_MARGIN = timedelta(seconds=3)


class EpochEndedError(Exception):
    """The epoch ended before it was prepared: it is missed, and nothing is invented."""


class EpochsOverlapError(Exception):
    """An epoch of another length lies across this one."""


class EpochNotPendingError(Exception):
    """The epoch is not prepared, or it has started, or it is about to."""


class RegenerationDiffersError(Exception):
    """Made anew, the epoch would differ from the prepared one: its inputs were changed."""


class MessageTooLargeError(Exception):
    """The signed message would exceed what nats-server takes; assign fewer or larger zipcodes."""


@dataclass(frozen=True, slots=True)
class ChainLink:
    """The ties of a message to its neighbours: the epoch before it with its seed, the inputs of the next."""

    previous_epoch_id: str | None
    revealed_seed: str | None
    next_seed_commitment: str
    next_inputs_hash: str


@dataclass(frozen=True, slots=True)
class Preparer:
    """Prepares epochs of one subnet. Settings act from the next epoch that is not committed yet."""

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

    async def prepare(self, interval: EpochInterval) -> StoredEpoch:
        """The prepared epoch: this call's, or the one that was there already.

        Raises EpochEndedError, EpochsOverlapError, NothingImportedError, PoolTooSmallError,
        UnknownSecretError, MessageTooLargeError."""
        async with self.database.begin() as connection:
            await epoch_changes.lock_preparation(connection)
            found = await epochs.prepared_epoch(connection, interval.epoch_id)
            if found is not None:
                return found
            if await epochs.database_now(connection) >= interval.end_at:
                raise EpochEndedError(interval.epoch_id)
            if await epochs.overlaps_an_epoch(connection, interval):
                raise EpochsOverlapError(interval.epoch_id)
            self.faults.reached(FaultPoint.BEFORE_PREPARE)
            prepared = await self.build(connection, interval)
            await pending_epochs.insert_prepared(connection, prepared)
            self.faults.reached(FaultPoint.BEFORE_PREPARE_COMMIT)
        self.faults.reached(FaultPoint.AFTER_PREPARE_COMMIT)
        self.metrics.prepared.inc()
        log.info("epoch_prepared", epoch_id=interval.epoch_id)  # nothing of it is logged before its start
        return StoredEpoch(interval, "pending", prepared.envelope, None)

    async def regenerate(self, epoch_id: str) -> None:
        """Make the message of an epoch that has not started anew, from its committed inputs, and sign it. The
        same inputs and seed give the same epoch; new are the signature, the time of issue, and the link to
        the epoch before, if that was given up meanwhile.

        Raises EpochNotPendingError, RegenerationDiffersError, UnknownSecretError."""
        async with self.database.begin() as connection:
            await epoch_changes.lock_preparation(connection)
            found = await pending_epochs.pending_epoch(connection, epoch_id)
            if found is None:
                raise EpochNotPendingError(f"{epoch_id} is not prepared, or has started")
            latest = found.interval.start_at - REGENERATION_MARGIN
            if await epochs.database_now(connection) >= latest:
                raise EpochNotPendingError(f"{epoch_id} starts now, or has started")
            prepared = await self.build(connection, found.interval)
            if _without_links(found.prepared.message) != _without_links(prepared.message):
                raise RegenerationDiffersError(epoch_id)
            # Building has taken its time: what is published must not be replaced.
            earlier = (*found.prepared.replaced, found.prepared.envelope)
            if not await pending_epochs.replace_prepared(
                connection, replace(prepared, replaced=earlier), latest
            ):
                raise EpochNotPendingError(f"{epoch_id} starts now, or has started")
        log.info("epoch_regenerated", epoch_id=epoch_id)

    async def build(self, connection: AsyncConnection, interval: EpochInterval) -> Preparation:
        """The epoch as it would be prepared now; of all that, only its inputs are written. The caller holds
        the lock under which epochs are prepared."""
        now = await epochs.database_now(connection)
        inputs = await self._inputs(connection, interval, now)
        chosen = await self._choose(connection, interval, inputs)
        choice = chosen.choice
        following = await self._commit_following(connection, interval, inputs, now)
        link = await self._link(connection, interval, following)
        message = self._message(interval, choice, inputs, link, now)
        sealed = envelope.seal(message, self.signer)
        if len(sealed.payload) > MAX_PAYLOAD_BYTES:
            raise MessageTooLargeError(f"{len(sealed.payload)} bytes, at most {MAX_PAYLOAD_BYTES}")
        return Preparation(
            envelope=sealed,
            message=message,
            seed=self.seed(interval.epoch_id, inputs.secret_id),
            secret_id=inputs.secret_id,
            import_id=inputs.import_id,
            relaxed_cooldown=choice.selection.relaxed_cooldown,
            relaxed_age_days=choice.selection.relaxed_age_days,
            prepared_at=now,
            honeypots=chosen.drawn,
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
            # Epochs do not overlap (a constraint of the table), so this one has ended at the start.
            revealed = await epochs.seed_of(connection, previous_id)
        return ChainLink(previous_id, revealed, commitment, seeds.inputs_hash(following))

    def seed(self, epoch_id: str, secret_id: str) -> bytes:
        """The epoch's seed: secret until the epoch has ended. Raises UnknownSecretError."""
        return seeds.derive_seed(self.secrets.key(secret_id), self.network, self.netuid, epoch_id)

    def _salt(self, epoch_id: str, secret_id: str) -> str:
        return seeds.derive_salt(self.secrets.key(secret_id), self.network, self.netuid, epoch_id).hex()

    async def _inputs(
        self, connection: AsyncConnection, interval: EpochInterval, now: datetime
    ) -> SelectionInputs:
        """Those committed to in the previous message, or today's where there was none."""
        stored = await epoch_inputs.committed_inputs(connection, interval.epoch_id)
        if stored is None:
            drafted = await self.draft_inputs(connection, interval, self.secrets.current, ())
            stored = await epoch_inputs.commit_inputs(connection, interval.epoch_id, drafted.to_bytes(), now)
        return SelectionInputs.from_bytes(stored)

    async def _commit_following(
        self, connection: AsyncConnection, interval: EpochInterval, inputs: SelectionInputs, now: datetime
    ) -> bytes:
        following = self.calendar.first_from(interval.end_at)
        drafted = await self.draft_inputs(connection, following, self.secrets.current, (inputs.epoch_id,))
        return await epoch_inputs.commit_inputs(connection, following.epoch_id, drafted.to_bytes(), now)

    async def draft_inputs(
        self, connection: AsyncConnection, interval: EpochInterval, secret_id: str, including: Sequence[str]
    ) -> SelectionInputs:
        """Return the inputs that the epoch would be committed to now, with the epochs `including` in its
        history."""
        import_id = await import_in_force(connection)
        keys = seeds.ImportKeys(self.secrets.key(secret_id), self.network, self.netuid, import_id)
        await publish_import(connection, import_id, self.settings, self.honeypots, keys)
        zipcodes = await published_zipcodes.load(connection, import_id, {})
        self.metrics.honeypots_opened.set(await published_zipcodes.opened_share(connection, import_id))
        start = interval.start_at
        history = await epochs.assigned_epoch_ids(connection, start - self.settings.cooldown, start)
        return SelectionInputs(
            epoch_id=interval.epoch_id,
            import_id=import_id,
            secret_id=secret_id,
            history_epoch_ids=tuple(sorted({*history, *including})),
            settings=await settings_of(connection, self.settings, interval.epoch_id),
            honeypots=self.honeypots,
            salt=self._salt(interval.epoch_id, secret_id),
            zipcodes_sha256=await asyncio.to_thread(seeds.zipcodes_hash, zipcodes),
        )

    async def _choose(
        self, connection: AsyncConnection, interval: EpochInterval, inputs: SelectionInputs
    ) -> ChosenEpoch:
        seed = self.seed(interval.epoch_id, inputs.secret_id)
        chosen = await choose_epoch(connection, inputs, seed, interval.start_at)
        # Which zipcodes, and how many, belongs to an epoch to come, and not into a log.
        if chosen.choice.selection.relaxed_age_days:
            log.warning("data_age_relaxed", epoch_id=interval.epoch_id)
        if chosen.choice.selection.relaxed_cooldown:
            log.warning("cooldown_relaxed", epoch_id=interval.epoch_id)
        return chosen

    def _message(
        self,
        interval: EpochInterval,
        choice: Choice,
        inputs: SelectionInputs,
        link: ChainLink,
        issued_at: datetime,
    ) -> EpochMessage:
        # Sorted by zipcode, so that the order of the draw shows nothing about weights.
        chosen = choice.zipcodes
        seed = self.seed(interval.epoch_id, inputs.secret_id)
        commitment = seeds.seed_commitment(seed)
        picked = seeds.selected_zipcodes_hash((c.zipcode, c.expected_listings) for c in chosen)
        start = int(interval.start_at.timestamp())
        return EpochMessage(
            network=self.network,
            netuid=self.netuid,
            epoch_id=interval.epoch_id,
            epoch_start=interval.start_at,
            epoch_end=interval.end_at,
            nonce=seeds.derive_nonce(seed, interval.epoch_id, start, picked),
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
            next_signer=self.next_signer,
            issued_at=issued_at,
        )


def _without_links(message: EpochMessage) -> EpochMessage:
    """Return the part of a message that must not change when it is made anew: all but the time of issue, the
    link to the epoch before, and the next signer."""
    epoch = {
        "issued_at": message.epoch_start,
        "previous_epoch_id": None,
        "revealed_seed": None,
        "next_signer": None,
    }
    return message.model_copy(update=epoch)
