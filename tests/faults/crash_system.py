"""Runs the system that the crash matrix kills: nats-server, PostgreSQL, two schedulers and a subscriber.

This module brings each part down and up, and creates the situation in which a scheduler comes to a step
(`Scene`). Each system has its own servers, so that several can run at the same time.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nats
import nats.errors
from nats.aio.msg import Msg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack import logins, nats_server, postgres, wallets
from devstack.beacon_relay import beacon_relay_part
from devstack.first_data import load_data
from devstack.ports import chosen_ports
from devstack.servers import Servers, ignore
from devstack.services import Services
from devstack.state import State
from devstack.supervisor import Supervisor
from schedulers.epochs.fault_points import FaultPoint
from service.lifecycle import end
from storage.database.engine import open_engine
from tests.faults.forked_scheduler import ForkedScheduler
from tests.faults.matrix import FIRST, NATS, SECOND, Scene
from tests.faults.observations import Arrival, Session, Subscriber
from tests.support.lost_rows import lose_epochs_from
from tests.support.people import quiet
from tests.support.processes import family, wait_until
from zipcast.protocol import subjects
from zipcast.protocol.calendar import EpochCalendar
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.subjects import service_inbox_prefix

_LOST_EPOCHS = 2
# Migrations have global state, so only one may run at a time in a process.
_MIGRATING = asyncio.Lock()


class Listener:
    """A subscriber that connects with the bridge's key, which needs no callout. A lost connection is replaced
    by a new one."""

    def __init__(self, servers: Servers, name: str) -> None:
        self.name = name
        self._servers = servers
        self._sessions: list[Session] = []
        self.connected = asyncio.Event()

    @property
    def seen(self) -> Subscriber:
        return Subscriber(self.name, tuple(self._sessions))

    async def run(self) -> None:
        while True:
            with suppress(nats.errors.Error, OSError):
                await self._session()
            await asyncio.sleep(0.05)

    async def _session(self) -> None:
        heard: list[Arrival] = []
        lost = asyncio.Event()

        async def hear(message: Msg) -> None:
            headers = message.headers or {}
            envelope = UnverifiedEnvelope.from_headers(headers, message.data)
            heard.append(Arrival(envelope, datetime.now(UTC), int(headers["Nats-Sequence"])))

        async def on_close() -> None:
            lost.set()

        connection = await nats.connect(
            self._servers.nats_url,
            nkeys_seed_str=self._servers.keys["bridge"]["BRIDGE_FOLLOW_NATS_SEED"],
            inbox_prefix=service_inbox_prefix("bridge-follow"),
            allow_reconnect=False,
            error_cb=quiet,
            closed_cb=on_close,
        )
        try:
            await connection.subscribe(subjects.EPOCH, cb=hear)
            await connection.flush(timeout=2)
            began = datetime.now(UTC)
            self._sessions.append(Session(began, None, heard, ()))
            self.connected.set()
            await lost.wait()
            self._sessions[-1] = Session(began, datetime.now(UTC), heard, ())
        finally:
            self.connected.clear()
            await connection.close()


@dataclass
class CrashSystem:
    servers: Servers
    calendar: EpochCalendar
    database: AsyncEngine
    armed: Path
    schedulers: dict[str, ForkedScheduler]
    listeners: list[Listener] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, calendar: EpochCalendar) -> AsyncIterator["CrashSystem"]:
        """Run a system while the context is entered."""
        state = State(folder)
        state.create()
        state.ensure_keys()
        with chosen_ports(state.ports) as ports:
            async with cls._on_servers(Servers(state, ports, Supervisor(ignore)), calendar) as system:
                yield system

    @classmethod
    @asynccontextmanager
    async def _on_servers(cls, servers: Servers, calendar: EpochCalendar) -> AsyncIterator["CrashSystem"]:
        try:
            await cls._start_servers(servers)
            system = cls._on(servers, calendar)
            listening = [asyncio.create_task(listener.run()) for listener in system.listeners]
            for scheduler in system.schedulers.values():
                scheduler.start()
            await system.all_ready()
            yield system
            await end(listening)
            for scheduler in system.schedulers.values():
                scheduler.kill()
                await scheduler.ended()
            await system.database.dispose()
        finally:
            await servers.supervisor.stop()

    @classmethod
    async def _start_servers(cls, servers: Servers) -> None:
        state, ports = servers.state, servers.ports
        await asyncio.to_thread(wallets.ensure_all_wallets, state.wallets, state.admin_wallets)
        wallets.ensure_registry(state.registry, state.wallets)
        record = postgres.postgres_part(state, ports)
        # A killed server keeps what it wrote even without fsync, and several of them share one disk here.
        quick = replace(record, argv=(*record.argv, "-c", "fsync=off"))
        relay = beacon_relay_part(state, ports)
        await servers.supervisor.start(nats_server.nats_part(state, ports), quick, relay)
        await postgres.create_database(servers.admin_url, postgres.DATABASE)
        await logins.ensure_logins(state, servers.admin_url)
        async with _MIGRATING:
            await load_data(servers.database_url, None)

    @classmethod
    def _on(cls, servers: Servers, calendar: EpochCalendar) -> "CrashSystem":
        state = servers.state
        armed = state.run / "fault_point"
        part = Services(servers, calendar.epoch_seconds, state.registry, {}).parts()[0]
        schedulers = {
            name: ForkedScheduler(
                name, part.environment, state.run / f"{name}.ready", state.logs / f"{name}.log", armed
            )
            for name in (FIRST, SECOND)
        }
        database = open_engine(servers.database_url, application_name="crash-matrix")
        listeners = [Listener(servers, name) for name in ("one", "two")]
        return cls(servers, calendar, database, armed, schedulers, listeners)

    @property
    def running_id(self) -> str:
        return self.calendar.at(datetime.now(UTC)).epoch_id

    async def all_ready(self) -> None:
        await wait_until(
            lambda: (
                all(scheduler.is_ready for scheduler in self.schedulers.values())
                and all(listener.connected.is_set() for listener in self.listeners)
            ),
            30,
        )

    def kill(self, name: str) -> None:
        """Kill all processes of the part."""
        if name in self.schedulers:
            self.schedulers[name].kill()
            return
        for pid in family(self.servers.supervisor.pids[name]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def settle(self, names: Sequence[str]) -> None:
        """Wait until the killed processes have ended, and keep the supervisor from starting them."""
        for name in names:
            if name in self.schedulers:
                await self.schedulers[name].ended()
            else:
                await self.servers.supervisor.take_down(name)

    async def bring_up(self, name: str) -> None:
        """Start a part. Do not wait for a scheduler, because it may need a server that is started later."""
        if name in self.schedulers:
            self.schedulers[name].start()
        else:
            await self.servers.supervisor.bring_up(name)

    async def play(self, scene: Scene, point: FaultPoint) -> datetime | None:
        """Create the situation before the step, arm the fault point, and let both schedulers come to it.
        Return the time from which this could harm epochs, or None."""
        if scene is Scene.EPOCH:
            self.armed.write_text(point)
            return None
        await self.until_marked(2.5)
        began_at = datetime.now(UTC)
        for name in self.schedulers:
            self.kill(name)
        await self.settle(tuple(self.schedulers))
        if scene is Scene.GAP:
            # This is not synchronisation but the gap itself, which is longer than from an epoch's preparation
            # to its end.
            await asyncio.sleep(2.6 * self.calendar.epoch_seconds)
        elif scene is Scene.BACKUP:
            await self._forget_rows()
        elif scene is Scene.LOST_STREAM:
            await self._lose_stream()
        self.armed.write_text(point)
        for scheduler in self.schedulers.values():
            scheduler.start()
        return began_at

    async def until_marked(self, seconds_left: float = 0) -> None:
        """Wait until the running epoch is published and marked, and `seconds_left` seconds of it are left."""
        query = text(
            "select 1 from epochs where status = 'active' and start_at <= clock_timestamp() "
            f"and clock_timestamp() < end_at - interval '{seconds_left} seconds'"
        )
        async with asyncio.timeout(4 * self.calendar.epoch_seconds):
            while True:
                with suppress(SQLAlchemyError):
                    async with self.database.connect() as connection:
                        if (await connection.execute(query)).first() is not None:
                            return
                await asyncio.sleep(0.05)

    async def _forget_rows(self) -> None:
        """Delete the rows of the newest epochs, some of which are published."""
        since = datetime.now(UTC) - timedelta(seconds=_LOST_EPOCHS * self.calendar.epoch_seconds)
        first = self.calendar.at(since).epoch_id
        async with self.database.begin() as connection:
            await lose_epochs_from(connection, first)

    async def _lose_stream(self) -> None:
        self.kill(NATS)
        await self.settle([NATS])
        store = self.servers.state.nats
        shutil.rmtree(store)
        store.mkdir()
        await self.bring_up(NATS)
