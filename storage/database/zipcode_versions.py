"""Lists and rebuilds versions of the zipcode data.

It writes nothing; `storage.zipcode_files.importing` and `storage.database.zipcode_activity` make versions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import Zipcode, ZipcodeImport, ZipcodeRevision
from storage.zipcode_files.json_files import camel_case
from storage.zipcode_files.row_rules import ZipcodeFacts

IMPORTS = ZipcodeImport.__table__.c
ZIPCODES = Zipcode.__table__.c
REVISIONS = ZipcodeRevision.__table__.c
JsonValue = str | int | float | bool | None


class VersionTrimmedError(Exception):
    """The version cannot be rebuilt, because housekeeping has deleted some of its revisions."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version: an import, or a change of active zipcodes. `added`, `changed`, `unchanged` and `rejected`
    count rows."""

    id: int
    imported_at: datetime
    source_name: str
    source_sha256: str
    added: int
    changed: int
    unchanged: int
    rejected: int

    def as_json(self) -> dict[str, JsonValue]:
        return _as_json(asdict(self))


@dataclass(frozen=True, slots=True)
class PoolZipcode(ZipcodeFacts):
    """One active zipcode of an import."""

    base_weight: float


@dataclass(frozen=True, slots=True)
class StoredZipcode(PoolZipcode):
    """One zipcode, active or not, in one version."""

    active: bool
    import_id: int

    def as_json(self) -> dict[str, JsonValue]:
        """Return the zipcode with the keys of a zipcode file, so that the output can be imported again."""
        stored = _as_json(asdict(self))
        stored["lastScraped"] = stored.pop("lastScrapedAt")
        return stored


_STORED = tuple(field.name for field in fields(StoredZipcode))


async def list_versions(connection: AsyncConnection) -> list[Version]:
    """Return all versions, oldest first."""
    return [Version(*row) for row in await connection.execute(_versions().order_by(IMPORTS.id))]


async def find_version(connection: AsyncConnection, import_id: int) -> Version | None:
    found = (await connection.execute(_versions().where(IMPORTS.id == import_id))).one_or_none()
    return None if found is None else Version(*found)


async def rebuild_version(connection: AsyncConnection, import_id: int) -> list[StoredZipcode]:
    """Return every zipcode of this version, active or not, ordered by zipcode. Raises VersionTrimmedError."""
    await require_whole(connection, import_id)
    rows = await connection.execute(select_as_of(import_id, _STORED))
    return [StoredZipcode(*row) for row in rows]


async def require_whole(connection: AsyncConnection, import_id: int) -> None:
    """Check that no revisions of the version were deleted. Raises VersionTrimmedError."""
    if await connection.scalar(select(IMPORTS.trimmed_at).where(IMPORTS.id == import_id)) is not None:
        raise VersionTrimmedError(
            f"version {import_id} cannot be rebuilt: its data was deleted because no stored epoch needs it"
        )


def select_as_of(import_id: int, names: Sequence[str]) -> Select[tuple[Any, ...]]:
    """Return a query for the columns `names` of each zipcode's newest revision up to this version, ordered by
    zipcode."""
    newest = (
        select(REVISIONS.zipcode, func.max(REVISIONS.import_id).label("import_id"))
        .where(REVISIONS.import_id <= import_id)
        .group_by(REVISIONS.zipcode)
        .subquery()
    )
    in_force = and_(REVISIONS.zipcode == newest.c.zipcode, REVISIONS.import_id == newest.c.import_id)
    return select(*(REVISIONS[name] for name in names)).join(newest, in_force).order_by(REVISIONS.zipcode)


async def list_zipcodes(
    connection: AsyncConnection, *, state: str | None = None, active: bool = True
) -> list[StoredZipcode]:
    """Return the newest data of the active zipcodes, or of the inactive ones, ordered by zipcode."""
    rows = select(*(ZIPCODES[name] for name in _STORED)).where(ZIPCODES.active == active)
    if state is not None:
        rows = rows.where(ZIPCODES.state == state)
    return [StoredZipcode(*row) for row in await connection.execute(rows.order_by(ZIPCODES.zipcode))]


async def list_revisions(connection: AsyncConnection, zipcode: str) -> list[tuple[StoredZipcode, Version]]:
    """Return each version that changed this zipcode, with the new data, newest first."""
    revisions = (
        _versions()
        .join(ZipcodeRevision, REVISIONS.import_id == IMPORTS.id)
        .add_columns(*(REVISIONS[name] for name in _STORED))
        .where(REVISIONS.zipcode == zipcode)
        .order_by(REVISIONS.import_id.desc())
    )
    width = len(fields(Version))
    rows = [tuple(row) for row in await connection.execute(revisions)]
    return [(StoredZipcode(*row[width:]), Version(*row[:width])) for row in rows]


def _versions() -> Select[tuple[Any, ...]]:
    return select(*(IMPORTS[field.name] for field in fields(Version)))


def _as_json(columns: dict[str, JsonValue | datetime]) -> dict[str, JsonValue]:
    return {
        camel_case(name): _rfc3339(value) if isinstance(value, datetime) else value
        for name, value in columns.items()
    }


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
