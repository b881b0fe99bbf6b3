"""Activates and deactivates zipcodes. Each change is a new version, so that the pools of past epochs can be
rebuilt.

An import never changes `active`.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.database.tables import Zipcode, ZipcodeImport, ZipcodeRevision
from storage.zipcode_files.importing import lock_versions

# The prefix of the source name under which a change of active zipcodes is stored. A file name has no slash,
# so no imported file can have such a source name.
SOURCE_PREFIX = "zipcodes/"
MAX_REASON_LENGTH = 200


class UnknownZipcodesError(ValueError):
    """Some zipcodes were never imported, so nothing was changed. The message names them."""


class UnusableReasonError(ValueError):
    """The reason is too long or has unprintable characters."""


@dataclass(frozen=True, slots=True)
class ActivityChange:
    """The result of a change. `import_id` is the new version, or None if no zipcode had to be changed."""

    import_id: int | None
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


async def set_active(
    engine: AsyncEngine, zipcodes: Collection[str], *, active: bool, now: datetime, reason: str = ""
) -> ActivityChange:
    """Activate or deactivate all of `zipcodes`, or none of them. It waits for a running import.

    Raises UnknownZipcodesError and UnusableReasonError."""
    if len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        raise UnusableReasonError(f"a reason has at most {MAX_REASON_LENGTH} characters, all printable")
    wanted = sorted(set(zipcodes))
    async with engine.begin() as connection:
        await lock_versions(connection)
        active_now = await _activity(connection, wanted)
        changed = tuple(zipcode for zipcode in wanted if active_now[zipcode] != active)
        unchanged = tuple(zipcode for zipcode in wanted if active_now[zipcode] == active)
        if not changed:
            return ActivityChange(None, changed, unchanged)
        source = f"{SOURCE_PREFIX}{'activate' if active else 'deactivate'}"
        version = insert(ZipcodeImport).values(
            imported_at=now,
            source_name=f"{source}: {reason}" if reason else source,
            source_sha256=hashlib.sha256("\n".join((source, *wanted)).encode()).hexdigest(),
            added=0,
            changed=len(changed),
            unchanged=len(unchanged),
            rejected=0,
        )
        import_id = (await connection.execute(version.returning(ZipcodeImport.id))).scalar_one()
        await _write(connection, changed, active, import_id)
    return ActivityChange(import_id, changed, unchanged)


async def _activity(connection: AsyncConnection, zipcodes: Sequence[str]) -> dict[str, bool]:
    # A command line may contain bytes that PostgreSQL cannot store as text.
    possible = [zipcode for zipcode in zipcodes if zipcode.isascii() and zipcode.isdigit()]
    rows = select(Zipcode.zipcode, Zipcode.active).where(Zipcode.zipcode.in_(possible)).with_for_update()
    found = {row.zipcode: row.active for row in await connection.execute(rows)}
    unknown = [ascii(zipcode) for zipcode in zipcodes if zipcode not in found]
    if unknown:
        raise UnknownZipcodesError(f"never imported: {', '.join(unknown)}")
    return found


async def _write(connection: AsyncConnection, zipcodes: Sequence[str], active: bool, import_id: int) -> None:
    columns = Zipcode.__table__.columns
    write = update(Zipcode).where(Zipcode.zipcode.in_(zipcodes)).values(active=active, import_id=import_id)
    written = write.returning(*columns).cte("written")
    names = [column.name for column in columns]
    revisions = insert(ZipcodeRevision).from_select(names, select(*(written.c[name] for name in names)))
    await connection.execute(revisions)
