"""Writes the manifest of an epoch shortly after its end: all uploads that count for the epoch.

For each key, the newest version that was stored before the deadline counts, by the object store's clock. The
manifest contains keys in folders that name the epoch, and keys that name no epoch but were stored while the
epoch ran. Later changes of a key are other versions and are not in the manifest. If a miner's uploads
repeatedly cannot be listed while the store responds for others, only the part that could be read counts. Any
number of replicas may try; the first one writes the whole manifest in one transaction.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from broker_service.responder.legacy_uploads import uploads_without_epoch
from broker_service.responder.metrics import ResponderMetrics
from broker_service.responder.miner_listings import ListingReader, MinerListing, Part
from broker_service.responder.object_versions import MAX_OBJECTS, Listed, newest_versions
from service import logs
from service.database_reads import record_of
from storage.database import manifests
from storage.database.manifests import SealedObject
from storage.objects import credential_policies
from storage.objects.store import ObjectStore, ObjectStoreUnavailableError
from zipcast.clock import Clock
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.errors import ServiceError
from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey

log = logs.logger()

LOOK_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0
# The largest number of pages when hotkeys' folders are listed. A page lists up to 1,000 folders; a subnet has
# 256 hotkeys.
MAX_FOLDER_PAGES = 100
# This many miners are listed at once: half of the store's threads, so that requests can be served meanwhile.
AT_ONCE = 4
# The largest number of objects in an epoch's manifest, of all miners together. If there are more, the lists
# of the miners with the most objects are cut first. PostgreSQL can write 10,000 rows per second.
MAX_OF_AN_EPOCH = 200_000
WRITING_SECONDS = 300.0
# The time limits of one attempt for one miner: for each folder that names the epoch, and for the search of
# all other folders.
FOLDER_TIMEOUT_SECONDS = 60.0
SWEEP_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Sealer:
    """Writes manifests. `settle` is how long after the deadline running uploads may take to finish."""

    store: ObjectStore
    database: AsyncEngine
    clock: Clock
    bucket: str
    settle: timedelta
    metrics: ResponderMetrics
    _failures: Counter[str] = field(default_factory=Counter)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def run(self) -> None:
        """Write manifests until cancelled. A failure leaves no partial manifest."""

        def failed(error: Exception) -> None:
            self.metrics.sealing_failures.inc()
            log.warning("sealing_failed", error=type(error).__name__)

        await repeat(self.seal_next, self.clock, failed)

    async def seal_next(self) -> bool:
        """Write the manifest of the oldest epoch that is due, or of the next one if that failed more often.
        Return False if none is due.

        Raises ServiceError(SERVICE_UNAVAILABLE), ObjectStoreUnavailableError."""
        async with record_of(self.database) as connection:
            due = await manifests.unsealed(connection, self.settle)
        if not due:
            return False
        interval = min(due, key=lambda one: (self._failures[one.epoch_id], one.end_at))
        self._failures[interval.epoch_id] += 1
        await self._seal(interval, self._failures[interval.epoch_id])
        del self._failures[interval.epoch_id]
        return True

    async def _seal(self, interval: EpochInterval, attempt: int) -> None:
        found = await self._uploads(interval, attempt)
        async with record_of(self.database, WRITING_SECONDS) as connection:
            sealed = await manifests.seal(connection, interval.epoch_id, found)
            reporting = await manifests.reporting_miners(connection, interval.epoch_id)
        if sealed:
            self.metrics.manifests_written.inc()
            self._count(interval.epoch_id, found, reporting)
            log.info("uploads_sealed", epoch_id=interval.epoch_id, objects=len(found))

    def _count(self, epoch_id: str, found: Sequence[SealedObject], reporting: AbstractSet[str]) -> None:
        """Count the uploads, and log the miners that uploaded without a status report."""
        for hotkey, uploads in Counter(one.hotkey for one in found).items():
            self.metrics.uploads_sealed.labels("yes" if hotkey in reporting else "no").inc(uploads)
            if hotkey not in reporting:
                log.info("uploads_unreported", epoch_id=epoch_id, hotkey=hotkey, uploads=uploads)

    async def _uploads(self, interval: EpochInterval, attempt: int) -> list[SealedObject]:
        hotkeys = [named for folder in await self._folders() if (named := _owner(folder)) is not None]
        listings = [MinerListing(hotkey, self._parts(hotkey, interval)) for hotkey in hotkeys]
        await ListingReader(self.store, self.clock, self.bucket, self._places).read(listings, attempt)
        by_miner = [uploads_of(listing, interval.epoch_id) for listing in listings]
        level = highest_level([len(uploads) for uploads in by_miner], MAX_OF_AN_EPOCH)
        for hotkey, uploads in zip(hotkeys, by_miner, strict=True):
            if len(uploads) > level:
                log.warning("manifest_cut", epoch_id=interval.epoch_id, hotkey=hotkey, reason="epoch_full")
        return [one for uploads in by_miner for one in uploads[:level]]

    async def _folders(self) -> list[str]:
        listing = credential_policies.all_miners(self.bucket)
        folders, token = await self.store.list_folders(listing, None)
        for _ in range(MAX_FOLDER_PAGES):
            if token is None:
                return folders
            more, token = await self.store.list_folders(listing, token)
            folders += more
        raise ObjectStoreUnavailableError("the folders do not end")

    def _parts(self, hotkey: Hotkey, interval: EpochInterval) -> list[Part[Listed]]:
        """Return the parts to read for one miner: first folders that name the epoch, then other keys that
        were stored while it ran."""
        folders = [
            Part(partial(newest_versions, self.store, scope, interval.end_at), FOLDER_TIMEOUT_SECONDS)
            for scope in credential_policies.miner_epoch_scopes(self.bucket, hotkey, interval.epoch_id)
        ]
        sweep = partial(uploads_without_epoch, self.store, self.bucket, hotkey, interval)
        return [*folders, Part(sweep, SWEEP_TIMEOUT_SECONDS)]


def uploads_of(listing: MinerListing[Listed], epoch_id: str) -> list[SealedObject]:
    """Return the uploads of one miner that count, in the order of the parts. If they are incomplete, log
    that."""
    found = [version for chosen, _ in listing.results for _, version in sorted(chosen.items())]
    if not listing.is_complete():
        log.warning("manifest_cut", epoch_id=epoch_id, hotkey=listing.hotkey, reason="listing_failed")
    elif len(found) > MAX_OBJECTS or not all(complete for _, complete in listing.results):
        log.warning("manifest_cut", epoch_id=epoch_id, hotkey=listing.hotkey, reason="too_many_files")
    return [
        SealedObject(
            listing.hotkey,
            version.key,
            version.version_id,
            version.size,
            version.etag.strip('"'),
            version.last_modified,
        )
        for version in found[:MAX_OBJECTS]
    ]


async def repeat(
    step: Callable[[], Awaitable[bool]], clock: Clock, failed: Callable[[Exception], None]
) -> None:
    """Repeat `step` until cancelled: at once while it returns True, otherwise after a pause. Failures are
    passed to `failed`, and each doubles the pause."""
    pause = LOOK_SECONDS
    while True:
        try:
            while await step():
                pass
            pause = LOOK_SECONDS
        except (ServiceError, ObjectStoreUnavailableError) as error:
            cause = error.__cause__
            failed(cause if isinstance(cause, Exception) else error)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
        await clock.sleep(pause)


def highest_level(counts: Sequence[int], most: int) -> int:
    """Return the largest limit per miner for which the counts, each reduced to this limit, add up to at most
    `most`. Smaller counts are not reduced."""
    left, remaining = most, len(counts)
    for count in sorted(counts):
        if count * remaining > left:
            return left // remaining
        left, remaining = left - count, remaining - 1
    return most


def _owner(folder: str) -> Hotkey | None:
    """Return the hotkey of a folder `data/hotkey=…/`; None if the name has another form."""
    try:
        return parse_hotkey(folder.removeprefix("data/hotkey=").removesuffix("/"))
    except MalformedHotkeyError:
        log.warning("foreign_folder", folder=folder[:80])
        return None
