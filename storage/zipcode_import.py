"""Zipcode imports: one file becomes one version of the zipcode data, in one transaction.

Owns `zipcode_imports`, `zipcodes` and `zipcode_revisions`. What a file may say is
`storage.zipcode_rows`. A zipcode that a file leaves out stays as it is, and so do
`base_weight` and `active`, which no file states.
"""

import asyncio
import hashlib
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection as DriverConnection
from sqlalchemy import Boolean, Column, MetaData, Table, and_, func, insert, literal, not_, or_, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.dml import ReturningInsert

from storage.tables import Zipcode, ZipcodeImport, ZipcodeRevision
from storage.zipcode_rows import ImportFileError, Rejection, ZipcodeRow, decode_lines, parse_csv

# Any constant will do, but not another lock's; "zipcodes" on a telephone keypad.
IMPORT_LOCK = 94726337

ZIPCODES = Zipcode.__table__.c
REVISIONS = ZipcodeRevision.__table__.c
# What a file states, in the order in which rows are copied.
STATED = tuple(field.name for field in fields(ZipcodeRow) if field.name in ZIPCODES)
# What only the operator's own SQL states; an import carries it along.
KEPT = ("base_weight", "active")
INCOMING = Table(
    "incoming_zipcodes",
    MetaData(),
    *(Column(name, ZIPCODES[name].type) for name in STATED),
    Column("last_scraped_defaulted", Boolean),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What one import did, in rows. `import_id` is the version it created.

    A row counts as unchanged if its only difference is a last_scraped that the file left
    empty: the file says nothing new about it, though it is as fresh as the import.
    """

    import_id: int
    added: int
    changed: int
    unchanged: int
    rejected: tuple[Rejection, ...]

    def as_json(self) -> dict[str, Any]:
        """For the operator: the counts, and every rejected line with the rule it broke."""
        return {
            "added": self.added,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "rejected": [
                {"line": rejection.line, "field": rejection.field, "rule": rejection.rule}
                for rejection in self.rejected
            ],
        }


@dataclass(frozen=True, slots=True)
class PoolZipcode:
    """One active zipcode as of an import. `median_home_value` is in US dollars."""

    zipcode: str
    state: str
    city: str
    county: str
    population: int | None
    median_home_value: int | None
    recently_sold_listings: int
    market_tier: str
    geographic_region: str
    last_scraped_at: datetime
    base_weight: float


@dataclass(frozen=True, slots=True)
class _Source:
    """A file that was read to its end and found whole."""

    name: str
    sha256: str
    rows: tuple[ZipcodeRow, ...]
    rejected: tuple[Rejection, ...]


async def import_zipcodes(engine: AsyncEngine, path: Path, *, now: datetime) -> ImportReport:
    """Imports a CSV file as a new version, entirely or not at all.

    `now` is aware: the time of the import, and of every row without last_scraped. Imports
    wait for each other. Raises ImportFileError if the file cannot be read, is broken, or
    has no acceptable row; SQLAlchemyError or psycopg.Error if the database fails.
    """
    source = await asyncio.to_thread(_read_source, path, now)
    async with engine.begin() as connection:
        await connection.execute(text("set local statement_timeout = '60s'"))
        # Ids must become visible in their order, or a pool as of an import could still change.
        await connection.execute(select(func.pg_advisory_xact_lock(IMPORT_LOCK)))
        await _copy_rows(connection, source.rows)
        report = await _record_import(connection, source, now)
        await _apply(connection, report.import_id)
    return report


async def newest_import_id(connection: AsyncConnection) -> int | None:
    """The version in force, None before the first import."""
    return await connection.scalar(select(func.max(ZipcodeImport.id)))


async def load_pool(connection: AsyncConnection, import_id: int) -> list[PoolZipcode]:
    """The active zipcodes as of that import, by zipcode; empty before the first import."""
    newest = (
        select(REVISIONS.zipcode, func.max(REVISIONS.import_id).label("import_id"))
        .where(REVISIONS.import_id <= import_id)
        .group_by(REVISIONS.zipcode)
        .subquery()
    )
    in_force = and_(REVISIONS.zipcode == newest.c.zipcode, REVISIONS.import_id == newest.c.import_id)
    columns = (REVISIONS[field.name] for field in fields(PoolZipcode))
    pool = select(*columns).join(newest, in_force).where(REVISIONS.active).order_by(REVISIONS.zipcode)
    return [PoolZipcode(*row) for row in await connection.execute(pool)]


def _read_source(path: Path, now: datetime) -> _Source:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImportFileError(f"cannot be read: {error.strerror}") from error
    outcomes = list(parse_csv(decode_lines(content), now))
    rows = tuple(outcome for outcome in outcomes if isinstance(outcome, ZipcodeRow))
    rejected = tuple(outcome for outcome in outcomes if isinstance(outcome, Rejection))
    if not rows:
        raise ImportFileError(_no_row_reason(rejected))
    # A file name may hold bytes that are no text; PostgreSQL takes text only.
    name = path.name.encode(errors="replace").decode()
    return _Source(name, hashlib.sha256(content).hexdigest(), rows, rejected)


def _no_row_reason(rejected: tuple[Rejection, ...]) -> str:
    if not rejected:
        return "no row follows the header"
    first = rejected[0]
    return f"all {len(rejected)} rows rejected; the first, line {first.line}: {first.field} {first.rule}"


async def _copy_rows(connection: AsyncConnection, rows: tuple[ZipcodeRow, ...]) -> None:
    await connection.execute(CreateTable(INCOMING))
    driver = (await connection.get_raw_connection()).driver_connection
    if not isinstance(driver, DriverConnection):
        raise TypeError("COPY needs psycopg's asynchronous connection")
    async with driver.cursor() as cursor, cursor.copy("copy incoming_zipcodes from stdin") as copy:
        for row in rows:
            await copy.write_row([getattr(row, column.name) for column in INCOMING.c])


async def _record_import(connection: AsyncConnection, source: _Source, now: datetime) -> ImportReport:
    """Counts against what is in force, so it comes before `_apply`."""
    added, changed = await _count_differences(connection)
    unchanged = len(source.rows) - added - changed
    recorded = insert(ZipcodeImport).values(
        imported_at=now,
        source_name=source.name,
        source_sha256=source.sha256,
        added=added,
        changed=changed,
        unchanged=unchanged,
        rejected=len(source.rejected),
    )
    import_id = (await connection.execute(recorded.returning(ZipcodeImport.id))).scalar_one()
    return ImportReport(import_id, added, changed, unchanged, source.rejected)


async def _count_differences(connection: AsyncConnection) -> tuple[int, int]:
    """How many incoming rows are new, and how many say something else than is in force."""
    incoming = INCOMING.c
    is_new = ZIPCODES.zipcode.is_(None)
    differs = or_(
        *(incoming[name].is_distinct_from(ZIPCODES[name]) for name in STATED if name != "last_scraped_at"),
        and_(
            not_(incoming.last_scraped_defaulted),
            incoming.last_scraped_at.is_distinct_from(ZIPCODES.last_scraped_at),
        ),
    )
    joined = INCOMING.outerjoin(Zipcode.__table__, incoming.zipcode == ZIPCODES.zipcode)
    counts = select(func.count().filter(is_new), func.count().filter(and_(not_(is_new), differs)))
    added, changed = (await connection.execute(counts.select_from(joined))).one()
    return added, changed


async def _apply(connection: AsyncConnection, import_id: int) -> None:
    """Brings `zipcodes` up to date and appends a revision of each row that this wrote."""
    written = _write_zipcodes(import_id).cte("written")
    names = [*STATED, *KEPT, "import_id"]
    revisions = insert(ZipcodeRevision).from_select(names, select(*(written.c[name] for name in names)))
    await connection.execute(revisions)


def _write_zipcodes(import_id: int) -> ReturningInsert[Any]:
    """The statement that writes what is new or differs, and returns the rows it wrote."""
    rows = select(*(INCOMING.c[name] for name in STATED), literal(import_id))
    write = upsert(Zipcode).from_select([*STATED, "import_id"], rows)
    differs: ColumnElement[bool] = or_(
        *(write.excluded[name].is_distinct_from(ZIPCODES[name]) for name in STATED)
    )
    updates = {name: write.excluded[name] for name in (*STATED, "import_id") if name != "zipcode"}
    return write.on_conflict_do_update(index_elements=["zipcode"], set_=updates, where=differs).returning(
        *(ZIPCODES[name] for name in (*STATED, *KEPT, "import_id"))
    )
