"""Simulates an older backup of PostgreSQL by deleting the newest epochs with all their details."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables.base import Base

_DETAIL = [
    table.name
    for table in Base.metadata.sorted_tables
    if any(key.column.table.name == "epochs" for key in table.foreign_keys)
]


async def lose_epochs_from(connection: AsyncConnection, epoch_id: str) -> None:
    """Restore the state before this epoch. The inputs of this epoch are kept, because they were written with
    the previous epoch. The inputs to which its own message commits are deleted."""
    for table in (*_DETAIL, "epochs"):
        await connection.execute(text(f"delete from {table} where epoch_id >= :id"), {"id": epoch_id})
    for table in ("pending_epochs", "epoch_honeypots"):
        await connection.execute(text(f"delete from {table} where epoch_id >= :id"), {"id": epoch_id})
    await connection.execute(text("delete from epoch_inputs where epoch_id > :id"), {"id": epoch_id})
