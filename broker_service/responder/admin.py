"""Queues admins' commands for the schedulers, and returns their outcomes.

A reply waits a short time for the outcome. The responder cannot execute commands itself, because it has
neither the signer's key nor the rights.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from access.requests import Admission
from service.database_reads import record_of
from storage.database import admin_commands
from storage.database.admin_commands import Command
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.admin import (
    COMMANDS_LISTED,
    AdminCommandReply,
    CommandsGetRequest,
    CommandsListReply,
    RecordedCommand,
)
from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.verbs import Verb

OUTCOME_SECONDS = 3.0
LOOK_SECONDS = 0.1

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class AdminDesk:
    """Stores admins' commands in the database and reads their outcomes."""

    database: AsyncEngine
    clock: Clock

    async def command(self, verb: Verb, admission: Admission, body: WireModel) -> AdminCommandReply:
        """Queue the command. The reply has the outcome if it comes within three seconds.

        Raises ServiceError(EPOCH_SEALED | SERVICE_UNAVAILABLE)."""
        command_id, caller = command_id_of(admission), admission.caller

        async def queue(connection: AsyncConnection) -> None:
            await admin_commands.queue(
                connection,
                command_id=command_id,
                hotkey=caller.hotkey,
                command=verb,
                arguments=body.model_dump(mode="json", by_alias=True),
                request_id=caller.request_id,
                source=caller.source,
            )

        await self._ask(queue)
        give_up_at = self.clock.monotonic() + OUTCOME_SECONDS
        found = await self._find(command_id)
        while found.state == "queued" and self.clock.monotonic() < give_up_at:
            await self.clock.sleep(LOOK_SECONDS)
            found = await self._find(command_id)
        refused = found.outcome or {}
        if refused.get("error") == ErrorCode.EPOCH_SEALED:
            raise ServiceError(ErrorCode.EPOCH_SEALED, str(refused["reason"]))
        return _reply(found)

    async def get(self, body: CommandsGetRequest) -> AdminCommandReply:
        """Return one command. Raises ServiceError(COMMAND_NOT_FOUND | SERVICE_UNAVAILABLE)."""
        return _reply(await self._find(UUID(body.command_id)))

    async def newest(self) -> CommandsListReply:
        """Return the newest commands. Raises ServiceError(SERVICE_UNAVAILABLE)."""
        found = await self._ask(lambda connection: admin_commands.newest(connection, COMMANDS_LISTED))
        return CommandsListReply(commands=tuple(_recorded(command) for command in found))

    async def _find(self, command_id: UUID) -> Command:
        found = await self._ask(lambda connection: admin_commands.find(connection, command_id))
        if found is None:
            raise ServiceError(ErrorCode.COMMAND_NOT_FOUND, "No admin command has that id.")
        return found

    async def _ask(self, work: Callable[[AsyncConnection], Awaitable[Found]]) -> Found:
        async with record_of(self.database) as connection:
            return await work(connection)


def command_id_of(admission: Admission) -> UUID:
    """Return an id that is the same for the same signed request, so that sending it again has no further
    effect."""
    proof = admission.proof
    named = f"{admission.caller.hotkey}\n{proof.request_key}\n{proof.body_sha256}"
    return UUID(bytes=hashlib.sha256(named.encode()).digest()[:16], version=4)


def _reply(command: Command) -> AdminCommandReply:
    return AdminCommandReply.model_validate(
        {
            "command_id": str(command.id),
            "command": command.command,
            "state": command.state,
            "requested_at": command.requested_at,
            "finished_at": command.finished_at,
            "outcome": command.outcome,
        }
    )


def _recorded(command: Command) -> RecordedCommand:
    return RecordedCommand.model_validate(
        {
            "command_id": str(command.id),
            "hotkey": command.hotkey,
            "command": command.command,
            "arguments": command.arguments or {},
            "state": command.state,
            "requested_at": command.requested_at,
            "finished_at": command.finished_at,
            "reason": (command.outcome or {}).get("reason"),
        }
    )
