"""Sends admin requests over NATS for the operator, whose hotkey need not be registered on the subnet.

The client receives no epochs. If its connection is lost, it does not reconnect.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import nats.errors
from nats.aio.client import Callback, Client

from zipcast.client.connection import Server, connect
from zipcast.client.reconnection import Reconnection
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
    """The connection of one admin. `trust` lists the signers that requests may be addressed to.

    Every request can raise ServiceError and nats.errors.Error, and ValidationError for a malformed command
    id."""

    def __init__(
        self, servers: Sequence[str], signer: Signer, trust: Trust, *, clock: Clock | None = None
    ) -> None:
        """Prepare a client. Raises ValueError for a malformed server address, and MalformedHotkeyError."""
        self._signer = signer
        self._trust = trust
        clock = clock or SystemClock()
        parsed = [Server.parse(url) for url in servers]
        # A command needs only one connection. If the connection is lost, the command fails.
        self._reconnection = Reconnection(parsed, self._dial, self._on_lost, clock)
        self._requester = Requester(signer, trust.signers, clock, self._connected)

    async def __aenter__(self) -> Self:
        """Connect to the first server that accepts the hotkey. Raises nats.errors.Error and OSError."""
        await self._reconnection.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._reconnection.close()

    async def do(self, command: AdminCommand) -> AdminCommandReply:
        """Queue the command for a scheduler. The reply has the outcome if it comes within three seconds."""
        return await self._requester.call(VERB_OF[type(command)], command, AdminCommandReply)

    async def commands(self) -> CommandsListReply:
        """Return the newest commands of all admins."""
        return await self._requester.call(Verb.COMMANDS_LIST, CommandsListRequest(), CommandsListReply)

    async def command(self, command_id: str) -> AdminCommandReply:
        """Return one command and its outcome."""
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
        return self._reconnection.connection

    def _on_lost(self) -> None:
        self._requester.interrupt(nats.errors.ConnectionClosedError())
