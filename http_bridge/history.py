"""Answers `GET /api/v1/epochs` and `/api/v1/epochs/{id}` from the database, without NATS.

`cached_replies` limits how many requests are processed at once.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncEngine

from http_bridge.cached_replies import ReadyReplies, ReadyReply
from service.database_reads import epoch_start, record_of
from storage.database import history
from storage.database.history import EpochTiming, PastEpoch
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.messages.epochs import Proof
from zipcast.protocol.messages.history import EndedEpoch, EndedEpochReply, EndedEpochsReply

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
EndedStatus = Literal["COMPLETED", "LATE", "ARCHIVED", "MISSED"]
_COUNT = re.compile(r"[1-9][0-9]{0,2}")


class EndedEpochsQuery(WireModel):
    """The parameters of the list of ended epochs."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Epochs per page.")
    before: str | None = Field(
        default=None, description="Epoch id. Only epochs that started before that epoch are returned."
    )


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for the newest `limit` epochs that started before `before`, or, without `before`, of all
    epochs."""

    limit: int
    before: datetime | None

    @classmethod
    def of(cls, parameters: dict[str, str]) -> "PageRequest":
        """Read the query. Raises ServiceError(MALFORMED_REQUEST | MALFORMED_EPOCH_ID)."""
        limit = _limit(parameters.get("limit", str(DEFAULT_LIMIT)))
        before = parameters.get("before")
        return cls(limit, None if before is None else epoch_start("before", before))


@dataclass(frozen=True, slots=True)
class History:
    """Reads ended epochs from the database."""

    database: AsyncEngine

    async def one(self, epoch_id: str) -> EndedEpochReply:
        """Return one epoch. Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND |
        SERVICE_UNAVAILABLE)."""
        epoch_start("epochId", epoch_id)
        return _one(await self.read_one(epoch_id))

    async def read_page(self, asked: PageRequest) -> list[PastEpoch]:
        """Read the epochs of a page. Raises ServiceError(SERVICE_UNAVAILABLE)."""
        async with record_of(self.database) as connection:
            return await history.ended_epochs(connection, asked.before, asked.limit)

    async def read_one(self, epoch_id: str) -> PastEpoch:
        """Read one epoch. `epoch_id` must be well-formed. Raises ServiceError(EPOCH_NOT_FOUND |
        SERVICE_UNAVAILABLE)."""
        async with record_of(self.database) as connection:
            found = await history.ended_epoch(connection, epoch_id)
        if found is None:
            raise ServiceError(ErrorCode.EPOCH_NOT_FOUND, "No epoch with that id has ended.")
        return found


@dataclass(frozen=True, slots=True)
class PublicHistory:
    """The public history as finished bytes, built for a few requests at a time."""

    history: History
    replies: ReadyReplies

    async def page(self, parameters: dict[str, str]) -> ReadyReply:
        """Return one page. Raises ServiceError(MALFORMED_REQUEST | MALFORMED_EPOCH_ID |
        SERVICE_UNAVAILABLE)."""
        asked = PageRequest.of(parameters)
        read = partial(self.history.read_page, asked)
        return await self.replies.reply(
            f"{asked.limit} before {asked.before}", read, partial(_page, asked.limit)
        )

    async def one(self, epoch_id: str) -> ReadyReply:
        """Return one epoch. Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND |
        SERVICE_UNAVAILABLE)."""
        epoch_start("epochId", epoch_id)
        return await self.replies.reply(epoch_id, partial(self.history.read_one, epoch_id), _one)


def _page(limit: int, found: list[PastEpoch]) -> EndedEpochsReply:
    epochs = tuple(EndedEpoch.model_validate(_shown(past)) for past in found)
    more = len(epochs) == limit
    return EndedEpochsReply(epochs=epochs, next_before=epochs[-1].epoch_id if more else None)


def _one(found: PastEpoch) -> EndedEpochReply:
    return EndedEpochReply.model_validate(_shown(found))


def _limit(text: str) -> int:
    if not _COUNT.fullmatch(text) or int(text) > MAX_LIMIT:
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, f"limit must be a number from 1 to {MAX_LIMIT}.")
    return int(text)


def ended_status(past: PastEpoch | EpochTiming) -> EndedStatus:
    """Return the status by the clock: an epoch that has ended is completed, even if its row is not marked
    yet, unless it was published too late."""
    if past.status == "missed":
        return "MISSED"
    if past.status == "archived":
        return "ARCHIVED"
    return "LATE" if came_too_late(past.published_at, past.interval) else "COMPLETED"


def came_too_late(published_at: datetime | None, interval: EpochInterval) -> bool:
    """Return whether an ended epoch was published only after its end, or is not published yet."""
    return published_at is None or published_at >= interval.end_at


def late_seconds(past: PastEpoch | EpochTiming) -> float | None:
    """Return the delay of publication in seconds, rounded to milliseconds. It is never negative, even if
    clocks differ a little."""
    if past.published_at is None or past.status == "missed":
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
        "status": ended_status(past),
        "late_seconds": late_seconds(past),
        "seed": past.seed,
        "beacon": past.beacon,
        "seed_commitment": past.seed_commitment,
        "proof": proof,
    }
