"""Returns an epoch's pool to validators, page by page, over NATS and HTTP alike.

This module decides when a pool is shown and how large a page is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.current_epoch import CurrentEpoch
from service.database_reads import epoch_start, record_of, require_detail
from service.paging import PAGE_BYTES, page_of, wire_bytes
from storage.database import epoch_pools, epochs
from storage.database.epoch_pools import RevealedPool
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import first_fault
from zipcast.protocol.messages.pools import (
    EpochPoolReply,
    EpochPoolRequest,
    PoolDetail,
    PoolRow,
    ShownHoneypot,
    ShownSignal,
)
from zipcast.selection.model import Candidate

PAGE_ROWS = 1_000
SIGNAL_BYTES = 80_000


@dataclass(frozen=True, slots=True)
class EpochPools:
    database: AsyncEngine
    current: CurrentEpoch

    async def page(self, request: EpochPoolRequest) -> EpochPoolReply:
        """Return one page of a pool.

        Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | NOT_YET_REVEALED | ARCHIVED |
        SERVICE_UNAVAILABLE)."""
        epoch_start("epochId", request.epoch_id)
        return await self.current.when_stored(request.epoch_id, partial(self._page, request))

    async def _page(self, request: EpochPoolRequest) -> EpochPoolReply:
        async with record_of(self.database) as connection:
            return await _page(connection, request)


def pool_request(asked: Mapping[str, object]) -> EpochPoolRequest:
    """Read an HTTP query. Raises ServiceError(MALFORMED_REQUEST)."""
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
    revelation = revealed.revelation
    signals = [
        ShownSignal.model_validate(one, from_attributes=True)
        for one in await epoch_pools.read_signals(connection, epoch_id)
    ]
    # The first page has as many signals as fit beside its other parts.
    shown = page_of(signals, wire_bytes, SIGNAL_BYTES, at_least=0)
    relaxed = await epoch_pools.read_relaxed(connection, epoch_id)
    return PoolDetail(
        inputs=revealed.stored_inputs.decode(),
        seed=revelation.seed,
        relaxed_age_days=relaxed.age_days,
        relaxed_cooldown=relaxed.cooldown,
        honeypots=tuple(
            ShownHoneypot.model_validate(one, from_attributes=True) for one in revelation.honeypots
        ),
        signals=tuple(shown),
        signals_left_out=len(signals) - len(shown),
    )


def _filled(
    request: EpochPoolRequest, detail: PoolDetail | None, found: list[tuple[Candidate, str]], spare_bytes: int
) -> EpochPoolReply:
    rows = page_of((PoolRow.of(one, commitment) for one, commitment in found), _most_bytes, spare_bytes)
    more = len(rows) < len(found) or len(found) == PAGE_ROWS
    return EpochPoolReply(
        epoch_id=request.epoch_id,
        detail=detail,
        candidates=tuple(rows),
        next_after=rows[-1].zipcode if more else None,
    )


def _most_bytes(row: PoolRow) -> int:
    """Return an upper bound of the row's size in JSON. Escaping quotes and backslashes at most doubles a
    text."""
    texts = (row.city, row.county, row.geographic_region)
    return 180 + sum(len(text.encode()) + text.count('"') + text.count("\\") for text in texts)
