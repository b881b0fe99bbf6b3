"""Commits epochs to their inputs, and signs drafts of epochs that no message promised.

An epoch is *promised* if the message right before it contained the hash of its inputs and was published
before the epoch's round of the beacon existed. Otherwise a signed draft takes the place of that message. The
rules are in docs/protocol.md, "Beacon". `schedulers.epochs.preparation` sends drafts and draws epochs.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from schedulers.epochs.fault_points import FaultPoint, FaultPoints
from schedulers.epochs.seed_secrets import Secrets
from schedulers.epochs.target_override import import_in_force, settings_of
from schedulers.epochs.zipcode_choice import publish_import, require_enough
from schedulers.metrics import SchedulerMetrics
from storage.database import beacon_rounds, epoch_drafts, epoch_inputs, epochs, published_zipcodes
from storage.database.epochs import StoredEpoch
from zipcast.protocol import envelope
from zipcast.protocol.beacon import (
    BeaconRound,
    BeaconRounds,
    Chain,
    chain_of,
    decided_at,
    drafted_rounds,
    promised_rounds,
)
from zipcast.protocol.calendar import EpochCalendar, EpochInterval
from zipcast.protocol.hotkeys import Signer
from zipcast.protocol.messages.epochs import EpochDraft, Proof
from zipcast.selection import seeds
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import SelectionSettings


@dataclass(frozen=True, slots=True)
class DraftedEpoch:
    """An epoch that is committed to its inputs but not drawn.

    `following` are the stored inputs of the next epoch. `draft` is the signed draft, if the epoch has one.
    Unless `is_promised`, the epoch is drawn without a beacon. If the draw round is not stored at `decide_at`,
    the epoch is drawn without the draw round."""

    interval: EpochInterval
    inputs: SelectionInputs
    following: bytes
    draft: Proof | None
    is_promised: bool
    decide_at: datetime


@dataclass(frozen=True, slots=True)
class Drafter:
    """Commits the epochs of one subnet. The caller of its methods must hold the lock for preparing epochs."""

    network: str
    netuid: int
    calendar: EpochCalendar
    settings: SelectionSettings
    honeypots: HoneypotSettings
    secrets: Secrets
    signer: Signer
    metrics: SchedulerMetrics
    faults: FaultPoints

    @property
    def chain(self) -> Chain:
        """Return the beacon's chain for this network."""
        return chain_of(self.network)

    def seed(self, epoch_id: str, secret_id: str) -> bytes:
        """Return the epoch's seed, which is secret until the epoch has ended. Raises UnknownSecretError."""
        return seeds.derive_seed(self.secrets.key(secret_id), self.network, self.netuid, epoch_id)

    async def stored(self, connection: AsyncConnection, interval: EpochInterval) -> DraftedEpoch | None:
        """Return the epoch if it was drafted before."""
        next_id = self.calendar.first_from(interval.end_at).epoch_id
        following = await epoch_inputs.committed_inputs(connection, next_id)
        if following is None:
            return None
        drafted = await epoch_drafts.stored_draft(connection, interval.epoch_id)
        if drafted is not None:
            return self._drafted(
                interval, drafted.inputs, following, drafted.draft, is_promised=drafted.is_sent
            )
        promised = await epoch_inputs.committed_inputs(connection, interval.epoch_id)
        if promised is None:
            return None
        return self._drafted(interval, promised, following, None, is_promised=True)

    async def commit(self, connection: AsyncConnection, interval: EpochInterval) -> DraftedEpoch:
        """Return the epoch if it was drafted before; otherwise draft it in the caller's transaction. Raises
        NothingImportedError, PoolTooSmallError and UnknownSecretError."""
        drafted = await self.stored(connection, interval)
        if drafted is not None:
            return drafted
        self.faults.reached(FaultPoint.BEFORE_PREPARE)
        stored = await epoch_inputs.committed_inputs(connection, interval.epoch_id)
        is_promised = stored is not None and await self._is_promised(connection, interval, stored)
        inputs = await self._inputs(connection, interval, stored)
        # Check the pool before the epoch is committed to it for good.
        await require_enough(connection, inputs, interval.start_at)
        following = await self._commit_following(connection, interval, inputs)
        if stored is not None and is_promised:
            return self._drafted(interval, stored, following, None, is_promised=True)
        # Sign the draft last. Its beacon round comes soon after the signing, and the draft must be sent
        # before that round.
        document, draft = await self._sign(connection, interval, inputs)
        return self._drafted(interval, document, following, draft, is_promised=False)

    async def usable_round(self, connection: AsyncConnection, drafted: DraftedEpoch) -> BeaconRound | None:
        """Return the draw round if it is stored. After `decide_at`, return the fallback round if it is stored
        and was unknown when the epoch was promised. Otherwise return None."""
        rounds = drafted.inputs.beacon
        if not drafted.is_promised:
            return None
        signature = await beacon_rounds.stored_round(connection, rounds.chain, rounds.draw_round)
        if signature is not None:
            return BeaconRound(rounds.chain, rounds.draw_round, signature, False)
        fallback = rounds.fallback_round
        if fallback is None or await epochs.database_now(connection) < drafted.decide_at:
            return None
        previous = await epochs.epoch_before(connection, drafted.interval.start_at)
        if previous is None or await _published_at(connection, previous) >= self.chain.instant(fallback):
            return None
        signature = await beacon_rounds.stored_round(connection, rounds.chain, fallback)
        return None if signature is None else BeaconRound(rounds.chain, fallback, signature, True)

    async def new_inputs(
        self,
        connection: AsyncConnection,
        interval: EpochInterval,
        secret_id: str,
        including: Sequence[str],
        rounds: BeaconRounds,
        before: SelectionInputs | None = None,
    ) -> SelectionInputs:
        """Return the inputs to which the epoch would be committed now, with the epochs `including` in its
        history. `before` are inputs of an earlier epoch, if there are any."""
        import_id = await import_in_force(connection)
        keys = seeds.ImportKeys(self.secrets.key(secret_id), self.network, self.netuid, import_id)
        await publish_import(connection, import_id, self.settings, self.honeypots, keys)
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
            beacon=rounds,
            zipcodes_sha256=await _zipcodes_sha256(connection, import_id, before),
        )

    async def _inputs(
        self, connection: AsyncConnection, interval: EpochInterval, stored: bytes | None
    ) -> SelectionInputs:
        """Return the committed inputs, even if they were published too late. If there are none, return new
        inputs."""
        if stored is not None:
            return SelectionInputs.from_bytes(stored)
        rounds = drafted_rounds(self.chain, interval, await epochs.database_now(connection))
        return await self.new_inputs(connection, interval, self.secrets.current, (), rounds)

    async def _commit_following(
        self, connection: AsyncConnection, interval: EpochInterval, inputs: SelectionInputs
    ) -> bytes:
        """Commit the next epoch, unless that was done before, and return its stored inputs."""
        following = self.calendar.first_from(interval.end_at)
        stored = await epoch_inputs.committed_inputs(connection, following.epoch_id)
        if stored is not None:
            return stored
        rounds = promised_rounds(self.chain, following, interval)
        drafted = await self.new_inputs(
            connection, following, self.secrets.current, (interval.epoch_id,), rounds, inputs
        )
        now = await epochs.database_now(connection)
        return await epoch_inputs.commit_inputs(connection, following.epoch_id, drafted.to_bytes(), now)

    async def _is_promised(self, connection: AsyncConnection, interval: EpochInterval, stored: bytes) -> bool:
        """Return whether the message right before the epoch was published before the promised round."""
        previous = await epochs.epoch_before(connection, interval.start_at)
        if previous is None or previous.interval.end_at != interval.start_at:
            return False
        rounds = SelectionInputs.from_bytes(stored).beacon
        instant = self.chain.instant(rounds.draw_round)
        return rounds.chain == self.chain.name and await _published_at(connection, previous) < instant

    async def _sign(
        self, connection: AsyncConnection, interval: EpochInterval, inputs: SelectionInputs
    ) -> tuple[bytes, Proof]:
        """Sign and store a draft with a round that no one can know when the draft is sent. Return the inputs
        with that round, and the draft."""
        now = await epochs.database_now(connection)
        rounds = drafted_rounds(self.chain, interval, now)
        document = replace(inputs, beacon=rounds).to_bytes()
        draft = EpochDraft(
            network=self.network,
            netuid=self.netuid,
            epoch_id=interval.epoch_id,
            inputs_hash=seeds.inputs_hash(document),
            seed_commitment=seeds.seed_commitment(self.seed(interval.epoch_id, inputs.secret_id)),
            chain=rounds.chain,
            round=rounds.draw_round,
            issued_at=now,
        )
        signed = envelope.sign_draft(draft, self.signer)
        await epoch_drafts.insert_draft(connection, interval.epoch_id, document, signed)
        return document, signed

    def _drafted(
        self,
        interval: EpochInterval,
        document: bytes,
        following: bytes,
        draft: Proof | None,
        *,
        is_promised: bool,
    ) -> DraftedEpoch:
        inputs = SelectionInputs.from_bytes(document)
        decide_at = decided_at(self.chain, inputs.beacon, interval)
        return DraftedEpoch(interval, inputs, following, draft, is_promised, decide_at)


async def _published_at(connection: AsyncConnection, stored: StoredEpoch) -> datetime:
    """Return when an epoch was published. If it is not published yet, return the earliest time at which it
    can be."""
    if stored.published_at is not None:
        return stored.published_at
    return max(stored.interval.start_at, await epochs.database_now(connection))


async def _zipcodes_sha256(
    connection: AsyncConnection, import_id: int, before: SelectionInputs | None
) -> str:
    """Return the hash of the import's published zipcodes. They never change, so earlier inputs with the same
    import have the same hash."""
    if before is not None and before.import_id == import_id:
        return before.zipcodes_sha256
    zipcodes = await published_zipcodes.load(connection, import_id, {})
    return await asyncio.to_thread(seeds.zipcodes_hash, zipcodes)
