"""An epoch's pool for validators, page by page: the same reply at both doors.

Owns when it is shown, and how large a page is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from runtime.asking import epoch_start, record_of, require_detail
from storage import epoch_pools, epochs
from storage.epoch_pools import RevealedPool
from zipcast.errors import ErrorCode, ServiceError
from zipcast.messages import first_fault
from zipcast.pool_messages import (
    EpochPoolReply,
    EpochPoolRequest,
    PoolDetail,
    PoolRow,
    ToldHoneypot,
    ToldSignal,
)
from zipcast.selection import Candidate

# nats.conf allows 256 KB a message. A page holds at least one row, of 1.5 KB at the most.
PAGE_BYTES = 180_000
PAGE_ROWS = 1_000
SIGNAL_BYTES = 80_000


@dataclass(frozen=True, slots=True)
class EpochPools:
    database: AsyncEngine

    async def page(self, request: EpochPoolRequest) -> EpochPoolReply:
        """Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | NOT_YET_REVEALED | ARCHIVED |
        SERVICE_UNAVAILABLE)."""
        epoch_start("epochId", request.epoch_id)
        async with record_of(self.database) as connection:
            return await _page(connection, request)


def pool_request(asked: Mapping[str, object]) -> EpochPoolRequest:
    """From an HTTP query. Raises ServiceError(MALFORMED_REQUEST)."""
    try:
        return EpochPoolRequest.model_validate(asked)
    except ValidationError as error:
        raise first_fault(error) from None


async def _page(connection: AsyncConnection, request: EpochPoolRequest) -> EpochPoolReply:
    require_detail(await epochs.started_epoch(connection, request.epoch_id))
    revealed = await epoch_pools.read_revealed(connection, request.epoch_id)
    if revealed is None:
        raise ServiceError(ErrorCode.NOT_YET_REVEALED, "The pool is shown one epoch after the epoch's end.")
    detail = await _detail(connection, request.epoch_id, revealed) if request.after is None else None
    spare = PAGE_BYTES - (0 if detail is None else len(detail.to_bytes()))
    found = await epoch_pools.read_candidates(connection, revealed.inputs, request.after, PAGE_ROWS)
    return _filled(request, detail, found, spare)


async def _detail(connection: AsyncConnection, epoch_id: str, revealed: RevealedPool) -> PoolDetail:
    told = revealed.revelation
    signals = [
        ToldSignal.model_validate(one, from_attributes=True)
        for one in await epoch_pools.read_signals(connection, epoch_id)
    ]
    shown = _fitting(signals)
    relaxed = await epoch_pools.read_relaxed(connection, epoch_id)
    return PoolDetail(
        inputs=revealed.stored_inputs.decode(),
        seed=told.seed,
        relaxed_age_days=relaxed.age_days,
        relaxed_cooldown=relaxed.cooldown,
        honeypots=tuple(ToldHoneypot.model_validate(one, from_attributes=True) for one in told.honeypots),
        signals=shown,
        signals_left_out=len(signals) - len(shown),
    )


def _fitting(signals: list[ToldSignal]) -> tuple[ToldSignal, ...]:
    """As many as leave room for the rest of the first page."""
    spare_bytes, count = SIGNAL_BYTES, 0
    for one in signals:
        spare_bytes -= len(one.to_bytes()) + 1
        count += spare_bytes >= 0
    return tuple(signals[:count])


def _filled(
    request: EpochPoolRequest, detail: PoolDetail | None, found: list[tuple[Candidate, str]], spare_bytes: int
) -> EpochPoolReply:
    """As many rows as there is room for, and at least one if there are any."""
    rows: list[PoolRow] = []
    for one, commitment in found:
        row = PoolRow.of(one, commitment)
        spare_bytes -= _most_bytes(row)
        if rows and spare_bytes < 0:
            break
        rows.append(row)
    more = len(rows) < len(found) or len(found) == PAGE_ROWS
    return EpochPoolReply(
        epoch_id=request.epoch_id,
        detail=detail,
        candidates=tuple(rows),
        next_after=rows[-1].zipcode if more else None,
    )


def _most_bytes(row: PoolRow) -> int:
    """Not less than its JSON takes: printable text grows only by what quotes and backslashes need."""
    texts = (row.city, row.county, row.geographic_region)
    return 180 + sum(len(text.encode()) + text.count('"') + text.count("\\") for text in texts)
