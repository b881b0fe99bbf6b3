"""Chooses the version of each uploaded key that counts: the newest stored before a deadline."""

from datetime import datetime

from storage.objects.policies import Scope
from storage.objects.store import Marker, ObjectStore, ObjectVersion

# Versions of one miner in one epoch, in key order: the database must not drown in a million of them.
MAX_OBJECTS = 10_000
MAX_PAGES = 100
# S3's own limit. Some stores take longer keys, which PostgreSQL cannot index: one of them would keep the
# whole manifest from being written.
MAX_KEY_BYTES = 1_024

# The chosen version of each key, and whether that is all there is.
Listed = tuple[dict[str, ObjectVersion], bool]


async def newest_versions(store: ObjectStore, scope: Scope, before: datetime) -> Listed:
    """Return the chosen version of each key, and whether that is all there is. Versions of a key may straddle
    two pages, so choosing waits for the last."""
    chosen: dict[str, ObjectVersion] = {}
    marker: Marker | None = None
    for _ in range(MAX_PAGES):
        page = await store.list_versions(scope, marker)
        keep_newest(chosen, page.versions, before)
        marker = page.next_marker
        if marker is None or len(chosen) > MAX_OBJECTS:
            break
    return chosen, marker is None


def keep_newest(
    chosen: dict[str, ObjectVersion], versions: tuple[ObjectVersion, ...], end_at: datetime
) -> None:
    """Add, for each key, its newest version stored before `end_at`. The store lists the newest of a key
    first, which decides between versions of one second. A key with a NUL in it, or a longer one than S3
    allows, cannot be stored, and must not keep the rest from it."""
    for version in versions:
        if "\0" in version.key or len(version.key.encode(errors="surrogatepass")) > MAX_KEY_BYTES:
            continue
        known = chosen.get(version.key)
        if version.last_modified < end_at and (known is None or known.last_modified < version.last_modified):
            chosen[version.key] = version
