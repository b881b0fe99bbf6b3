"""Asking the record on a client's behalf: one transaction, a deadline, and no word of the driver.

Owns what a client is told when PostgreSQL is away, and of an epoch id that is none.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from zipcast.calendar import MalformedEpochIdError, parse_epoch_id
from zipcast.errors import ErrorCode, ServiceError

PATIENCE_SECONDS = 5.0
# What fails when the record is away, for those who go on without it.
RECORD_ERRORS = (SQLAlchemyError, TimeoutError)


@asynccontextmanager
async def record_of(database: AsyncEngine, *, durable: bool = True) -> AsyncIterator[AsyncConnection]:
    """A transaction of at most five seconds, committed at the end of the block. What is not `durable` is not
    waited for on disk: PostgreSQL's own crash may lose the last half second of it, and never breaks it.

    Raises ServiceError(SERVICE_UNAVAILABLE)."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), database.begin() as connection:
            if not durable:
                await connection.execute(text("set local synchronous_commit = off"))
            yield connection
    except RECORD_ERRORS as error:
        raise ServiceError(
            ErrorCode.SERVICE_UNAVAILABLE, "The record does not answer.", retry_after_seconds=2
        ) from error


def epoch_start(name: str, epoch_id: str) -> datetime:
    """The start that an epoch id names, UTC; `name` is the field it came in.

    Raises ServiceError(MALFORMED_EPOCH_ID)."""
    try:
        return parse_epoch_id(epoch_id)
    except MalformedEpochIdError:
        raise ServiceError(
            ErrorCode.MALFORMED_EPOCH_ID, f"{name} must have the form YYYY-MM-DDTHH-MM-SS."
        ) from None
