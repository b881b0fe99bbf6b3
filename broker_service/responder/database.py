"""Reads and writes the database for the responder, except for the rows that are written in `batches`."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from access.requests import Caller, Proof
from service.current_epoch import CurrentEpoch
from service.database_reads import epoch_start, record_of, require_started
from storage.database import epochs, manifests, opt_outs, results
from storage.database.epochs import StoredEpoch
from storage.database.manifests import SealedObject
from storage.database.results import NewResult, RecordedResult
from zipcast.protocol.hotkeys import Hotkey


@dataclass(frozen=True, slots=True)
class Record:
    """The database. `current` has the newest epochs from NATS, where they may arrive before the database
    shows them."""

    database: AsyncEngine
    current: CurrentEpoch

    async def started(self, epoch_id: str) -> StoredEpoch:
        """Return the epoch if it has started. An epoch that has not started is treated as unknown.

        Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | SERVICE_UNAVAILABLE)."""
        epoch_start("epochId", epoch_id)
        return await self.current.when_stored(epoch_id, partial(self._started, epoch_id))

    async def _started(self, epoch_id: str) -> StoredEpoch:
        async with record_of(self.database) as connection:
            return require_started(await epochs.started_epoch(connection, epoch_id))

    async def is_sealed(self, epoch_id: str) -> bool:
        """Return whether the epoch's manifest is written. Raises ServiceError(SERVICE_UNAVAILABLE)."""
        async with record_of(self.database) as connection:
            return await manifests.is_sealed(connection, epoch_id)

    async def sealed_objects(
        self, epoch_id: str, hotkey: Hotkey | None, after: tuple[str, str] | None, limit: int
    ) -> list[SealedObject]:
        """Return one page of the manifest. Raises ServiceError(SERVICE_UNAVAILABLE)."""
        async with record_of(self.database) as connection:
            return await manifests.sealed_objects(connection, epoch_id, hotkey, after, limit)

    async def known_result(self, epoch_id: str, caller: Caller, proof: Proof) -> RecordedResult | None:
        """Return the report that this request has already stored, or None. Raises
        ServiceError(SERVICE_UNAVAILABLE)."""
        async with record_of(self.database) as connection:
            return await results.known_result(
                connection, epoch_id, caller.hotkey, proof.request_key, proof.body_sha256
            )

    async def result(self, new: NewResult) -> RecordedResult:
        """Store a report and return the stored one. Raises ServiceError(SERVICE_UNAVAILABLE)."""
        async with record_of(self.database) as connection:
            return await results.store_result(connection, new)

    async def legacy_choice(self, caller: Caller, *, accepted: bool, now: datetime) -> None:
        """Store whether legacy signatures of the caller are accepted. Raises
        ServiceError(SERVICE_UNAVAILABLE)."""
        async with record_of(self.database) as connection:
            if accepted:
                await opt_outs.opt_in(connection, caller.hotkey)
            else:
                await opt_outs.opt_out(connection, caller.hotkey, now, caller.request_id)
