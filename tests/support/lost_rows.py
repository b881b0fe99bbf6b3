"""An older backup of PostgreSQL, made by taking the newest epochs out of the record with all their detail."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables.base import Base

_DETAIL = [
    table.name
    for table in Base.metadata.sorted_tables
    if any(key.column.table.name == "epochs" for key in table.foreign_keys)
]


async def lose_epochs_from(connection: AsyncConnection, epoch_id: str) -> None:
    """As it was before that epoch. What that one was promised is there, since it was written with the epoch
    before; what its own message promises is not."""
    for table in (*_DETAIL, "epochs"):
        await connection.execute(text(f"delete from {table} where epoch_id >= :id"), {"id": epoch_id})
    for table in ("pending_epochs", "epoch_honeypots"):
        await connection.execute(text(f"delete from {table} where epoch_id >= :id"), {"id": epoch_id})
    await connection.execute(text("delete from epoch_inputs where epoch_id > :id"), {"id": epoch_id})
