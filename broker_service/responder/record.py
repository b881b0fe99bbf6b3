"""The responder's use of PostgreSQL: looking up started epochs, and a row per issuance.

Owns the translation of database errors into what a client is told.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.identity import Caller
from storage import epochs, opt_outs
from storage.epochs import StoredEpoch
from storage.issuances import Issuance, record_issuance
from storage.policies import Listing, Scope
from storage.submissions import Submission, store_submission
from zipcast.calendar import MalformedEpochIdError, parse_epoch_id
from zipcast.errors import ErrorCode, ServiceError
from zipcast.subjects import Verb

PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Record:
    database: AsyncEngine

    async def started(self, epoch_id: str) -> StoredEpoch:
        """The epoch, if it exists and has started; one that has not started does not exist here.

        Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | SERVICE_UNAVAILABLE)."""
        try:
            parse_epoch_id(epoch_id)
        except MalformedEpochIdError:
            raise ServiceError(
                ErrorCode.MALFORMED_EPOCH_ID, "epochId must have the form YYYY-MM-DDTHH-MM-SS."
            ) from None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self.database.connect() as connection:
                stored = await epochs.started_epoch(connection, epoch_id)
        except (SQLAlchemyError, TimeoutError) as error:
            raise unreachable() from error
        if stored is None:
            raise ServiceError(ErrorCode.EPOCH_NOT_FOUND, "No epoch of that id has started.")
        return stored

    async def submission(self, submission: Submission) -> bool:
        """False if a report signed later is there already. Raises ServiceError(SERVICE_UNAVAILABLE)."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self.database.begin() as connection:
                return await store_submission(connection, submission)
        except (SQLAlchemyError, TimeoutError) as error:
            raise unreachable() from error

    async def legacy_choice(self, caller: Caller, *, accepted: bool, now: datetime) -> None:
        """Raises ServiceError(SERVICE_UNAVAILABLE)."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self.database.begin() as connection:
                if accepted:
                    await opt_outs.opt_in(connection, caller.hotkey)
                else:
                    await opt_outs.opt_out(connection, caller.hotkey, now, caller.request_id)
        except (SQLAlchemyError, TimeoutError) as error:
            raise unreachable() from error

    async def issuance(
        self,
        caller: Caller,
        kind: Verb,
        scope: Scope | Listing,
        epoch_id: str | None,
        issued_at: datetime,
        expires_at: datetime,
    ) -> None:
        """Written before anything is signed: a credential without a row must not exist.

        Raises ServiceError(SERVICE_UNAVAILABLE)."""
        issuance = Issuance(
            issued_at=issued_at,
            expires_at=expires_at,
            hotkey=caller.hotkey,
            role=caller.role,
            kind=kind,
            bucket=scope.bucket,
            prefix=scope.prefix,
            epoch_id=epoch_id,
            request_id=caller.request_id,
            source=caller.source,
        )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self.database.begin() as connection:
                await record_issuance(connection, issuance)
        except (SQLAlchemyError, TimeoutError) as error:
            raise unreachable() from error


def unreachable() -> ServiceError:
    return ServiceError(ErrorCode.SERVICE_UNAVAILABLE, "The record does not answer.")
