"""One epoch for validators: `GET …/epoch/{epoch_id}` (contract-http), from the record, without NATS.

Owns what is shown when: an epoch from its start, its seed one epoch after its end.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from http_bridge.current_reply import assignment_fields
from runtime.asking import record_of
from storage import epochs, history
from storage.epochs import StoredEpoch
from zipcast.calendar import EpochInterval
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError


@dataclass(frozen=True, slots=True)
class Assignments:
    database: AsyncEngine
    clock: Clock

    async def body(self, epoch_id: str) -> bytes:
        """`epoch_id` is well-formed.

        Raises ServiceError(EPOCH_NOT_FOUND | ARCHIVED | SERVICE_UNAVAILABLE)."""
        async with record_of(self.database) as connection:
            stored = await epochs.started_epoch(connection, epoch_id)
            seed = await history.revealed_seed(connection, epoch_id)
        if stored is None:
            raise ServiceError(ErrorCode.EPOCH_NOT_FOUND, "No epoch of that id has started.")
        if stored.status == "archived":
            raise ServiceError(ErrorCode.ARCHIVED, "The epoch's detail is no longer kept.")
        return epoch_body(stored, seed, self.clock.now())


def epoch_body(stored: StoredEpoch, seed: str | None, now: datetime) -> bytes:
    """`seed`: in hex, if the epoch has ended."""
    status = "ACTIVE" if now < stored.interval.end_at else "COMPLETED"
    shown: dict[str, object] = {"status": status}
    if seed is not None and now >= revealed_at(stored.interval):
        shown |= {"honeypots": [], "seed": seed}
    more = json.dumps(shown)[1:-1]
    return f"{{{assignment_fields(stored.envelope)},{more}}}".encode()


def revealed_at(interval: EpochInterval) -> datetime:
    """One epoch after its end."""
    return interval.end_at + (interval.end_at - interval.start_at)
