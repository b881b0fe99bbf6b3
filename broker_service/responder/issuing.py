"""Grants access once for each signed request: who sends the same request again gets the same access.

A grant is a row that is committed before anything is signed. What is handed out follows from the row, byte
for byte where nothing but this service signs it, so that no answer needs to be kept. Rows that are asked for
while one statement is under way share the next one, and its commit.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import asyncpg

from broker_service.responder.sessions import SessionScope
from runtime import logs
from runtime.identity import Admission, Caller, Proof
from runtime.limits import Quota
from storage import issuances
from storage.database import CLOSED_ERRORS, DRIVER_ERRORS, refuses_row
from storage.issuances import Granted, NewIssuance, RequestId
from storage.policies import Listing, Scope
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError

log = logs.logger()

MAX_BATCH = 64


@dataclass(frozen=True, slots=True)
class Terms:
    """What is to be granted: until `ends_at`, or for `lifetime` from now on; the other one is None."""

    scope: Scope | Listing | SessionScope
    epoch_id: str | None
    ends_at: datetime | None = None
    lifetime: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What is on record for a request, and whether this request wrote it."""

    granted: Granted
    is_new: bool


_Rows = tuple[dict[RequestId, Granted], dict[RequestId, Granted]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    new: NewIssuance
    answer: "asyncio.Future[Row | None]"


@dataclass(slots=True)
class IssuanceWriter:
    """Writes rows, one batch at a time; `run` does the work."""

    pool: asyncpg.Pool
    _queue: "asyncio.Queue[_Waiting]" = field(default_factory=asyncio.Queue)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._answer(batch)

    async def write(self, new: NewIssuance) -> Row | None:
        """Return what is on record for the request; None if its `ends_at` has passed. Who is cancelled
        meanwhile cancels no other.

        Raises ServiceError(SERVICE_UNAVAILABLE)."""
        answer: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(new, answer))
        return await answer

    async def find(self, request: RequestId) -> Granted | None:
        """Raises ServiceError(SERVICE_UNAVAILABLE)."""
        with _in_our_words():
            async with self.pool.acquire() as connection:
                return (await issuances.find(connection, [request])).get(request)

    async def note(self, request: RequestId, outcome: str | None) -> None:
        """Say on the row why nothing could be handed out; None: something is.

        Raises ServiceError(SERVICE_UNAVAILABLE)."""
        with _in_our_words():
            async with self.pool.acquire() as connection:
                await issuances.note(connection, request, outcome)

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        first = {one.new.request: one for one in reversed(batch)}
        try:
            written, found = await self._written([one.new for one in first.values()])
        except DRIVER_ERRORS as error:
            if refuses_row(error) and len(batch) > 1:
                for one in batch:  # one row is at fault, and the others must not suffer from it
                    await self._answer([one])
                return
            log.warning("issuances_not_written", error=type(error).__name__)
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(_unavailable())
            return
        for one in batch:
            request = one.new.request
            granted = written.get(request) or found.get(request)
            row = None if granted is None else Row(granted, request in written and first[request] is one)
            if not one.answer.done():
                one.answer.set_result(row)

    async def _written(self, new: Sequence[NewIssuance]) -> _Rows:
        """As `_write`, and once more if the connection turns out to be closed: nothing is written twice."""
        try:
            return await self._write(new)
        except CLOSED_ERRORS:
            return await self._write(new)

    async def _write(self, new: Sequence[NewIssuance]) -> _Rows:
        """Return the rows that are new, and those that were there. Raises DRIVER_ERRORS."""
        async with self.pool.acquire() as connection:
            written = await issuances.write(connection, new)
            rest = [one.request for one in new if one.request not in written]
            # A second statement: the first cannot see what another replica committed meanwhile.
            return written, await issuances.find(connection, rest) if rest else {}


@dataclass(frozen=True, slots=True)
class ProvenRequest:
    """A request whose sender is proven, as its handler has it."""

    admission: Admission
    quota: Quota
    writer: IssuanceWriter
    clock: Clock

    @property
    def caller(self) -> Caller:
        return self.admission.caller

    @property
    def proof(self) -> Proof:
        return self.admission.proof

    @asynccontextmanager
    async def granted(self, terms: Terms) -> AsyncIterator[Granted]:
        """Grant those terms, or find what the same request was granted before. In the block it is handed out;
        if that fails, the row says so, and nothing is charged.

        What is refused whoever asks, such as an epoch that is not there, is to be refused before this: it
        must not use the request up. Raises ServiceError(RATE_LIMITED | REQUEST_REUSED | EPOCH_NOT_OPEN |
        SERVICE_UNAVAILABLE)."""
        request = RequestId(self.proof.signed_at.date(), self.caller.hotkey, self.proof.request_key)
        row = await self._row(request, terms)
        if not row.is_new:
            log.info("request_answered_again", hotkey=self.caller.hotkey)
        if row.granted.outcome is not None:
            await self.writer.note(request, None)
        try:
            yield row.granted
        except BaseException as error:
            if row.is_new:
                self.quota.refund()
            if isinstance(error, ServiceError):
                await self._note_failure(request, error.code)
            raise

    async def _row(self, request: RequestId, terms: Terms) -> Row:
        try:
            charged = await self.quota.charge()
        except ServiceError:
            # Also the last request for which there was room may come again, at any replica.
            granted = await self.writer.find(request)
            if granted is None:
                raise
            await self.quota.charge_repetition()
            return Row(self._the_same(granted), is_new=False)
        row = None
        try:
            row = await self.writer.write(self._new(request, terms))
        finally:
            if charged and (row is None or not row.is_new):
                self.quota.refund()
        if row is None:
            raise _deadline_passed()
        if charged and not row.is_new:  # another replica wrote it, or this one before it was restarted
            await self.quota.charge_repetition()
        return Row(self._the_same(row.granted), row.is_new)

    def _new(self, request: RequestId, terms: Terms) -> NewIssuance:
        caller = self.caller
        return NewIssuance(
            request=request,
            body_sha256=self.proof.body_sha256,
            role=caller.role,
            kind=self.quota.verb,
            bucket=terms.scope.bucket,
            prefix=terms.scope.prefix,
            epoch_id=terms.epoch_id,
            request_id=caller.request_id,
            source=caller.source,
            ends_at=terms.ends_at,
            lifetime=terms.lifetime,
        )

    def _the_same(self, granted: Granted) -> Granted:
        """Return it if it was granted to this very request, and is in force. Raises ServiceError."""
        if granted.body_sha256 != self.proof.body_sha256:
            raise ServiceError(ErrorCode.REQUEST_REUSED, "This signed text came before with another body.")
        # A request is admitted for minutes, and all but an epoch's form is good for an hour at least.
        if granted.expires_at <= self.clock.now():
            raise _deadline_passed()
        return granted

    async def _note_failure(self, request: RequestId, outcome: str) -> None:
        try:
            await self.writer.note(request, outcome)
        except ServiceError:
            log.warning("outcome_not_noted", outcome=outcome)


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except DRIVER_ERRORS as error:
        raise _unavailable() from error


def _unavailable() -> ServiceError:
    return ServiceError(ErrorCode.SERVICE_UNAVAILABLE, "The record does not answer.", retry_after_seconds=2)


def _deadline_passed() -> ServiceError:
    return ServiceError(ErrorCode.EPOCH_NOT_OPEN, "The epoch's submission deadline has passed.")
