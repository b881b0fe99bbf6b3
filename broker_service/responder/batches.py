"""Lets concurrent requests share one statement and its commit. Requests that arrive while a statement runs
are written by the next statement. The statement must handle items with equal keys.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

import asyncpg

from service import logs
from service.database_reads import TIMEOUT_SECONDS, unavailable
from service.tracing import TRACER
from storage.database.engine import CLOSED_ERRORS, DRIVER_ERRORS, refuses_row

log = logs.logger()

MAX_BATCH = 64
# A batch waits this long for a row that another transaction has locked. If the batch fails because of this
# limit, its rows are written one by one with the shorter limit, so that many locked rows do not add up to a
# long wait.
LOCK_TIMEOUT, LOCK_TIMEOUT_ALONE = timedelta(milliseconds=100), timedelta(milliseconds=1)
Item = TypeVar("Item")
Result = TypeVar("Result")


def unmeasured(_: float) -> None:
    """Measure nothing."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    answer: "asyncio.Future[Result]"


@dataclass(slots=True)
class Batches(Generic[Item, Result]):
    """Writes items, one batch at a time. `write` returns a result for each item of a batch, in the same
    order. Its last argument is how long it may wait for a row that another transaction has locked. It may
    raise DRIVER_ERRORS and may be called twice for the same batch. `measure` gets the size of each batch.
    `run` must be running."""

    pool: asyncpg.Pool
    write: Callable[[asyncpg.Connection, Sequence[Item], timedelta], Awaitable[Sequence[Result]]]
    measure: Callable[[float], None] = field(default=unmeasured)
    _queue: "asyncio.Queue[_Waiting[Item, Result]]" = field(default_factory=asyncio.Queue)

    async def run(self) -> None:
        """Write batches until cancelled."""
        while True:
            batch = [await self._queue.get()]
            # Let requests that are about to arrive join the batch. One statement and one flush of replies for
            # all of them take a fifth less processor time than several.
            waiting = -1
            while waiting < self._queue.qsize() < MAX_BATCH:
                waiting = self._queue.qsize()
                await asyncio.sleep(0)
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self.measure(len(batch))
            await self._answer(batch)

    async def put(self, item: Item) -> Result:
        """Write the item and return its result once it is committed. The item may be written even if the
        caller is cancelled or gives up; other items of the batch are not affected.

        Raises ServiceError(SERVICE_UNAVAILABLE) if the database does not respond within TIMEOUT_SECONDS."""
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(item, answer))
        try:
            with TRACER.start_as_current_span("database write"):
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    return await answer
        except TimeoutError:
            raise unavailable() from None

    async def _answer(
        self, batch: Sequence[_Waiting[Item, Result]], lock_timeout: timedelta = LOCK_TIMEOUT
    ) -> None:
        try:
            results = await self._written([one.item for one in batch], lock_timeout)
        except DRIVER_ERRORS as error:
            alone = refuses_row(error) or isinstance(error, asyncpg.LockNotAvailableError)
            if alone and len(batch) > 1:
                for one in batch:  # the database rejects one row; write the others without it
                    await self._answer([one], LOCK_TIMEOUT_ALONE)
                return
            log.warning("rows_not_written", error=type(error).__name__, rows=len(batch))
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(unavailable())
            return
        for one, result in zip(batch, results, strict=True):
            if not one.answer.done():
                one.answer.set_result(result)

    async def _written(self, items: Sequence[Item], lock_timeout: timedelta) -> Sequence[Result]:
        """Write the items; try again once if the server has closed the connection."""
        try:
            async with self.pool.acquire() as connection:
                return await self.write(connection, items, lock_timeout)
        except CLOSED_ERRORS:
            async with self.pool.acquire() as connection:
                return await self.write(connection, items, lock_timeout)
