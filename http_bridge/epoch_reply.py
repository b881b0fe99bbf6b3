"""Answers `GET …/epoch/{epoch_id}` for validators (docs/http-contract.md), from the database, without NATS.

An epoch is shown from its start on. Its seed and honeypots are shown once they are revealed.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from http_bridge.current_reply import assignment_fields
from service.current_epoch import CurrentEpoch
from service.database_reads import record_of, require_detail
from storage.database import epochs, honeypots
from storage.database.epochs import StoredEpoch
from storage.database.honeypots import Revelation
from zipcast.clock import Clock


@dataclass(frozen=True, slots=True)
class Assignments:
    database: AsyncEngine
    clock: Clock
    current: CurrentEpoch

    async def body(self, epoch_id: str) -> bytes:
        """Return the body of the reply. `epoch_id` must be well-formed.

        Raises ServiceError(EPOCH_NOT_FOUND | ARCHIVED | SERVICE_UNAVAILABLE)."""
        return await self.current.when_stored(epoch_id, partial(self._body, epoch_id))

    async def _body(self, epoch_id: str) -> bytes:
        async with record_of(self.database) as connection:
            stored = await epochs.started_epoch(connection, epoch_id)
            revealed = await honeypots.revelation(connection, epoch_id)
        return epoch_body(require_detail(stored), revealed, self.clock.now())


def epoch_body(stored: StoredEpoch, revealed: Revelation | None, now: datetime) -> bytes:
    """Return the body of the reply. `revealed` is set once one epoch has passed since the epoch's end."""
    status = "ACTIVE" if now < stored.interval.end_at else "COMPLETED"
    shown: dict[str, object] = {"status": status}
    if revealed is not None:
        shown |= {
            "honeypots": [one.zipcode for one in revealed.honeypots if not one.discarded],
            "seed": revealed.seed,
        }
    more = json.dumps(shown)[1:-1]
    return f"{{{assignment_fields(stored.envelope)},{more}}}".encode()
