"""The callout's use of nats-server's system account: which connections there are, and which ended.

Owns the step from nats-server's names to hotkeys and roles. The questions are `runtime.sys_account`'s.
"""

from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import BaseModel, ConfigDict, ValidationError

from broker_service.callout.connections import Connection, Place, parse_connection_user
from runtime import logs
from runtime.sys_account import PAGE, client_connections, kick_connection
from zipcast.subjects import DISCONNECTIONS

log = logs.logger()


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Server(_Told):
    id: str


class _Client(_Told):
    id: int


class _Disconnection(_Told):
    server: _Server
    client: _Client


class SystemAccount:
    """`connection` is the service user's of the account SYS."""

    def __init__(self, connection: Client, page: int = PAGE) -> None:
        self._connection = connection
        self._page = page

    async def follow_ends(self, ended: Callable[[Place], None]) -> None:
        """Call `ended` for each connection of the account that ends, from now on."""

        async def hear(message: Msg) -> None:
            try:
                told = _Disconnection.model_validate_json(message.data)
            except ValidationError as error:
                log.error("disconnection_unreadable", error=type(error).__name__)
                return
            ended(Place(told.server.id, told.client.id))

        await self._connection.subscribe(DISCONNECTIONS, cb=hear)

    async def hotkey_connections(self) -> list[Connection]:
        """Every connection of a hotkey, on every server. A service user has another kind of name, and is
        left alone. Raises ListingError, nats.errors.Error."""
        found = []
        for listed in await client_connections(self._connection, self._page):
            parsed = parse_connection_user(listed.user)
            if parsed is not None:
                place = Place(listed.server_id, listed.client_id)
                found.append(Connection(place, *parsed, listed.since))
        return found

    async def kick(self, place: Place) -> None:
        """Raises nats.errors.Error."""
        await kick_connection(self._connection, place.server_id, place.client_id)
