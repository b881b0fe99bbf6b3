"""Prepares an epoch in one transaction, from the committed inputs to the signed message. This module defines
the order of the steps. The rules are in the pure modules `zipcast.selection.select`,
`zipcast.selection.seeds` and `zipcast.protocol.envelope`.
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

# An epoch that starts within this time is not changed, because schedulers read the message that they will
# publish up to two seconds before its start.
REGENERATION_MARGIN = timedelta(seconds=3)


class EpochEndedError(Exception):
    """The epoch ended before it was prepared, so it is missed."""


class EpochsOverlapError(Exception):
    """An epoch of another length overlaps this one."""


class EpochNotPendingError(Exception):
    """The epoch is not prepared, or it has started or is about to start."""


class RegenerationDiffersError(Exception):
    """The epoch would now differ from the prepared one, because its inputs were changed."""


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

    async def prepare(self, interval: EpochInterval) -> StoredEpoch:
        """Prepare the epoch, unless it is prepared already, and return it.

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
        log.info(
            "epoch_prepared", epoch_id=interval.epoch_id
        )  # nothing else about the epoch may be logged before its start
        return StoredEpoch(interval, "pending", prepared.envelope, None)

    async def regenerate(self, epoch_id: str) -> None:
        """Select and sign again an epoch that has not started, from its committed inputs. The same inputs and
        seed give the same epoch. Only the signature, the time of issue, and the link to the previous epoch
        may change.

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
            # Check again, because building took some time, and a published message must not be replaced.
            earlier = (*found.prepared.replaced, found.prepared.envelope)
            if not await pending_epochs.replace_prepared(
                connection, replace(prepared, replaced=earlier), latest
            ):
                raise EpochNotPendingError(f"{epoch_id} starts now, or has started")
        log.info("epoch_regenerated", epoch_id=epoch_id)

    async def build(self, connection: AsyncConnection, interval: EpochInterval) -> Preparation:
        """Build the epoch as it would be prepared now. Only its inputs are written to the database. The
        caller must hold the lock for preparing epochs."""
        now = await epochs.database_now(connection)
        inputs = await self._inputs(connection, interval, now)
        chosen = await self._choose(connection, interval, inputs)
        choice = chosen.choice
        following = await self._commit_following(connection, interval, inputs, now)
        link = await self._link(connection, interval, following)
        message = self._message(interval, choice, inputs, link, now)
        sealed = envelope.seal(message, self.signer)
        if len(sealed.payload) > MAX_PAYLOAD_BYTES:
            raise MessageTooLargeError(
                f"the message has {len(sealed.payload)} bytes, more than {MAX_PAYLOAD_BYTES}"
            )
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
            # A constraint of the table prevents overlaps, so the previous epoch has ended when this one
            # starts.
            revealed = await epochs.seed_of(connection, previous_id)
        return ChainLink(previous_id, revealed, commitment, seeds.inputs_hash(following))

    def seed(self, epoch_id: str, secret_id: str) -> bytes:
        """Return the epoch's seed, which is secret until the epoch has ended. Raises UnknownSecretError."""
        return seeds.derive_seed(self.secrets.key(secret_id), self.network, self.netuid, epoch_id)

    def _salt(self, epoch_id: str, secret_id: str) -> str:
        return seeds.derive_salt(self.secrets.key(secret_id), self.network, self.netuid, epoch_id).hex()

    async def _inputs(
        self, connection: AsyncConnection, interval: EpochInterval, now: datetime
    ) -> SelectionInputs:
        """Return the inputs committed in the previous message, or new inputs if there is no previous
        message."""
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
        """Return the inputs to which the epoch would be committed now. Its history also has the epochs
        `including`."""
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
        # The zipcodes of a future epoch, and even their number, must not be logged.
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
        # Sort by zipcode, because the order of the draw would reveal weights.
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
    """Return the message without the parts that may change when it is made again: the time of issue, the link
    to the previous epoch, and the next signer."""
    epoch = {
        "issued_at": message.epoch_start,
        "previous_epoch_id": None,
        "revealed_seed": None,
        "next_signer": None,
    }
    return message.model_copy(update=epoch)
