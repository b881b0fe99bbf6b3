"""Queries the database for a client's request, in one transaction with a deadline.

This module turns errors of PostgreSQL, malformed epoch ids and missing epochs into error replies. The replies
never contain a message of the database driver.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.tracing import TRACER
from storage.database.engine import DATABASE_ERRORS, DRIVER_ERRORS
from storage.database.epochs import StoredEpoch
from zipcast.protocol.calendar import MalformedEpochIdError, parse_epoch_id
from zipcast.protocol.errors import ErrorCode, ServiceError

TIMEOUT_SECONDS = 5.0
# Errors that mean the database is unavailable, for callers that can continue without it.
RECORD_ERRORS = (*DATABASE_ERRORS, *DRIVER_ERRORS)


@asynccontextmanager
async def record_of(
    database: AsyncEngine, patience_seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[AsyncConnection]:
    """Open a transaction, limited to this many seconds, and commit it at the end of the block.

    Raises ServiceError(SERVICE_UNAVAILABLE)."""
    with in_our_words(), TRACER.start_as_current_span("database read"):
        async with asyncio.timeout(patience_seconds), database.begin() as connection:
            yield connection


@contextmanager
def in_our_words() -> Iterator[None]:
    """Replace errors of PostgreSQL by an error that shows clients no details.

    Raises ServiceError(SERVICE_UNAVAILABLE)."""
    try:
        yield
    except RECORD_ERRORS as error:
        raise unavailable() from error


def unavailable() -> ServiceError:
    return ServiceError(
        ErrorCode.SERVICE_UNAVAILABLE, "The database does not respond.", retry_after_seconds=2
    )


def require_started(stored: StoredEpoch | None) -> StoredEpoch:
    """Return the epoch if it was found. Raises ServiceError(EPOCH_NOT_FOUND)."""
    if stored is None:
        raise ServiceError(ErrorCode.EPOCH_NOT_FOUND, "No epoch with that id has started.")
    return stored


def require_detail(stored: StoredEpoch | None) -> StoredEpoch:
    """Return the epoch if its details are still stored. Raises ServiceError(EPOCH_NOT_FOUND | ARCHIVED)."""
    found = require_started(stored)
    if found.status == "archived":
        raise ServiceError(ErrorCode.ARCHIVED, "The details of this epoch were deleted.")
    return found


def epoch_start(name: str, epoch_id: str) -> datetime:
    """Return the start that an epoch id names, in UTC. `name` is the field with the id, for the error's
    message.

    Raises ServiceError(MALFORMED_EPOCH_ID)."""
    try:
        return parse_epoch_id(epoch_id)
    except MalformedEpochIdError:
        raise ServiceError(
            ErrorCode.MALFORMED_EPOCH_ID, f"{name} must have the form YYYY-MM-DDTHH-MM-SS."
        ) from None
