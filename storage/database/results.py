"""Stores validators' reports, each in one transaction. The newest one counts; earlier ones are kept.

Only the responder may query `validator_results` and `validation_audit`. The other processes read the reports
of a revealed epoch with SQL functions.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4
from zlib import crc32

from sqlalchemy import (
    ColumnElement,
    Label,
    Row,
    Select,
    SQLColumnExpression,
    Subquery,
    TableValuedAlias,
    and_,
    column,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import ReportLock, ValidationAudit, ValidatorResult

# The number of rows of `report_locks`, which the migrations create.
REPORT_LOCKS = 64
BATCH_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A reported file as it was found. `checked_by` tells how its hash was checked: by the store's checksum,
    or by reading the content."""

    key: str
    size_bytes: int
    sha256: str
    version_id: str | None
    checked_by: Literal["checksum", "content"]


@dataclass(frozen=True, slots=True)
class AuditedZipcode:
    miner_hotkey: str
    zipcode: str
    validation_type: str
    result: str
    score: float
    listings_checked: int
    issues: list[str]


@dataclass(frozen=True, slots=True)
class NewResult:
    """A checked report to store. `reported_at` is when it was signed. `top_3_miners` has hotkeys and scores,
    best first."""

    epoch_id: str
    hotkey: str
    alpha_stake_rao: int
    reported_at: datetime
    received_at: datetime
    started_at: datetime | None
    duration_seconds: float
    miners_evaluated: int
    listings_validated: int
    top_3_miners: list[dict[str, Any]]
    files: tuple[StoredFile, ...]
    audit: tuple[AuditedZipcode, ...]
    body_sha256: str
    request_key: str
    request_id: str


@dataclass(frozen=True, slots=True)
class RecordedResult:
    """A stored report. `earlier` is the number of earlier reports of the same validator on the same epoch."""

    id: UUID
    hotkey: str
    alpha_stake_rao: int
    reported_at: datetime
    received_at: datetime
    superseded_at: datetime | None
    is_late: bool
    duration_seconds: float
    miners_evaluated: int
    listings_validated: int
    top_3_miners: list[dict[str, Any]]
    files: list[dict[str, Any]]
    body_sha256: str
    request_key: str | None
    audit_rows: int
    earlier: int


async def revealed_results(connection: AsyncConnection, epoch_id: str) -> list[RecordedResult]:
    """Return each validator's newest report that arrived in time, and its newest late report, ordered by
    hotkey. The newest of all is one of them. Before the epoch is revealed, the result is empty."""
    columns = [column(name, ValidatorResult.__table__.c[name].type) for name in _STORED]
    results = func.zipcast.revealed_results(epoch_id).table_valued(*columns, name="revealed")
    return await _newest(connection, select(results).subquery(), revealed_audit(epoch_id).c.result_id)


def revealed_audit(epoch_id: str) -> TableValuedAlias:
    """Return the audit rows of a revealed epoch, as a table that every process may query."""
    return func.zipcast.revealed_audit(epoch_id).table_valued(*_AUDIT_COLUMNS, name="audit")


async def own_results(connection: AsyncConnection, epoch_id: str, hotkey: str) -> list[RecordedResult]:
    """Return one validator's newest report in time and its newest late one, at any time. For the responder
    only."""
    return await _newest(connection, _stored(epoch_id, hotkey), ValidationAudit.result_id)


async def _newest(
    connection: AsyncConnection, results: Subquery, audited: SQLColumnExpression[UUID]
) -> list[RecordedResult]:
    counted = func.row_number().over(
        partition_by=(results.c.hotkey, results.c.is_late),
        order_by=(results.c.received_at.desc(), results.c.id),
    )
    numbered = _numbered(results, counted.label("recency")).subquery()
    query = _read(numbered, audited).where(numbered.c.recency == 1)
    rows = await connection.execute(query.order_by(numbered.c.hotkey, numbered.c.received_at))
    return [_result(row) for row in rows]


