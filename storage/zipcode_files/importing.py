"""Imports a file of zipcodes as a new version of the zipcode data, in one transaction.

`storage.zipcode_files.row_rules` has the rules for rows. An import does not change zipcodes that are not in
the file, the column `active`, or a `base_weight` whose field in the file is empty. The rows are streamed into
a temporary table. Only these are kept in memory: the rejections, the places of the zipcodes in the file, and,
for JSON, the document.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Column, MetaData, Table, and_, func, insert, literal, not_, or_, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.dml import ReturningInsert

from storage.database.engine import driver_of
from storage.database.tables import Zipcode, ZipcodeImport, ZipcodeRevision
from storage.database.zipcode_versions import PoolZipcode, require_whole, select_as_of
from storage.zipcode_files.file import FileFormat, ZipcodeFile
from storage.zipcode_files.row_rules import ImportFileError, Rejection, RowRules, ZipcodeRow, check_rows
from zipcast.selection.model import SelectionSettings

BATCH_ROWS = 2_000

ZIPCODES = Zipcode.__table__.c
# The columns that a file can contain, in the order in which rows are copied.
STATED = tuple(field.name for field in fields(ZipcodeRow) if field.name in ZIPCODES)
# The columns that a file never contains. An import does not change them.
KEPT = ("active",)
INCOMING = Table(
    "incoming_zipcodes",
    MetaData(),
    *(Column(name, ZIPCODES[name].type) for name in STATED),
    Column("last_scraped_defaulted", Boolean),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)
_INCOMING_VALUES = attrgetter(*INCOMING.c.keys())


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The options of an import. If `file_format` is None, it follows from the file's suffix. `mapping` is the
    operator's {column: header}. With `strict`, nothing is imported if any row is rejected. With `dry_run`,
    everything is done in the database and rolled back. Rows older than `max_data_age` are counted, but they
    are imported too."""

    file_format: FileFormat | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    restore_leading_zeros: bool = False
    dry_run: bool = False
    strict: bool = False
    max_data_age: timedelta = SelectionSettings().max_data_age


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The row counts of an import or a dry run. `import_id` is the new version, or None if
    nothing was changed.

    A row whose only difference is an empty last_scraped counts as unchanged. `tiers_derived` counts rows
    without a tier; `tiers_defaulted` counts those of them that had no home value either and became STANDARD.
    `restored` is the number of zipcodes whose leading zeros were restored. `too_old` counts rows that were
    scraped longer ago than `max_data_age`; epochs prefer newer ones."""

    import_id: int | None
    added: int
    changed: int
    unchanged: int
    rejected: tuple[Rejection, ...]
    restored: int = 0
    tiers_derived: int = 0
    tiers_defaulted: int = 0
    too_old: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the counts, and every rejected row with the rule that it broke, for the operator."""
        return {
            "version": self.import_id,
            "added": self.added,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "rejected": [
                {"place": rejection.place, "field": rejection.field, "rule": rejection.rule}
                for rejection in self.rejected
            ],
            "restored": self.restored,
            "tiersDerived": self.tiers_derived,
            "tiersDefaulted": self.tiers_defaulted,
            "tooOld": self.too_old,
        }


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The result of checking a file without a database. The counts are those of `ImportReport`."""

    accepted: int
    rejected: tuple[Rejection, ...]
    restored: int
    tiers_derived: int
    tiers_defaulted: int
    too_old: int

    def as_json(self) -> dict[str, Any]:
        """Return the counts, and every rejected row with the rule that it broke."""
        report = ImportReport(
            None,
            0,
            0,
            0,
            self.rejected,
            self.restored,
            self.tiers_derived,
            self.tiers_defaulted,
            self.too_old,
        ).as_json()
        absent = ("version", "added", "changed", "unchanged")
        return {"accepted": self.accepted} | {name: report[name] for name in report if name not in absent}


class NothingAcceptedError(ImportFileError):
    """The file has rows, but all of them were rejected."""

    def __init__(self, rejected: tuple[Rejection, ...]) -> None:
        first = rejected[0]
        super().__init__(
            f"all {len(rejected)} rows were rejected; the first is {first.place}: {first.field} {first.rule}"
        )
        self.rejected = rejected


@dataclass(slots=True)
class _Received:
    """The counts so far. Rows that were scraped before `fresh_from` are too old."""

    fresh_from: datetime
    rows: int = 0
    restored: int = 0
    tiers_derived: int = 0
    tiers_defaulted: int = 0
    too_old: int = 0
    rejected: list[Rejection] = field(default_factory=list)

    def take(self, outcome: ZipcodeRow | Rejection) -> None:
        if isinstance(outcome, Rejection):
            self.rejected.append(outcome)
        else:
            self.count(outcome)

    def count(self, row: ZipcodeRow) -> None:
        self.rows += 1
        self.restored += row.zeros_restored
        self.tiers_derived += row.tier_derived
        self.tiers_defaulted += row.tier_derived and row.median_home_value is None
        self.too_old += row.last_scraped_at < self.fresh_from


def ignore(_: int) -> None:
    """Ignore the progress."""


def check_file(
    path: Path,
    *,
    now: datetime,
    options: ImportOptions | None = None,
    progress: Callable[[int], None] = ignore,
) -> FileCheck:
    """Check a file by the rules of an import, without a database. This blocks. Raises ImportFileError if the
    file cannot be read or is broken."""
    options = options or ImportOptions()
    received = _Received(now - options.max_data_age)
    with ZipcodeFile(path, options.file_format, options.mapping) as file:
        for outcome in check_rows(file.rows(), RowRules(now, options.restore_leading_zeros)):
            received.take(outcome)
            progress(file.bytes_read)
    return FileCheck(
        received.rows,
        tuple(received.rejected),
        received.restored,
        received.tiers_derived,
        received.tiers_defaulted,
        received.too_old,
    )


async def import_zipcodes(
    engine: AsyncEngine,
    path: Path,
    *,
    now: datetime,
    options: ImportOptions | None = None,
    progress: Callable[[int], None] = ignore,
) -> ImportReport:
    """Import a file as a new version, entirely or not at all.

    `now` (aware) is the time of the import, and of every row without last_scraped. `progress` is called with
    the number of bytes read. Imports wait for each other. Raises ImportFileError if the file cannot be read,
    is broken, or has no acceptable row, and DATABASE_ERRORS or asyncpg.PostgresError if the database fails.
    """
    options = options or ImportOptions()
    rules = RowRules(now, options.restore_leading_zeros)
    with await asyncio.to_thread(ZipcodeFile, path, options.file_format, options.mapping) as file:
        async with engine.connect() as connection, connection.begin() as transaction:
            await connection.execute(text("set local statement_timeout = '10min'"))
            received = await _receive(connection, file, rules, now - options.max_data_age, progress)
            await lock_versions(connection)
            report = _report(received, *await _count_differences(connection))
            import_id = await _record_import(connection, file, report, now)
            await _apply(connection, import_id)
            if options.dry_run or (options.strict and report.rejected):
                await transaction.rollback()
                return report
    return replace(report, import_id=import_id)


async def lock_versions(connection: AsyncConnection) -> None:
    """Let only this transaction make a version, until it ends.

    Ids must become visible in their order; otherwise the pool of a version could still change."""
    await connection.execute(text("set local statement_timeout = '60s'"))
    # This lock does not block readers, and logins without the right to write the table cannot take it.
    await connection.execute(text("lock table zipcast.zipcode_imports in share row exclusive mode"))


async def newest_import_id(connection: AsyncConnection) -> int | None:
    """Return the newest version, or None before the first import."""
    return await connection.scalar(select(func.max(ZipcodeImport.id)))


async def load_pool(connection: AsyncConnection, import_id: int) -> list[PoolZipcode]:
    """Return the active zipcodes of this import, ordered by zipcode. Raises VersionTrimmedError."""
    await require_whole(connection, import_id)
    pool = select_as_of(import_id, [field.name for field in fields(PoolZipcode)])
    pool = pool.where(ZipcodeRevision.active)
    return [PoolZipcode(*row) for row in await connection.execute(pool)]


async def _receive(
    connection: AsyncConnection,
    file: ZipcodeFile,
    rules: RowRules,
    fresh_from: datetime,
    progress: Callable[[int], None],
) -> _Received:
    """Copy the accepted rows to a temporary table. The file is read in a thread."""
    await connection.execute(CreateTable(INCOMING))
    driver = await driver_of(connection)
    received = _Received(fresh_from)
    outcomes = check_rows(file.rows(), rules)

    async def accepted() -> AsyncIterator[tuple[Any, ...]]:
        while batch := await asyncio.to_thread(lambda: tuple(islice(outcomes, BATCH_ROWS))):
            for outcome in batch:
                received.take(outcome)
                if not isinstance(outcome, Rejection):
                    yield _INCOMING_VALUES(outcome)
            progress(file.bytes_read)

    await driver.copy_records_to_table(INCOMING.name, records=accepted())
    if received.rows:
        return received
    if received.rejected:
        raise NothingAcceptedError(tuple(received.rejected))
    raise ImportFileError("has no rows")


def _report(received: _Received, added: int, changed: int) -> ImportReport:
    return ImportReport(
        import_id=None,
        added=added,
        changed=changed,
        unchanged=received.rows - added - changed,
        rejected=tuple(received.rejected),
        restored=received.restored,
        tiers_derived=received.tiers_derived,
        tiers_defaulted=received.tiers_defaulted,
        too_old=received.too_old,
    )


async def _record_import(
    connection: AsyncConnection, file: ZipcodeFile, report: ImportReport, now: datetime
) -> int:
    recorded = insert(ZipcodeImport).values(
        imported_at=now,
        source_name=file.name,
        source_sha256=file.sha256,
        added=report.added,
        changed=report.changed,
        unchanged=report.unchanged,
        rejected=len(report.rejected),
    )
    return (await connection.execute(recorded.returning(ZipcodeImport.id))).scalar_one()


async def _count_differences(connection: AsyncConnection) -> tuple[int, int]:
    """Return how many rows are new, and how many differ from the stored ones. Call it before `_apply`."""
    incoming = INCOMING.c
    is_new = ZIPCODES.zipcode.is_(None)
    differs = or_(
        *(
            incoming[name].is_distinct_from(ZIPCODES[name])
            for name in STATED
            if name not in {"last_scraped_at", "base_weight"}
        ),
        and_(incoming.base_weight.is_not(None), incoming.base_weight != ZIPCODES.base_weight),
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
    """Update `zipcodes`, and append a revision of each row that was written."""
    written = _write_zipcodes(import_id).cte("written")
    names = [*STATED, *KEPT, "import_id"]
    revisions = insert(ZipcodeRevision).from_select(names, select(*(written.c[name] for name in names)))
    await connection.execute(revisions)


def _write_zipcodes(import_id: int) -> ReturningInsert[Any]:
    """Return the statement that writes new and changed rows, and returns them."""
    stated: dict[str, ColumnElement[Any]] = dict(INCOMING.c.items())
    stated["base_weight"] = func.coalesce(INCOMING.c.base_weight, ZIPCODES.base_weight, 1.0)
    joined = INCOMING.outerjoin(Zipcode.__table__, INCOMING.c.zipcode == ZIPCODES.zipcode)
    rows = select(*(stated[name] for name in STATED), literal(import_id)).select_from(joined)
    write = upsert(Zipcode).from_select([*STATED, "import_id"], rows)
    differs: ColumnElement[bool] = or_(
        *(write.excluded[name].is_distinct_from(ZIPCODES[name]) for name in STATED)
    )
    updates = {name: write.excluded[name] for name in (*STATED, "import_id") if name != "zipcode"}
    return write.on_conflict_do_update(index_elements=["zipcode"], set_=updates, where=differs).returning(
        *(ZIPCODES[name] for name in (*STATED, *KEPT, "import_id"))
    )
