"""Carries out each admin command.

It has the rules for commands, such as which epoch may be generated and which target can still be overridden.
For an epoch that has not started, an outcome contains only the id. A refusal is one sentence.
"""

from dataclasses import dataclass
from datetime import datetime

from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from schedulers.epochs import plan
from schedulers.epochs.preparation import Preparer
from schedulers.epochs.target_override import TargetUnreachableError, require_reachable
from service.system_account import ClientConnection, ListingError, client_connections, kick_connection
from storage.database import epoch_changes, epoch_inputs, epochs, pending_epochs
from storage.database.admin_commands import Command
from zipcast.protocol.calendar import EpochInterval, MalformedEpochIdError, parse_epoch_id
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
from zipcast.protocol.messages.admin import (
    CONNECTIONS_PER_PAGE,
    ConnectionsKickRequest,
    ConnectionsListRequest,
    ConnectionsOutcome,
    EpochGenerateRequest,
    EpochOutcome,
    EpochRegenerateRequest,
    KickOutcome,
    ListedConnection,
    OverrideOutcome,
    TargetOverrideRequest,
)
from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.verbs import COMMANDS


class CommandRefusedError(Exception):
    """The command cannot be carried out. The message states the reason; `code` is set if a client may want to
    distinguish it."""

    def __init__(self, reason: str, code: ErrorCode | None = None) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class AdminActions:
    """`system` is the connection of the user SCHEDULERS_SYS."""

    preparer: Preparer
    system: Client

    async def execute(self, connection: AsyncConnection, command: Command) -> WireModel:
        """Carry out a command and return its outcome. Changes that must be committed together with the
        outcome are made in the transaction of `connection`.

        Raises CommandRefusedError, and any other error that occurs."""
        kind = next((kind for verb, kind in COMMANDS.items() if verb == command.command), None)
        if kind is None:
            raise CommandRefusedError("this scheduler does not know the command")
        match kind.model_validate(command.arguments):
            case EpochGenerateRequest() as request:
                return await self._generate(request)
            case EpochRegenerateRequest() as request:
                return await self._regenerate(connection, request)
            case TargetOverrideRequest() as request:
                return await self._override(connection, request)
            case ConnectionsListRequest() as request:
                return await self._list(request)
            case ConnectionsKickRequest() as request:
                return await self._kick(request)

    async def _generate(self, request: EpochGenerateRequest) -> EpochOutcome:
        async with self.preparer.database.connect() as connection:
            timeline = await epochs.timeline(connection, await epochs.database_now(connection))
        running = plan.running_interval(self.preparer.calendar, timeline)
        is_missing = running is not None and timeline.running is None
        due = running if running is not None and is_missing else None
        chosen = due or plan.next_interval(self.preparer.calendar, timeline)
        prepared = {interval.epoch_id for interval in (timeline.running, timeline.pending) if interval}
        wanted = request.epoch_id or chosen.epoch_id
        if wanted in prepared:
            return EpochOutcome(epoch_id=wanted, changed=False)
        if wanted != chosen.epoch_id:
            raise CommandRefusedError(f"only epoch {chosen.epoch_id} can be generated now")
        is_drafted = await self.preparer.is_drafted(chosen)
        await self.preparer.draft(chosen)
        # Draw now if the beacon round is already known. Otherwise do not wait: the epoch loop draws later.
        await self.preparer.draw(chosen)
        return EpochOutcome(epoch_id=chosen.epoch_id, changed=not is_drafted)

    async def _regenerate(self, connection: AsyncConnection, request: EpochRegenerateRequest) -> EpochOutcome:
        """Refuse. An epoch is sealed as soon as it is drawn, and subscribers can open what was sealed."""
        if await pending_epochs.pending_epoch(connection, request.epoch_id) is not None:
            raise CommandRefusedError(
                f"{request.epoch_id} is drawn and sealed, so it cannot be changed", ErrorCode.EPOCH_SEALED
            )
        raise CommandRefusedError(f"{request.epoch_id} is not drawn yet, or has started")

    async def _override(self, connection: AsyncConnection, request: TargetOverrideRequest) -> OverrideOutcome:
        """Store another target for the epoch. It is used when the service commits to the epoch's inputs."""
        interval = self._interval(request.epoch_id)
        await epoch_changes.lock_preparation(connection)
        first = await self._first_uncommitted(connection)
        if interval.start_at < first.start_at:
            raise CommandRefusedError(
                f"the inputs of {interval.epoch_id} are already committed; the first epoch that can be "
                "changed is "
                f"{first.epoch_id}"
            )
        try:
            await require_reachable(connection, self.preparer.settings, request.target_listings)
        except TargetUnreachableError:
            raise CommandRefusedError(
                f"no selection of the present zipcodes has {request.target_listings} listings"
            ) from None
        return OverrideOutcome(epoch_id=interval.epoch_id, target_listings=request.target_listings)

    def _interval(self, epoch_id: str) -> EpochInterval:
        try:
            return self.preparer.calendar.starting(epoch_id)
        except MalformedEpochIdError as error:
            raise CommandRefusedError(str(error)) from None

    async def _first_uncommitted(self, connection: AsyncConnection) -> EpochInterval:
        calendar = self.preparer.calendar
        earliest: datetime = calendar.at(await epochs.database_now(connection)).start_at
        committed = await epoch_inputs.newest_committed(connection)
        if committed is None:
            return calendar.at(earliest)
        after = calendar.at(parse_epoch_id(committed)).end_at
        return calendar.first_from(max(after, earliest))

    async def _list(self, request: ConnectionsListRequest) -> ConnectionsOutcome:
        found = await self._connections(request.hotkey)
        end = request.offset + CONNECTIONS_PER_PAGE
        return ConnectionsOutcome(
            total=len(found),
            connections=tuple(_listed(connection) for connection in found[request.offset : end]),
            next_offset=end if end < len(found) else None,
        )

    async def _kick(self, request: ConnectionsKickRequest) -> KickOutcome:
        found = await self._connections(request.hotkey)
        try:
            for connection in found:
                await kick_connection(self.system, connection.server_id, connection.client_id)
            await self.system.flush()
        except (NatsError, TimeoutError) as error:
            raise CommandRefusedError("nats-server does not respond; try again") from error
        return KickOutcome(hotkey=request.hotkey, kicked=len(found))

    async def _connections(self, hotkey: str | None) -> list[ClientConnection]:
        try:
            found = await client_connections(self.system)
        except (ListingError, NatsError, TimeoutError, ValidationError) as error:
            raise CommandRefusedError("nats-server did not list all connections; try again") from error
        clients = [one for one in found if _hotkey(one) is not None]
        return [one for one in clients if hotkey in {None, _hotkey(one)}]


def _hotkey(connection: ClientConnection) -> Hotkey | None:
    """Return the hotkey in a client's user name, or None for a service user, whose name is its nkey."""
    try:
        return parse_hotkey(connection.user.rpartition(".")[2])
    except MalformedHotkeyError:
        return None


def _listed(connection: ClientConnection) -> ListedConnection:
    return ListedConnection(
        hotkey=_hotkey(connection) or "",
        address=connection.address,
        since=connection.since,
        messages_in=connection.messages_in,
        messages_out=connection.messages_out,
    )
