"""Reads the hotkeys that refuse legacy signatures."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import LegacyOptOut

MAX_OPT_OUTS = 10_000
"""This is more than the number of hotkeys in a subnet. Without a limit, a hostile writer's rows could delay
every reader."""


async def opted_out(connection: AsyncConnection) -> frozenset[str]:
    """Return the first MAX_OPT_OUTS hotkeys that opted out."""
    query = select(LegacyOptOut.hotkey).order_by(LegacyOptOut.opted_out_at, LegacyOptOut.hotkey)
    return frozenset((await connection.execute(query.limit(MAX_OPT_OUTS))).scalars())


async def opt_out(connection: AsyncConnection, hotkey: str, now: datetime, request_id: str) -> None:
    values = {"hotkey": hotkey, "opted_out_at": now, "request_id": request_id}
    await connection.execute(upsert(LegacyOptOut).values(values).on_conflict_do_nothing())


async def opt_in(connection: AsyncConnection, hotkey: str) -> None:
    await connection.execute(delete(LegacyOptOut).where(LegacyOptOut.hotkey == hotkey))