async def known_result(
    connection: AsyncConnection, epoch_id: str, hotkey: str, request_key: str, body_sha256: str
) -> RecordedResult | None:
    """Return the report that this same request stored, or the validator's newest report if it has the same
    body, or None."""
    numbered = _numbered(_stored(epoch_id, hotkey)).subquery()
    same = and_(numbered.c.superseded_at.is_(None), numbered.c.body_sha256 == body_sha256)
    by_request = numbered.c.request_key == request_key
    query = _read(numbered, ValidationAudit.result_id)
    query = query.where(or_(by_request, same)).order_by(by_request.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return None if row is None else _result(row)


async def store_result(connection: AsyncConnection, new: NewResult) -> RecordedResult:
    """Store a report with its audit rows and return it. If the validator's newest report was signed later or
    has the same body, store nothing and return that one. Reports of one validator on one epoch are stored one
    after the other, with a lock."""
    slot = crc32(f"{new.epoch_id} {new.hotkey}".encode()) % REPORT_LOCKS
    await connection.execute(select(ReportLock.slot).where(ReportLock.slot == slot).with_for_update())
    known = await known_result(connection, new.epoch_id, new.hotkey, new.request_key, new.body_sha256)
    if known is not None:
        return known
    signed_later = _numbered(_stored(new.epoch_id, new.hotkey)).subquery()
    query = _read(signed_later, ValidationAudit.result_id).where(
        signed_later.c.superseded_at.is_(None), signed_later.c.reported_at >= new.reported_at
    )
    row = (await connection.execute(query)).first()
    if row is not None:
        return _result(row)
    await _write(connection, new)
    stored = await known_result(connection, new.epoch_id, new.hotkey, new.request_key, new.body_sha256)
    if stored is None:
        raise LookupError("a report that was just written is not there")
    return stored


async def _write(connection: AsyncConnection, new: NewResult) -> None:
    in_force = (
        ValidatorResult.epoch_id == new.epoch_id,
        ValidatorResult.hotkey == new.hotkey,
        ValidatorResult.superseded_at.is_(None),
    )
    await connection.execute(update(ValidatorResult).where(*in_force).values(superseded_at=new.received_at))
    values = asdict(new) | {"id": (result_id := uuid4())}
    audit = values.pop("audit")
    late = func.zipcast.epoch_is_revealed(new.epoch_id)
    await connection.execute(insert(ValidatorResult).values(**values, is_late=late))
    rows = [{**row, "result_id": result_id, "epoch_id": new.epoch_id} for row in audit]
    for begin in range(0, len(rows), BATCH_ROWS):
        # `inline`, because otherwise SQLAlchemy would read the new rows' ids, which are not needed.
        await connection.execute(insert(ValidationAudit).inline(), rows[begin : begin + BATCH_ROWS])


_OWN = tuple(name for name in RecordedResult.__dataclass_fields__ if name not in {"audit_rows", "earlier"})
# The columns in the order of the tables. The SQL functions return them in the same order.
_STORED = tuple(ValidatorResult.__table__.c.keys())
_AUDIT_COLUMNS = tuple(column(one.name, one.type) for one in ValidationAudit.__table__.c)


def _stored(epoch_id: str, hotkey: str) -> Subquery:
    """Return a query for every report of one validator on one epoch."""
    mine = (ValidatorResult.epoch_id == epoch_id, ValidatorResult.hotkey == hotkey)
    return select(ValidatorResult.__table__).where(*mine).subquery()


def _numbered(results: Subquery, *more: Label[int]) -> Select[Any]:
    """Return a query for the reports, each with the number of earlier reports of the same validator."""
    order = (results.c.received_at, results.c.id)
    earlier = func.row_number().over(partition_by=results.c.hotkey, order_by=order) - 1
    return select(*(results.c[name] for name in _OWN), earlier.label("earlier"), *more)


def _read(numbered: Subquery, audited: SQLColumnExpression[UUID]) -> Select[Any]:
    """Return a query that adds the number of audit rows, counted once for all reports."""
    columns_of: tuple[ColumnElement[Any], ...] = (
        audited.label("result_id"),
        func.count().label("audit_rows"),
    )
    counts = select(*columns_of).where(audited.in_(select(numbered.c.id))).group_by(audited).subquery()
    columns = [numbered.c[name] for name in (*_OWN, "earlier")]
    joined = numbered.outerjoin(counts, counts.c.result_id == numbered.c.id)
    audit_rows = func.coalesce(counts.c.audit_rows, 0).label("audit_rows")
    return select(*columns, audit_rows).select_from(joined)


def _result(row: Row[Any]) -> RecordedResult:
    return RecordedResult(**row._mapping)
