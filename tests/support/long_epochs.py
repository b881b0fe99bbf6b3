"""Runs stacks with epochs of hours, for tests into which no start and no deadline may fall."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.people import client
from tests.support.scheduling import running_epoch
from zipcast.protocol.calendar import EpochCalendar


@asynccontextmanager
async def amid_an_epoch(options: StackOptions) -> AsyncIterator[Stack]:
    """Run a stack whose running epoch is published and does not end soon. Near an epoch's end, wait for the
    next one first, because a scheduler that starts then has no time to draft the running epoch."""
    await running_epoch(EpochCalendar(options.epoch_seconds))
    async with Stack.running(options) as stack:
        async with client(stack.ready, "validator-2") as connected:
            await anext(connected.epochs())
        yield stack
