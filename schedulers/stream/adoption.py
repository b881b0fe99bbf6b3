"""Copies epochs from the stream to the database where they differ, because subscribers have the stream's
bytes.

An epoch may be missing in the database, for example after an older backup was restored, or have other bytes
there. Bytes that do not verify are never copied. `rebuild` handles the opposite: epochs that the stream
lacks.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from schedulers.epochs.adopted_honeypots import record_honeypots
from schedulers.epochs.fault_points import NO_FAULTS, FaultPoint, FaultPoints
from schedulers.epochs.missed import record_missed_before
from schedulers.epochs.preparation import Preparer
from schedulers.stream.epoch_stream import EpochStream, Recorded
from schedulers.stream.rebuild import MAX_PUT_BACK
from service import logs
from storage.database import epoch_changes, epoch_inputs, epoch_publications, epochs, pending_epochs
from storage.database.epoch_changes import Preparation
from storage.database.epoch_publications import Row
from zipcast.protocol.beacon import chain_of, promised_rounds
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope, verify
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.selection import seeds

log = logs.logger()

UNKNOWN_SECRET = "unknown"  # noqa: S105 - the id of a secret that is no longer configured


@dataclass(frozen=True, slots=True)
class Adoption:
    """Copies epochs from the stream. `preparer` has the secrets for the seeds, and makes the inputs that
    would be committed now."""

    preparer: Preparer
    stream: EpochStream
    trust: Trust
    faults: FaultPoints = NO_FAULTS

    async def reconcile(self, newest: Recorded, *, thoroughly: bool) -> None:
        """Compare stream and database, beginning with the stream's newest message, until both agree, or, if
        `thoroughly`, as far as a rebuilt stream reaches. Then adopt epochs that differ, oldest first. Raises
        nats.errors.Error and DATABASE_ERRORS."""
        async with self.preparer.database.connect() as connection:
            rows = await epoch_publications.newest_rows(connection, newest.epoch_id, MAX_PUT_BACK)
        differing: list[tuple[Recorded, Recorded | None]] = []
        held: set[str] = set()
        recorded: Recorded | None = newest
        following = None
        while recorded is not None and len(held) < MAX_PUT_BACK:
            held.add(recorded.epoch_id)
            if not _agrees(recorded, rows.get(recorded.epoch_id)):
                differing.append((recorded, following))
            elif not thoroughly:
                break
            following, recorded = recorded, await self.stream.before(recorded.sequence)
        for each, next_one in reversed(differing):
            await self.adopt(each, next_one)
        if thoroughly:
            _tell_gaps(rows, held)

    async def adopt(self, recorded: Recorded, following: Recorded | None = None) -> None:
        """Store the stream's bytes of one epoch, unless they are already stored. `following` is the next
        message, which reveals the epoch's seed."""
        try:
            await self._adopt(recorded, following)
        except IntegrityError as error:
            # The epoch overlaps another one in the database. Skip it, so that the next one need not wait.
            log.error("stream_epoch_not_adopted", epoch_id=recorded.epoch_id, error=type(error).__name__)

    async def _adopt(self, recorded: Recorded, following: Recorded | None) -> None:
        async with self.preparer.database.begin() as connection:
            await epoch_changes.lock_preparation(connection)
            # Open the epoch whatever the database says, because subscribers already have it from the stream.
            await pending_epochs.open_epoch(connection, recorded.epoch_id)
            row = await epoch_publications.row_of(connection, recorded.epoch_id)
            if row is not None and row.message_sha256 == epoch_changes.message_sha256(recorded.envelope):
                await epoch_publications.correct_sequence(connection, recorded.epoch_id, recorded.sequence)
                return
            message = self._verified(recorded.envelope)
            if message is None:
                return
            await self._write(connection, recorded, message, row, following)
            await record_honeypots(self.preparer, connection, message)
            kept = await self._keep_promise(connection, message, is_newest=following is None)
            self.faults.reached(FaultPoint.BEFORE_ADOPT_COMMIT)
        self.faults.reached(FaultPoint.AFTER_ADOPT)
        what = "database_lacked_epoch" if row is None else "database_differed_from_stream"
        log.error(what, epoch_id=recorded.epoch_id, next_inputs_kept=kept)

    def _verified(self, envelope: UnverifiedEnvelope) -> EpochMessage | None:
        try:
            return verify(envelope, self.trust).message
        except EnvelopeError as error:
            log.error("stream_epoch_refused", epoch_id=envelope.epoch_id, reason=str(error))
            return None

    async def _write(
        self,
        connection: AsyncConnection,
        recorded: Recorded,
        message: EpochMessage,
        row: Row | None,
        following: Recorded | None,
    ) -> None:
        now = await epochs.database_now(connection)
        if row is not None and row.message_sha256 is not None:
            await epoch_changes.adopt_message(connection, recorded.envelope, message, now)
            return
        secret_id, seed = self._seed(message, following)
        lost = Preparation(
            envelope=recorded.envelope,
            message=message,
            seed=seed,
            secret_id=secret_id,
            import_id=None,
            relaxed_cooldown=(),
            prepared_at=message.issued_at,
        )
        await epoch_changes.restore_published(connection, lost, recorded.stored_at, recorded.sequence)
        # With the epoch, the database has lost the rows of epochs that were missed before it.
        interval = EpochInterval(message.epoch_start, message.epoch_end)
        await record_missed_before(connection, self.preparer, interval)

    def _seed(self, message: EpochMessage, following: Recorded | None) -> tuple[str, bytes | None]:
        """Return the id of the secret that matches the published commitment, and the seed. If no secret
        matches, return the seed that the next message reveals."""
        secret_id = self._secret_behind(message.epoch_id, message.seed_commitment)
        if secret_id is not None:
            return secret_id, self.preparer.seed(message.epoch_id, secret_id)
        after = None if following is None else self._verified(following.envelope)
        if after is not None and after.revealed_seed is not None:
            seed = bytes.fromhex(after.revealed_seed)
            if seeds.seed_commitment(seed) == message.seed_commitment:
                return UNKNOWN_SECRET, seed
        return UNKNOWN_SECRET, None

    def _secret_behind(self, epoch_id: str, commitment: str) -> str | None:
        for secret_id in self.preparer.secrets.keys:
            if seeds.seed_commitment(self.preparer.seed(epoch_id, secret_id)) == commitment:
                return secret_id
        return None

    async def _keep_promise(
        self, connection: AsyncConnection, message: EpochMessage, *, is_newest: bool
    ) -> bool:
        """Return whether the next epoch's inputs, to which the message commits, are stored now. If they were
        lost, make them again, and store them if their hash matches the commitment. For the newest epoch,
        store them even if the hash does not match, so that at least the committed seed is used."""
        if await epoch_inputs.inputs_are_stored(connection, message.next_inputs_hash):
            return True
        following = self.preparer.calendar.first_from(message.epoch_end)
        secret_id = self._secret_behind(following.epoch_id, message.next_seed_commitment)
        if secret_id is None:
            return False
        interval = EpochInterval(message.epoch_start, message.epoch_end)
        rounds = promised_rounds(chain_of(self.trust.network), following, interval)
        drafted = await self.preparer.drafter.new_inputs(
            connection, following, secret_id, (message.epoch_id,), rounds
        )
        inputs = drafted.to_bytes()
        is_kept = seeds.inputs_hash(inputs) == message.next_inputs_hash
        if is_kept or is_newest:
            now = await epochs.database_now(connection)
            await epoch_inputs.commit_inputs(connection, following.epoch_id, inputs, now)
        return is_kept


def _agrees(recorded: Recorded, row: Row | None) -> bool:
    """Return whether the row has the bytes of the stream. A row that is not marked as published yet has no
    sequence number to compare."""
    same = epoch_changes.message_sha256(recorded.envelope)
    return row is not None and row.message_sha256 == same and row.sequence in {None, recorded.sequence}


def _tell_gaps(rows: Mapping[str, Row], held: Set[str]) -> None:
    """Log epochs that only the database has between two messages of the stream, where none can be
    inserted."""
    lacking = [
        epoch_id
        for epoch_id, row in rows.items()
        if row.sequence is not None and epoch_id > min(held) and epoch_id not in held
    ]
    if lacking:
        log.error("stream_lacks_epochs", count=len(lacking), epoch_id=min(lacking))
