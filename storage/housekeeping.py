"""Keeping the record small: what is dropped, and after how long. Only the scheduler calls this.

Every step is short and may be repeated by any number of replicas.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import RequestRefusal

REFUSALS_KEPT = timedelta(days=30)
BATCH = 5_000


async def keep_claims_partitioned(connection: AsyncConnection) -> None:
    """Partitions for the coming week; those of days that are over go."""
    await connection.execute(select(func.maintain_request_claims()))


async def drop_old_refusals(connection: AsyncConnection, now: datetime) -> int:
    """One batch, oldest first; how many went."""
    oldest = (
        select(RequestRefusal.id)
        .where(RequestRefusal.refused_at < now - REFUSALS_KEPT)
        .order_by(RequestRefusal.refused_at)
        .limit(BATCH)
    )
    return (await connection.execute(delete(RequestRefusal).where(RequestRefusal.id.in_(oldest)))).rowcount
