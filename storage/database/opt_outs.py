"""Hotkeys for which no legacy commitment is accepted."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import LegacyOptOut

MAX_OPT_OUTS = 10_000
"""A subnet has fewer hotkeys. Without a limit, rows of a hostile writer could hold up every reader."""


async def opted_out(connection: AsyncConnection) -> frozenset[str]:
    """Return the hotkeys that opted out, the first MAX_OPT_OUTS of them."""
    query = select(LegacyOptOut.hotkey).order_by(LegacyOptOut.opted_out_at, LegacyOptOut.hotkey)
    return frozenset((await connection.execute(query.limit(MAX_OPT_OUTS))).scalars())


async def opt_out(connection: AsyncConnection, hotkey: str, now: datetime, request_id: str) -> None:
    values = {"hotkey": hotkey, "opted_out_at": now, "request_id": request_id}
    await connection.execute(upsert(LegacyOptOut).values(values).on_conflict_do_nothing())


async def opt_in(connection: AsyncConnection, hotkey: str) -> None:
    await connection.execute(delete(LegacyOptOut).where(LegacyOptOut.hotkey == hotkey))
