"""Takes admins' commands from the database and has each carried out by one replica.

It refuses commands that are too old, and stores failures. `actions` carries out the commands. If a
replica dies while working on a command, another one takes it; doing a command twice is harmless.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schedulers.admin.actions import AdminActions, CommandRefusedError
from schedulers.metrics import SchedulerMetrics
from service import logs
from service.correlation import correlated
from service.polling import Outage, poll
from storage.database import admin_commands
from storage.database.admin_commands import Command
from storage.database.engine import DATABASE_ERRORS
from zipcast.clock import Clock
from zipcast.protocol.messages.admin import FailedOutcome
from zipcast.protocol.messages.base import WireModel

log = logs.logger()

LOOK_SECONDS = 0.25
TOO_OLD = timedelta(minutes=10)
# The time limit of one command. It must be shorter than the time that a transaction may stay idle
# (storage.database.engine).
COMMAND_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class AdminQueue:
    """The commands of admins that wait in the database."""

    database: AsyncEngine
    actions: AdminActions
    clock: Clock
    metrics: SchedulerMetrics = field(default_factory=SchedulerMetrics)

    async def run(self) -> None:
        """Carry out commands until cancelled. While the database is unavailable, commands wait."""
        outage = Outage(log, "admin_commands_unread", DATABASE_ERRORS)
        await poll(self.work_off, self.clock, LOOK_SECONDS, outage)

    async def work_off(self) -> None:
        """Carry out all commands that wait now."""
        while await self.work_off_one():
            continue

    async def work_off_one(self) -> bool:
        """Carry out one command. Return False if there was none."""
        async with self.database.begin() as connection:
            command = await admin_commands.take(connection)
            if command is None:
                return False
            with correlated(command.request_id):
                outcome = await self._outcome(connection, command)
            state = "failed" if isinstance(outcome, FailedOutcome) else "done"
            stored = outcome.model_dump(mode="json", by_alias=True)
            await admin_commands.finish(connection, command.id, state, stored)
        self.metrics.admin_commands.labels(state).inc()
        log.info(
            "admin_command_finished",
            correlation_id=command.request_id,
            command=command.command,
            command_id=str(command.id),
            hotkey=command.hotkey,
            state=state,
        )
        return True

    async def _outcome(self, connection: AsyncConnection, command: Command) -> WireModel:
        """Carry out a command and return its outcome. If it fails, its partial work is undone, and the
        outcome is a failure."""
        if await admin_commands.is_older_than(connection, command, TOO_OLD):
            return FailedOutcome(reason="no scheduler took the command within ten minutes; send it again")
        try:
            async with asyncio.timeout(COMMAND_SECONDS), connection.begin_nested():
                return await self.actions.execute(connection, command)
        except CommandRefusedError as error:
            return FailedOutcome(reason=str(error), error=error.code)
        except Exception as error:  # store an outcome, and log the fault
            log.exception("admin_command_failed", command=command.command, error=type(error).__name__)
            return FailedOutcome(reason=f"{type(error).__name__}: see the scheduler's log")
