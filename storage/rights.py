"""Whether a database login has more rights than the process behind it should have."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection


async def may_read_seeds(connection: AsyncConnection) -> bool:
    """Whether this login could learn an epoch before its start: only the scheduler's may."""
    query = select(func.has_column_privilege("epochs", "seed", "select"))
    return bool((await connection.execute(query)).scalar())
