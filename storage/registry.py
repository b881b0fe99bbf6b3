"""Metagraph snapshots in PostgreSQL: the last good copy, and the trail behind each decision."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import RegistrySnapshot as Row
from zipcast.messages import RegistrySnapshot


async def store_snapshot(connection: AsyncConnection, snapshot: RegistrySnapshot) -> None:
    """Idempotent per block number."""
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
