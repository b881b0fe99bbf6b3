"""Admin requests over NATS: for the operator, whose hotkey need not be registered on the subnet.

Hears no epochs; a lost connection ends it.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import nats.errors
from nats.aio.client import Callback, Client

from zipcast.client.connection import Server, connect
from zipcast.client.reconnection import ConnectionKeeper
from zipcast.client.signed_requests import Requester
from zipcast.clock import Clock, SystemClock
from zipcast.protocol.envelope import Trust
from zipcast.protocol.hotkeys import Signer
from zipcast.protocol.messages.admin import (
    AdminCommand,
    AdminCommandReply,
    CommandsGetRequest,
    CommandsListReply,
    CommandsListRequest,
)
from zipcast.protocol.verbs import VERB_OF, Verb


class AdminClient:
    """One admin's connection. `trust` pins the signers that requests are addressed to.

    Every request raises ServiceError, nats.errors.Error, and ValidationError for what is no command's id."""

    def __init__(
        self, servers: Sequence[str], signer: Signer, trust: Trust, *, clock: Clock | None = None
    ) -> None:
        """Take the servers' addresses and the admin's key. Raises ValueError (an address),
        MalformedHotkeyError."""
        self._signer = signer
        self._trust = trust
        clock = clock or SystemClock()
        parsed = [Server.parse(url) for url in servers]
        # One connection for one errand: kept, but never replaced.
        self._keeper = ConnectionKeeper(parsed, self._dial, self._on_lost, clock)
        self._requester = Requester(signer, trust.signers, clock, self._connected)

    async def __aenter__(self) -> Self:
        """On the first server that lets us in. Raises nats.errors.Error, OSError."""
        await self._keeper.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._keeper.close()

    async def do(self, command: AdminCommand) -> AdminCommandReply:
        """Have a scheduler do it; the reply has the outcome if that comes within three seconds."""
        return await self._requester.call(VERB_OF[type(command)], command, AdminCommandReply)

    async def commands(self) -> CommandsListReply:
        """The newest commands of all admins."""
        return await self._requester.call(Verb.COMMANDS_LIST, CommandsListRequest(), CommandsListReply)

    async def command(self, command_id: str) -> AdminCommandReply:
        """One command and what it came to."""
        request = CommandsGetRequest(command_id=command_id)
        return await self._requester.call(Verb.COMMANDS_GET, request, AdminCommandReply)

    async def _dial(self, server: Server, on_close: Callback) -> Client:
        return await connect(
            server,
            self._signer,
            network=self._trust.network,
            netuid=self._trust.netuid,
            on_error=self._requester.on_error,
            on_close=on_close,
        )

    async def _connected(self) -> Client:
        return self._keeper.connection

    def _on_lost(self) -> None:
        self._requester.interrupt(nats.errors.ConnectionClosedError())
