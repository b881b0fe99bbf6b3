"""Recording requests that were refused."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import RequestRefusal


@dataclass(frozen=True, slots=True)
class Refusal:
    """`hotkey`: the sender, None unless it was verified. `suppressed`: how many of that verb and error were
    left out since the last one written."""

    refused_at: datetime
    process: str
    verb: str
    error: str
    hotkey: str | None
    source: str
    request_id: str
    suppressed: int = 0


async def record_refusals(connection: AsyncConnection, refusals: Sequence[Refusal]) -> None:
    # Inline: the insert of one row would else ask for its id, which a writer here may not read.
    statement = insert(RequestRefusal).inline()
    await connection.execute(statement, [asdict(refusal) for refusal in refusals])
