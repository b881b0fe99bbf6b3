"""Lists hotkeys' connections with nats-server's system account, and reports those that ended.

This module translates nats-server's user names to hotkeys and roles. `service.system_account` sends the
requests.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import BaseModel, ConfigDict, ValidationError

from broker_service.callout.connections import Connection, Place, parse_connection_user
from broker_service.callout.flood_detection import Traffic
from service import logs
from service.system_account import (
    PAGE,
    ClientConnection,
    active_connections,
    client_connections,
    kick_connection,
)
from zipcast.protocol.subjects import DISCONNECTIONS

log = logs.logger()


class _ServerMessage(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Server(_ServerMessage):
    id: str


class _Client(_ServerMessage):
    id: int
    start: datetime | None = None
    user: str = ""


class _Sent(_ServerMessage):
    msgs: int = 0
    bytes: int = 0


class _Disconnection(_ServerMessage):
    server: _Server
    client: _Client
    sent: _Sent = _Sent()
    """The messages and bytes that the client sent: nats-server's `AccountDisconnect` counts from the client's
    side."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A connection that ended. `traffic` is what it had sent, or None for a service user. `since` is when it
    started."""

    place: Place
    traffic: Traffic | None
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Active:
    connection: Connection
    traffic: Traffic


class SystemAccount:
    """The system account. `connection` is that of the service user in the account SYS."""

    def __init__(self, connection: Client, page: int = PAGE) -> None:
        self._connection = connection
        self._page = page

    async def follow_ends(self, ended: Callable[[Ended], None]) -> None:
        """Call `ended` for each connection of the account that ends, from now on."""

        async def receive(message: Msg) -> None:
            try:
                ended_connection = _Disconnection.model_validate_json(message.data)
            except ValidationError as error:
                log.error("disconnection_unreadable", error=type(error).__name__)
                return
            ended(_ended(ended_connection))

        await self._connection.subscribe(DISCONNECTIONS, cb=receive)

    async def hotkey_connections(self) -> list[Connection]:
        """Return the connections of all hotkeys on every server, without those of service users. Raises
        ListingError and nats.errors.Error."""
        return [one.connection for one in _of_hotkeys(await client_connections(self._connection, self._page))]

    async def active_connections(self) -> list[Active]:
        """Return the most recently active connections of hotkeys, with their traffic. Raises ListingError and
        nats.errors.Error."""
        return _of_hotkeys(await active_connections(self._connection, self._page))

    async def kick(self, place: Place) -> None:
        """Close a connection. Raises nats.errors.Error."""
        await kick_connection(self._connection, place.server_id, place.client_id)


def _of_hotkeys(listing: Iterable[ClientConnection]) -> list[Active]:
    found = []
    for listed in listing:
        parsed = parse_connection_user(listed.user)
        if parsed is not None:
            place = Place(listed.server_id, listed.client_id)
            traffic = Traffic(place, parsed[0], listed.messages_in, listed.bytes_in)
            found.append(Active(Connection(place, *parsed, listed.since), traffic))
    return found


def _ended(ended_connection: _Disconnection) -> Ended:
    place = Place(ended_connection.server.id, ended_connection.client.id)
    parsed = parse_connection_user(ended_connection.client.user)
    if parsed is None:
        return Ended(place, None, ended_connection.client.start)
    traffic = Traffic(place, parsed[0], ended_connection.sent.msgs, ended_connection.sent.bytes)
    return Ended(place, traffic, ended_connection.client.start)
