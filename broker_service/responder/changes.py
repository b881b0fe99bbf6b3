"""Looking, once an epoch is revealed, for uploads that were changed after its deadline.

Such a change counts for nothing, since the manifest names versions; it is a signal for validators to look at.
Owns what a change is: the newest version of a sealed key is another one than the manifest's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from broker_service.responder.sealing import repeat
from broker_service.responder.versions import newest_versions
from runtime import logs
from runtime.asking import record_of
from storage import manifests, policies
from storage.manifests import SealedObject
from storage.object_store import ObjectStore, ObjectVersion
from zipcast.clock import Clock
from zipcast.hotkeys import parse_hotkey

log = logs.logger()

# Of a manifest at once, and names told of one miner.
PAGE_ROWS = 1_000
MOST_TOLD = 3
LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class ChangeWatch:
    store: ObjectStore
    database: AsyncEngine
    clock: Clock
    bucket: str

    async def run(self) -> None:
        """Until cancelled. What fails is never half-written."""

        def failed(error: Exception) -> None:
            log.warning("changes_unchecked", error=type(error).__name__)

        await repeat(self.check_next, self.clock, failed)

    async def check_next(self) -> bool:
        """Look through the oldest epoch that is due; False if none is.

        Raises ServiceError(SERVICE_UNAVAILABLE), ObjectStoreUnavailableError."""
        async with record_of(self.database) as connection:
            epoch_id = await manifests.next_unchecked(connection)
            hotkeys = [] if epoch_id is None else await manifests.sealed_hotkeys(connection, epoch_id)
        if epoch_id is None:
            return False
        found = {hotkey: await self._changes(epoch_id, hotkey) for hotkey in hotkeys}
        changes = {hotkey: details for hotkey, details in found.items() if details is not None}
        async with record_of(self.database) as connection:
            if await manifests.note_changes(connection, epoch_id, changes):
                log.info("changes_checked", epoch_id=epoch_id, miners=len(hotkeys), changed=len(changes))
        return True

    async def _changes(self, epoch_id: str, hotkey: str) -> dict[str, Any] | None:
        """Only of the folders that name the epoch: a file of another path may be replaced in a later
        epoch."""
        sealed = await self._sealed(epoch_id, hotkey)
        scopes = policies.miner_epoch_scopes(self.bucket, parse_hotkey(hotkey), epoch_id)
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
    """What is told of one miner's changes; None if there are none. A key that is gone counts, if the listing
    is `complete`. The names begin below `prefix`."""
    names: list[str] = []
    last_at: datetime | None = None
    for one in sealed:
        now = newest.get(one.object_key)
        if now is None and not complete:
            continue
        if now is None or (now.version_id, now.etag.strip('"')) != (one.version_id, one.etag):
            names.append(one.object_key.removeprefix(prefix)[:LONGEST_NAME])
            last_at = max(filter(None, (last_at, None if now is None else now.last_modified)), default=None)
    if not names:
        return None
    told = None if last_at is None else f"{last_at:%Y-%m-%dT%H:%M:%SZ}"
    return {"objects": len(names), "names": names[:MOST_TOLD], "lastChangedAt": told}
