"""Finds uploads that were changed after an epoch's deadline, once the epoch is revealed.

Such a change has no effect, because the manifest names versions, but it is a signal for validators. A key of
the manifest has changed if its newest version is not the one in the manifest.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from broker_service.responder.manifest_freezing import repeat
from broker_service.responder.miner_listings import ListingReader, MinerListing, Part
from broker_service.responder.object_versions import newest_versions
from service import logs
from service.database_reads import record_of
from storage.database import manifests
from storage.database.manifests import SealedObject
from storage.objects import credential_policies
from storage.objects.store import ObjectStore, ObjectVersion
from zipcast.clock import Clock
from zipcast.protocol.hotkeys import is_hotkey, parse_hotkey

log = logs.logger()

# This many keys of a manifest are read at once.
PAGE_ROWS = 1_000
# The largest number of names of changed files that are reported per miner.
MAX_NAMES = 3
MAX_NAME = 80
# The time limit for one miner in one attempt.
CHANGES_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class ChangeWatch:
    store: ObjectStore
    database: AsyncEngine
    clock: Clock
    bucket: str
    _failures: Counter[str] = field(default_factory=Counter)
    # Check one miner at a time, because the checks are not urgent.
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def run(self) -> None:
        """Check epochs until cancelled. A failure leaves no partial results."""

        def failed(error: Exception) -> None:
            log.warning("changes_unchecked", error=type(error).__name__)

        await repeat(self.check_next, self.clock, failed)

    async def check_next(self) -> bool:
        """Check the oldest epoch that is due, or the next one if that failed more often. Return False if none
        is due. If a miner's uploads cannot be listed while those of others can, the miner is logged and left
        out.

        Raises ServiceError(SERVICE_UNAVAILABLE), ObjectStoreUnavailableError."""
        async with record_of(self.database) as connection:
            due = await manifests.unchecked(connection)
        if not due:
            return False
        # Take the epoch with the fewest failures; of several, `min` returns the first one, which is the
        # oldest.
        epoch_id = min(due, key=self._failures.__getitem__)
        self._failures[epoch_id] += 1
        await self._check(epoch_id, self._failures[epoch_id])
        del self._failures[epoch_id]
        return True

    async def _check(self, epoch_id: str, attempt: int) -> None:
        async with record_of(self.database) as connection:
            hotkeys = await manifests.sealed_hotkeys(connection, epoch_id)
        listings = [
            MinerListing(
                parse_hotkey(hotkey),
                [Part(partial(self._changes, epoch_id, hotkey), CHANGES_TIMEOUT_SECONDS)],
            )
            for hotkey in hotkeys
            if is_hotkey(hotkey)
        ]
        await ListingReader(self.store, self.clock, self.bucket, self._places).read(listings, attempt)
        for listing in listings:
            if not listing.is_complete():
                log.warning("changes_unchecked", epoch_id=epoch_id, hotkey=listing.hotkey)
        changes: dict[str, dict[str, Any]] = {
            one.hotkey: details for one in listings for details in one.results if details is not None
        }
        async with record_of(self.database) as connection:
            if await manifests.note_changes(connection, epoch_id, changes):
                log.info("changes_checked", epoch_id=epoch_id, miners=len(hotkeys), changed=len(changes))

    async def _changes(self, epoch_id: str, hotkey: str) -> dict[str, Any] | None:
        """Return the changes of one miner. Compare only folders that name the epoch, because files with other
        paths may be replaced in a later epoch."""
        sealed = await self._sealed(epoch_id, hotkey)
        scopes = credential_policies.miner_epoch_scopes(self.bucket, parse_hotkey(hotkey), epoch_id)
        newest: dict[str, ObjectVersion] = {}
        complete = True
        for scope in scopes:
            found, whole = await newest_versions(self.store, scope, self.clock.now())
            newest |= found
            complete = complete and whole
        named = [one for one in sealed if one.object_key.startswith(tuple(scope.prefix for scope in scopes))]
        return changed(named, newest, scopes[0].prefix, complete=complete)

    async def _sealed(self, epoch_id: str, hotkey: str) -> list[SealedObject]:
        found: list[SealedObject] = []
        after: tuple[str, str] | None = None
        while after is None or len(found) % PAGE_ROWS == 0:
            async with record_of(self.database) as connection:
                page = await manifests.sealed_objects(connection, epoch_id, hotkey, after, PAGE_ROWS)
            found += page
            if not page:
                break
            after = hotkey, page[-1].object_key
        return found


def changed(
    sealed: Iterable[SealedObject], newest: Mapping[str, ObjectVersion], prefix: str, *, complete: bool
) -> dict[str, Any] | None:
    """Return the details of one miner's changes, or None if there are none. If the list of the miner's keys
    is `complete`, a missing key counts as a change. Names are relative to `prefix`."""
    names: list[str] = []
    last_at: datetime | None = None
    for one in sealed:
        now = newest.get(one.object_key)
        if now is None and not complete:
            continue
        if now is None or (now.version_id, now.etag.strip('"')) != (one.version_id, one.etag):
            names.append(one.object_key.removeprefix(prefix)[:MAX_NAME])
            last_at = max(filter(None, (last_at, None if now is None else now.last_modified)), default=None)
    if not names:
        return None
    last_change = None if last_at is None else f"{last_at:%Y-%m-%dT%H:%M:%SZ}"
    return {"objects": len(names), "names": names[:MAX_NAMES], "lastChangedAt": last_change}
