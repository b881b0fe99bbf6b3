"""Chooses the version of each uploaded key that counts: the newest one stored before a deadline."""

from datetime import datetime

from storage.objects.credential_policies import Scope
from storage.objects.store import Marker, ObjectStore, ObjectVersion

# At most this many objects of a miner and epoch are listed, in the order of their keys. Without a limit, a
# miner could fill the database with millions of objects.
MAX_OBJECTS = 10_000
MAX_PAGES = 100
# The longest key that is listed, which is S3's limit. Some stores accept longer keys, but PostgreSQL cannot
# index them, and one of them would make writing the whole manifest fail.
MAX_KEY_BYTES = 1_024

# The listed version of each key, and whether the list is complete.
Listed = tuple[dict[str, ObjectVersion], bool]


async def newest_versions(store: ObjectStore, scope: Scope, before: datetime) -> Listed:
    """Return the chosen version of each key, and whether the result is complete. The versions of a key may be
    on two pages, so all pages are read before choosing."""
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
    """Add, for each key, its newest version stored before `end_at`. The store lists a key's newest version
    first, which decides between versions of the same second. Keys with a NUL, and keys that are longer than
    S3 allows, are skipped, because the database cannot store them."""
    for version in versions:
        if "\0" in version.key or len(version.key.encode(errors="surrogatepass")) > MAX_KEY_BYTES:
            continue
        known = chosen.get(version.key)
        if version.last_modified < end_at and (known is None or known.last_modified < version.last_modified):
            chosen[version.key] = version
