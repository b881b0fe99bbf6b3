"""Asking the record on a client's behalf: one transaction, a deadline, and no word of the driver.

Owns what a client is told when PostgreSQL is away, of an epoch id that is none, and of an epoch that is
missing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.database.engine import DATABASE_ERRORS, DRIVER_ERRORS
from storage.database.epochs import StoredEpoch
from zipcast.protocol.calendar import MalformedEpochIdError, parse_epoch_id
from zipcast.protocol.errors import ErrorCode, ServiceError

PATIENCE_SECONDS = 5.0
# Errors of a database that is away, for callers that go on without it.
RECORD_ERRORS = (*DATABASE_ERRORS, *DRIVER_ERRORS)


@asynccontextmanager
async def record_of(
    database: AsyncEngine, patience_seconds: float = PATIENCE_SECONDS
) -> AsyncIterator[AsyncConnection]:
    """A transaction of at most so long, committed at the end of the block.

    Raises ServiceError(SERVICE_UNAVAILABLE)."""
    with in_our_words():
        async with asyncio.timeout(patience_seconds), database.begin() as connection:
            yield connection


@contextmanager
def in_our_words() -> Iterator[None]:
    """Turn errors of PostgreSQL into one that shows nothing of them to clients.

    Raises ServiceError(SERVICE_UNAVAILABLE)."""
    try:
        yield
    except RECORD_ERRORS as error:
        raise unavailable() from error


def unavailable() -> ServiceError:
    return ServiceError(ErrorCode.SERVICE_UNAVAILABLE, "The record does not answer.", retry_after_seconds=2)


def require_started(stored: StoredEpoch | None) -> StoredEpoch:
    """Return the epoch that the database was asked for. Raises ServiceError(EPOCH_NOT_FOUND)."""
    if stored is None:
        raise ServiceError(ErrorCode.EPOCH_NOT_FOUND, "No epoch of that id has started.")
    return stored


def require_detail(stored: StoredEpoch | None) -> StoredEpoch:
    """Return the epoch if its detail is still kept. Raises ServiceError(EPOCH_NOT_FOUND | ARCHIVED)."""
    found = require_started(stored)
    if found.status == "archived":
        raise ServiceError(ErrorCode.ARCHIVED, "The epoch's detail is no longer kept.")
    return found


def epoch_start(name: str, epoch_id: str) -> datetime:
    """The start that an epoch id names, UTC; `name` is the field it came in.

    Raises ServiceError(MALFORMED_EPOCH_ID)."""
    try:
        return parse_epoch_id(epoch_id)
    except MalformedEpochIdError:
        raise ServiceError(
            ErrorCode.MALFORMED_EPOCH_ID, f"{name} must have the form YYYY-MM-DDTHH-MM-SS."
        ) from None
