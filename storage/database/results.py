"""Stores validators' reports: written whole or not at all, the newest in force, the earlier ones kept.

Only the responder may query `validator_results` and `validation_audit`. Every process reads the reports of a
revealed epoch by functions. Whether a report is true is not decided here.
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

# The migrations make this many rows of `report_locks`.
REPORT_LOCKS = 64
BATCH_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a report as it was found; `checked_by`: the store's own checksum, or the content."""

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
    """A report that was checked. `reported_at`: when it was signed; `top_3_miners`: hotkey and score,
    ranked."""

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
    """A report on record. `earlier`: how many of the same validator and epoch came before it."""

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
    """Return each validator's newest report that came in time and newest late one, ordered by hotkey. The one
    in force is among them. Nothing before the epoch is revealed."""
    columns = [column(name, ValidatorResult.__table__.c[name].type) for name in _STORED]
    results = func.zipcast.revealed_results(epoch_id).table_valued(*columns, name="revealed")
    return await _newest(connection, select(results).subquery(), revealed_audit(epoch_id).c.result_id)


def revealed_audit(epoch_id: str) -> TableValuedAlias:
    """The audits of a revealed epoch, as a table that every process may query."""
    return func.zipcast.revealed_audit(epoch_id).table_valued(*_AUDIT_COLUMNS, name="audit")


async def own_results(connection: AsyncConnection, epoch_id: str, hotkey: str) -> list[RecordedResult]:
    """The same of one validator, at any time. For the responder only."""
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
    """Return the report that this very request made, or the one in force if it says the same."""
    numbered = _numbered(_stored(epoch_id, hotkey)).subquery()
    same = and_(numbered.c.superseded_at.is_(None), numbered.c.body_sha256 == body_sha256)
    by_request = numbered.c.request_key == request_key
    query = _read(numbered, ValidationAudit.result_id)
    query = query.where(or_(by_request, same)).order_by(by_request.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return None if row is None else _result(row)


async def store_result(connection: AsyncConnection, new: NewResult) -> RecordedResult:
    """Return the report stored for this request: this one, with its audit, instead of the one in force; or
    the one in force if that was signed later or says the same. Reports of one validator on one epoch take
    turns."""
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
        # Inline: SQLAlchemy would otherwise ask for the rows' ids, which are not used.
        await connection.execute(insert(ValidationAudit).inline(), rows[begin : begin + BATCH_ROWS])


_OWN = tuple(name for name in RecordedResult.__dataclass_fields__ if name not in {"audit_rows", "earlier"})
# In the order of the tables, which is that of the functions.
_STORED = tuple(ValidatorResult.__table__.c.keys())
_AUDIT_COLUMNS = tuple(column(one.name, one.type) for one in ValidationAudit.__table__.c)


def _stored(epoch_id: str, hotkey: str) -> Subquery:
    """Every report of one validator on one epoch."""
    mine = (ValidatorResult.epoch_id == epoch_id, ValidatorResult.hotkey == hotkey)
    return select(ValidatorResult.__table__).where(*mine).subquery()


def _numbered(results: Subquery, *more: Label[int]) -> Select[Any]:
    """Each of the reports, with how many of the same validator came before it."""
    order = (results.c.received_at, results.c.id)
    earlier = func.row_number().over(partition_by=results.c.hotkey, order_by=order) - 1
    return select(*(results.c[name] for name in _OWN), earlier.label("earlier"), *more)


def _read(numbered: Subquery, audited: SQLColumnExpression[UUID]) -> Select[Any]:
    """Add the number of audited zipcodes, which is counted once for all reports."""
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
