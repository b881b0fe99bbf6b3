"""Recording requests that were refused."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import RequestRefusal


@dataclass(frozen=True, slots=True)
class Refusal:
    """`hotkey`: whom the request named, proven or not. `suppressed`: how many of that verb and error were
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
    # Inline: a single row's id would be asked back otherwise, which who may only insert may not.
    await connection.execute(insert(RequestRefusal).inline(), [asdict(refusal) for refusal in refusals])
