"""Stores registry snapshots in PostgreSQL: the last good copy, and earlier ones to explain decisions."""

from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import RegistrySnapshot as Row
from zipcast.protocol.messages.registry import RegistrySnapshot

TRIMMED_AT_ONCE = 50


async def store_snapshot(connection: AsyncConnection, snapshot: RegistrySnapshot) -> None:
    """Store a snapshot, unless one with the same block number is stored."""
    await connection.execute(
        insert(Row)
        .values(
            network=snapshot.network,
            netuid=snapshot.netuid,
            block_number=snapshot.block_number,
            taken_at=snapshot.taken_at,
            snapshot=snapshot.model_dump(mode="json"),
        )
        .on_conflict_do_nothing()
    )


async def newest_snapshot(connection: AsyncConnection, network: str, netuid: int) -> RegistrySnapshot | None:
    query = (
        select(Row.snapshot)
        .where(Row.network == network, Row.netuid == netuid)
        .order_by(Row.block_number.desc())
        .limit(1)
    )
    found = (await connection.execute(query)).scalar()
    return None if found is None else RegistrySnapshot.model_validate(found)


async def snapshot_as_of(
    connection: AsyncConnection, network: str, netuid: int, at: datetime
) -> RegistrySnapshot | None:
    """Return the snapshot that was used at this time: the newest one taken by then. If those were deleted,
    return the oldest one after it."""
    of_subnet = select(Row.snapshot).where(Row.network == network, Row.netuid == netuid)
    before = of_subnet.where(Row.taken_at <= at).order_by(Row.block_number.desc()).limit(1)
    after = of_subnet.where(Row.taken_at > at).order_by(Row.block_number).limit(1)
    found = (await connection.execute(before)).scalar() or (await connection.execute(after)).scalar()
    return None if found is None else RegistrySnapshot.model_validate(found)


async def trim_snapshots(connection: AsyncConnection, network: str, netuid: int, before: datetime) -> int:
    """Delete some of the oldest snapshots that were taken before `before`, but never the newest one. Return
    how many."""
    of_subnet = (Row.network == network) & (Row.netuid == netuid)
    oldest = (
        select(Row.block_number, Row.taken_at)
        .where(of_subnet)
        .order_by(Row.block_number)
        .limit(TRIMMED_AT_ONCE)
        .subquery()
    )
    newest = select(func.max(Row.block_number)).where(of_subnet).scalar_subquery()
    expired = select(oldest.c.block_number).where(oldest.c.taken_at < before, oldest.c.block_number < newest)
    trimmed = await connection.execute(delete(Row).where(of_subnet, Row.block_number.in_(expired)))
    return trimmed.rowcount
