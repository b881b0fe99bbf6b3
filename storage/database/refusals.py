"""Stores refused requests."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import RequestRefusal


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request. `hotkey` is the sender, or None if it was not verified. `suppressed` is the number
    of refusals with the same verb and error that were left out since the last stored one."""

    refused_at: datetime
    process: str
    verb: str
    error: str
    hotkey: str | None
    source: str
    request_id: str
    suppressed: int = 0


async def record_refusals(connection: AsyncConnection, refusals: Sequence[Refusal]) -> None:
    # `inline`, because otherwise SQLAlchemy would read the new row's id, which this login may not read.
    statement = insert(RequestRefusal).inline()
    await connection.execute(statement, [asdict(refusal) for refusal in refusals])
