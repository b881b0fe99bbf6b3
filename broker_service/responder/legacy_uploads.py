"""Finds a miner's uploads whose path names no epoch. They belong to the epoch in which they were stored.

The legacy form allows uploads anywhere in a miner's folder, and existing clients choose their own paths
there. Keys below an `epoch=` folder are not searched here, because `manifest_freezing` reads these folders
directly.
"""

from broker_service.responder.object_versions import Listed, keep_newest
from storage.objects import credential_policies
from storage.objects.credential_policies import Folder, Scope
from storage.objects.store import Marker, ObjectStore, ObjectVersion
from zipcast.protocol.calendar import EpochInterval, MalformedEpochIdError, parse_epoch_id
from zipcast.protocol.hotkeys import Hotkey

MAX_SWEEP_PAGES = 100
MAX_FOLDER_PAGES = 10
_SEGMENT = "epoch="


async def uploads_without_epoch(
    store: ObjectStore, bucket: str, hotkey: Hotkey, interval: EpochInterval
) -> Listed:
    """Return the newest version of each key that was stored while the epoch ran, and whether the result is
    complete.

    At most MAX_SWEEP_PAGES pages are read. Raises ObjectStoreUnavailableError."""
    chosen: dict[str, ObjectVersion] = {}
    folder = credential_policies.miner_folder_scope(bucket, hotkey)
    regions = credential_policies.epoch_folders(bucket, hotkey)
    strays, complete = await _malformed_folders(store, regions)
    pages = MAX_SWEEP_PAGES
    scopes: list[Scope | Folder] = [folder, *strays]
    for scope in scopes:
        marker: Marker | None = None
        begun = False
        while pages > 0 and (marker is not None or not begun):
            pages, begun = pages - 1, True
            page = await store.list_versions(scope, marker)
            stored = (version for version in page.versions if _counts(version, interval))
            keep_newest(chosen, tuple(stored), interval.end_at)
            marker = page.next_marker
            if marker is not None and scope is folder:
                marker = _beyond_epochs(marker, [region.prefix for region in regions])
        complete = complete and begun and marker is None
    return chosen, complete


def _counts(version: ObjectVersion, interval: EpochInterval) -> bool:
    return interval.start_at <= version.last_modified < interval.end_at and not names_epoch(version.key)


def names_epoch(key: str) -> bool:
    """Return whether a folder of the key is `epoch=` with a well-formed epoch id."""
    return any(_is_epoch(folder) for folder in key.split("/")[:-1])


def _is_epoch(folder: str) -> bool:
    try:
        parse_epoch_id(folder.removeprefix(_SEGMENT))
    except MalformedEpochIdError:
        return False
    return folder.startswith(_SEGMENT)


def _beyond_epochs(marker: Marker, prefixes: list[str]) -> Marker:
    """Return the marker, or, if reading has reached `epoch=` folders, a marker after them, because they may
    have many keys."""
    for prefix in prefixes:
        if marker.key.startswith(prefix):
            return Marker(prefix + "~", "")
    return marker


async def _malformed_folders(store: ObjectStore, regions: tuple[Folder, ...]) -> tuple[list[Folder], bool]:
    """Return the folders that begin with `epoch=` but name no epoch, and whether the result is complete."""
    found: list[Folder] = []
    complete = True
    for region in regions:
        token: str | None = None
        for _ in range(MAX_FOLDER_PAGES):
            folders, token = await store.list_folders(region, token)
            named = {folder: folder.removesuffix("/").rpartition("/")[2] for folder in folders}
            found += [Folder(region.bucket, folder) for folder, name in named.items() if not _is_epoch(name)]
            if token is None:
                break
        complete = complete and token is None
    return found, complete
