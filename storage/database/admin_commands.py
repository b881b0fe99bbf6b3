"""Stores admin commands in PostgreSQL: the responder adds them, and the schedulers carry them out.

A scheduler takes a command with a row lock, and writes the outcome in the same transaction. Until then, other
replicas skip the command; if the scheduler dies, the command becomes free again.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Text, bindparam, cast, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import AdminCommand
from storage.database.tables.requests import EPOCH_OF_OUTCOME


@dataclass(frozen=True, slots=True)
class Command:
    """One row. `arguments` is None if another process stored something that cannot be decoded. `outcome` is a
    wire model of `zipcast.protocol.messages.admin` as JSON."""

    id: UUID
    requested_at: datetime
    hotkey: str
    command: str
    arguments: dict[str, Any] | None
    request_id: str
    state: str
    finished_at: datetime | None
    outcome: dict[str, Any] | None


_COLUMNS = (
    AdminCommand.id,
    AdminCommand.requested_at,
    AdminCommand.hotkey,
    AdminCommand.command,
    cast(AdminCommand.arguments, Text),
    AdminCommand.request_id,
    AdminCommand.state,
    AdminCommand.finished_at,
    AdminCommand.outcome,
)


async def queue(
    connection: AsyncConnection,
    *,
    command_id: UUID,
    hotkey: str,
    command: str,
    arguments: dict[str, Any],
    request_id: str,
    source: str,
) -> None:
    """Queue the command, unless the same signed request has already queued it."""
    await connection.execute(
        upsert(AdminCommand)
        .values(
            id=command_id,
            hotkey=hotkey,
            command=command,
            arguments=arguments,
            request_id=request_id,
            source=source,
        )
        .on_conflict_do_nothing()
    )


async def find(connection: AsyncConnection, command_id: UUID) -> Command | None:
    row = (await connection.execute(select(*_COLUMNS).where(AdminCommand.id == command_id))).first()
    return None if row is None else _command(*row)


async def newest(connection: AsyncConnection, count: int) -> list[Command]:
    query = select(*_COLUMNS).order_by(AdminCommand.requested_at.desc(), AdminCommand.id).limit(count)
    return [_command(*row) for row in (await connection.execute(query)).all()]


async def take(connection: AsyncConnection) -> Command | None:
    """Return the oldest queued command that no other replica is handling, locked until the transaction
    ends."""
    query = (
        select(*_COLUMNS)
        .where(AdminCommand.state == "queued")
        .order_by(AdminCommand.requested_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = (await connection.execute(query)).first()
    return None if row is None else _command(*row)


def _command(
    command_id: UUID, requested_at: datetime, hotkey: str, command: str, arguments: str, *rest: Any
) -> Command:
    try:
        decoded = json.loads(arguments)
    except (ValueError, RecursionError):  # for example a number of 5,000 digits, or deeply nested lists
        decoded = None
    return Command(command_id, requested_at, hotkey, command, decoded, *rest)


async def is_older_than(connection: AsyncConnection, command: Command, age: timedelta) -> bool:
    """Return whether the command is too old, by PostgreSQL's clock, which wrote `requested_at`."""
    now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return now - command.requested_at > age


async def finish(connection: AsyncConnection, command_id: UUID, state: str, outcome: dict[str, Any]) -> None:
    """Store the outcome of a command. `state` is done or failed."""
    await connection.execute(
        update(AdminCommand)
        .where(AdminCommand.id == command_id)
        .values(state=state, finished_at=func.clock_timestamp(), outcome=outcome)
    )


async def overridden_target(connection: AsyncConnection, epoch_id: str, command: str) -> int | None:
    """Return the target that the last successful command of this name set for the epoch, or None."""
    query = (
        select(AdminCommand.outcome["targetListings"].as_integer())
        .where(
            # Write the command as a literal, exactly as in the index; otherwise PostgreSQL does not use the
            # index.
            AdminCommand.command == bindparam("command", command, literal_execute=True),
            AdminCommand.state == "done",
            literal_column(EPOCH_OF_OUTCOME) == epoch_id,
        )
        .order_by(AdminCommand.finished_at.desc())
        .limit(1)
    )
    found: int | None = (await connection.execute(query)).scalar()
    return found
