"""Grants access once for each signed request. If the same request is sent again, it gets the same access.

A row of `credential_issuances` is committed before anything is signed. Forms and URLs are signed from the row
and with its time, so a repetition gets the same bytes and no reply needs to be stored. Concurrent requests
share a statement and its commit (`batches`).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import asyncpg

from access.rate_limits import Quota
from access.requests import Admission, Caller, Proof
from broker_service.responder.batches import Batches, unmeasured
from broker_service.responder.sts_sessions import SessionScope
from service import logs
from service.database_reads import in_our_words
from storage.database import issuances
from storage.database.issuances import Granted, NewIssuance, RequestId
from storage.objects.credential_policies import Listing, Scope
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.verbs import Verb

log = logs.logger()


@dataclass(frozen=True, slots=True)
class Terms:
    """The access to be granted. It ends at `ends_at`, or `lifetime` after the time of the row; exactly one of
    the two is set."""

    scope: Scope | Listing | SessionScope
    epoch_id: str | None
    ends_at: datetime | None = None
    lifetime: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The row of a request. `is_new` is true if this request wrote it, so that it is not a repetition."""

    granted: Granted
    is_new: bool
    is_charged: bool = False


@dataclass(slots=True)
class IssuanceWriter:
    """Writes and reads the rows of requests. `run` must be running."""

    pool: asyncpg.Pool
    measure: Callable[[float], None] = field(default=unmeasured)
    _batches: Batches[NewIssuance, Row | None] = field(init=False)

    def __post_init__(self) -> None:
        self._batches = Batches(self.pool, _write, self.measure)

    async def run(self) -> None:
        """Write rows until cancelled. The unique key prevents duplicate rows."""
        await self._batches.run()

    async def write(self, new: NewIssuance) -> Row | None:
        """Write the request's row, or find it, and return it. If `ends_at` has passed, write none and return
        None.

        Raises ServiceError(SERVICE_UNAVAILABLE)."""
        return await self._batches.put(new)

    async def find(self, request: RequestId) -> Granted | None:
        """Return the row of a request, if it has one. Raises ServiceError(SERVICE_UNAVAILABLE)."""
        with in_our_words():
            async with self.pool.acquire() as connection:
                return (await issuances.find(connection, [request])).get(request)

    async def note(self, request: RequestId, outcome: str | None) -> None:
        """Store in the row why no access was granted, or None if it was granted.

        Raises ServiceError(SERVICE_UNAVAILABLE)."""
        with in_our_words():
            async with self.pool.acquire() as connection:
                await issuances.note(connection, request, outcome)


async def _write(
    connection: asyncpg.Connection, new: Sequence[NewIssuance], lock_timeout: timedelta
) -> list[Row | None]:
    """Write the row of each request, or find it, and return the rows. Raises DRIVER_ERRORS."""
    first = {one.request: one for one in reversed(new)}
    written = await issuances.write(connection, list(first.values()), lock_timeout)
    rest = [request for request in first if request not in written]
    # Search in a second statement, because the first does not see rows that another replica commits while it
    # runs.
    found = written | (await issuances.find(connection, rest) if rest else {})
    return [
        Row(found[one.request], one.request in written and first[one.request] is one)
        if one.request in found
        else None
        for one in new
    ]


@dataclass(frozen=True, slots=True)
class ProvenRequest:
    """A request whose sender is verified, as handlers receive it."""

    verb: Verb
    admission: Admission
    writer: IssuanceWriter
    clock: Clock

    @property
    def caller(self) -> Caller:
        """Return the sender with its role."""
        return self.admission.caller

    @property
    def proof(self) -> Proof:
        """Return the verified signature of the request."""
        return self.admission.proof

    @property
    def quota(self) -> Quota:
        """Return the limits against which the request is charged."""
        return self.admission.quota

    @asynccontextmanager
    async def granted(self, terms: Terms) -> AsyncIterator[Granted]:
        """Grant the terms, or find the row of the same earlier request. The block of the `with` statement
        makes the credentials. If it fails with a ServiceError, the error is stored in the row and the request
        is not charged.

        Before this call, refuse requests that cannot be granted to anyone, such as one for an epoch that does
        not exist. Then the client can correct the request under the same signature.

        Raises ServiceError(RATE_LIMITED | REQUEST_REUSED | EPOCH_NOT_OPEN | SERVICE_UNAVAILABLE)."""
        request = RequestId(self.proof.signed_at.date(), self.caller.hotkey, self.proof.request_key)
        row = await self._row(request, terms)
        if not row.is_new:
            log.info("request_answered_again", hotkey=self.caller.hotkey)
        try:
            if row.granted.outcome is not None:
                await self.writer.note(request, None)
            yield row.granted
        except BaseException as error:
            if row.is_charged:
                self.quota.refund()
            if isinstance(error, ServiceError):
                await self._note_failure(request, error.code)
            raise

    async def _row(self, request: RequestId, terms: Terms) -> Row:
        try:
            charged = await self.quota.charge()
        except ServiceError:
            # The hotkey has reached its limit. But this request may repeat one that another replica granted
            # within the limit.
            granted = await self.writer.find(request)
            if granted is None or granted.outcome is not None:
                raise
            await self.quota.charge_repetition()
            return Row(self._the_same(granted, terms), is_new=False)
        row = None
        try:
            row = await self.writer.write(self._new(request, terms))
        finally:
            if charged and row is None:
                self.quota.refund()
        if row is None:
            raise _deadline_passed()
        # Another replica, or this one before a restart, has already granted and charged this request.
        if charged and not row.is_new and row.granted.outcome is None:
            self.quota.take_back()
            charged = False
            await self.quota.charge_repetition()
        return Row(self._the_same(row.granted, terms), row.is_new, charged)

    def _new(self, request: RequestId, terms: Terms) -> NewIssuance:
        caller = self.caller
        return NewIssuance(
            request=request,
            body_sha256=self.proof.body_sha256,
            role=caller.role,
            kind=self.verb,
            bucket=terms.scope.bucket,
            prefix=terms.scope.prefix,
            epoch_id=terms.epoch_id,
            request_id=caller.request_id,
            source=caller.source,
            ends_at=terms.ends_at,
            lifetime=terms.lifetime,
        )

    def _the_same(self, granted: Granted, terms: Terms) -> Granted:
        """Return the grant if it belongs to this body and has not ended. It never lasts longer than the terms
        allow, even if another program with the responder's login wrote the row.

        Raises ServiceError(REQUEST_REUSED | EPOCH_NOT_OPEN)."""
        if granted.body_sha256 != self.proof.body_sha256:
            raise ServiceError(
                ErrorCode.REQUEST_REUSED, "An earlier request with another body had the same signed text."
            )
        ends_at = terms.ends_at or granted.issued_at + (terms.lifetime or timedelta(0))
        granted = replace(granted, expires_at=min(granted.expires_at, ends_at))
        # Only access with a deadline can have ended: access without one lasts an hour or longer, and a
        # request is accepted only for minutes.
        if granted.expires_at <= self.clock.now():
            raise _deadline_passed()
        return granted

    async def _note_failure(self, request: RequestId, outcome: str) -> None:
        try:
            await self.writer.note(request, outcome)
        except ServiceError:
            log.warning("outcome_not_noted", outcome=outcome)


def _deadline_passed() -> ServiceError:
    return ServiceError(ErrorCode.EPOCH_NOT_OPEN, "The epoch's submission deadline has passed.")
