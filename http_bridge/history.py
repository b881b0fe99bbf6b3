"""`GET /api/v1/epochs` and `/api/v1/epochs/{id}`: ended epochs for anybody, from the record, without NATS."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import history
from storage.history import PastEpoch
from zipcast.calendar import MalformedEpochIdError, parse_epoch_id
from zipcast.errors import ErrorCode, ServiceError
from zipcast.history_messages import EndedEpoch, EndedEpochReply, EndedEpochsReply
from zipcast.messages import Proof

PATIENCE_SECONDS = 5.0
DEFAULT_LIMIT, MOST = 20, 100
_COUNT = re.compile(r"[1-9][0-9]{0,2}")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class History:
    database: AsyncEngine

    async def page(self, parameters: dict[str, str]) -> EndedEpochsReply:
        """Raises ServiceError(MALFORMED_REQUEST | MALFORMED_EPOCH_ID | SERVICE_UNAVAILABLE)."""
        limit = _limit(parameters.get("limit", str(DEFAULT_LIMIT)))
        before = parameters.get("before")
        start_at = None if before is None else _start("before", before)
        found = await self._read(lambda connection: history.ended_epochs(connection, start_at, limit))
        epochs = tuple(EndedEpoch.model_validate(_shown(past)) for past in found)
        more = len(epochs) == limit
        return EndedEpochsReply(epochs=epochs, next_before=epochs[-1].epoch_id if more else None)

    async def one(self, epoch_id: str) -> EndedEpochReply:
        """Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | SERVICE_UNAVAILABLE)."""
        _start("epochId", epoch_id)
        found = await self._read(lambda connection: history.ended_epoch(connection, epoch_id))
        if found is None:
            raise ServiceError(ErrorCode.EPOCH_NOT_FOUND, "No epoch of that id has ended.")
        return EndedEpochReply.model_validate(_shown(found))

    async def _read(self, query: Callable[[AsyncConnection], Awaitable[Found]]) -> Found:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self.database.connect() as connection:
                return await query(connection)
        except (SQLAlchemyError, TimeoutError) as error:
            raise ServiceError(
                ErrorCode.SERVICE_UNAVAILABLE, "The record does not answer.", retry_after_seconds=2
            ) from error


def _start(name: str, epoch_id: str) -> datetime:
    try:
        return parse_epoch_id(epoch_id)
    except MalformedEpochIdError:
        raise ServiceError(
            ErrorCode.MALFORMED_EPOCH_ID, f"{name} must have the form YYYY-MM-DDTHH-MM-SS."
        ) from None


def _limit(text: str) -> int:
    if not _COUNT.fullmatch(text) or int(text) > MOST:
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, f"limit must be a number from 1 to {MOST}.")
    return int(text)


def _status(past: PastEpoch) -> Literal["COMPLETED", "ARCHIVED", "MISSED"]:
    """By the clock: an epoch that has ended is completed, marked or not."""
    if past.envelope is None:
        return "MISSED"
    return "ARCHIVED" if past.status == "archived" else "COMPLETED"


def _late_seconds(past: PastEpoch) -> float | None:
    """To the millisecond. Clocks that differ a little must not make an epoch early."""
    if past.published_at is None or past.envelope is None:
        return None
    late = past.published_at - past.interval.start_at
    return max(0.0, round(late.total_seconds(), 3))


def _shown(past: PastEpoch) -> dict[str, object]:
    envelope = past.envelope
    proof = None
    if envelope is not None:
        proof = Proof(payload=envelope.payload.decode(), signer=envelope.signer, signature=envelope.signature)
    return {
        "epoch_id": past.interval.epoch_id,
        "epoch_start": past.interval.start_at,
        "epoch_end": past.interval.end_at,
        "status": _status(past),
        "late_seconds": _late_seconds(past),
        "seed": past.seed,
        "seed_commitment": past.seed_commitment,
        "proof": proof,
    }
