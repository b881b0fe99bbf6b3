"""Runs the three servers without our processes: nats-server, PostgreSQL and the object store, mainly for
tests.

It also provides new, migrated databases quickly.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from devstack import beacon_relay, logins, nats_server, object_store, postgres
from devstack.kept_part import Event
from devstack.ports import HOST, Ports, chosen_ports
from devstack.state import State
from devstack.supervisor import Supervisor
from storage.database.migrate import migrate

_TEMPLATE = "zipcast_template"


def ignore(_: Event) -> None:
    """Ignore an event."""


class Servers:
    """The servers on one state folder. `supervisor` can stop all of them, or one for some time."""

    def __init__(self, state: State, ports: Ports, supervisor: Supervisor) -> None:
        self.state, self.ports, self.supervisor = state, ports, supervisor
        self._template = asyncio.Lock()
        self._template_made = False

    @classmethod
    @asynccontextmanager
    async def running(
        cls, state: State, report: Callable[[Event], None] = ignore
    ) -> AsyncIterator["Servers"]:
        """Run the servers on the state folder `state`, and stop them at the end. Raises PartFailedError,
        StateInUseError and ProgramMissingError."""
        state.create()
        with state.lock(), chosen_ports(state.ports) as ports:
            state.ensure_keys()
            supervisor = Supervisor(report)
            servers = cls(state, ports, supervisor)
            try:
                await servers.start()
                yield servers
            finally:
                await supervisor.stop()

    async def start(self) -> None:
        """Start all servers. Afterwards the database exists and is empty, and both buckets are versioned."""
        await self.supervisor.start(
            nats_server.nats_part(self.state, self.ports),
            postgres.postgres_part(self.state, self.ports),
            object_store.object_store_part(self.state, self.ports),
            beacon_relay.beacon_relay_part(self.state, self.ports),
        )
        await postgres.create_database(self.admin_url, postgres.DATABASE)
        await logins.ensure_logins(self.state, self.admin_url)
        await object_store.enable_versioning(self.state, self.ports)

    @property
    def nats_url(self) -> str:
        return f"nats://{HOST}:{self.ports.nats}"

    @property
    def monitoring_url(self) -> str:
        return f"http://{HOST}:{self.ports.monitoring}"

    @property
    def beacon_relay_url(self) -> str:
        return f"http://{HOST}:{self.ports.beacon_relay}"

    @property
    def http_url(self) -> str:
        """Return the URL of the HTTP bridge, in case one is started."""
        return f"http://{HOST}:{self.ports.http}"

    @property
    def admin_url(self) -> str:
        """Return the superuser's URL of the database `postgres`, which is used to create and drop other
        databases."""
        return postgres.database_url(self.state, self.ports, "postgres")

    @property
    def database_url(self) -> str:
        """Return the superuser's URL of the stack's database."""
        return postgres.database_url(self.state, self.ports)

    def database_url_of(self, process: str) -> str:
        """Return the URL of the stack's database for a process, with only the rights of its role."""
        return logins.login_url(self.state, self.database_url, process)

    @property
    def s3_environment(self) -> dict[str, str]:
        """Return the responder's settings for the object store."""
        return object_store.responder_environment(self.state, self.ports)

    @property
    def keys(self) -> dict[str, dict[str, str]]:
        """Return the keys as {process: {variable: value}} for `nats`, `schedulers`, `responder`, `callout`,
        `bridge`."""
        names = ("nats", "schedulers", "responder", "callout", "bridge")
        return {name: self.state.keys_of(name) for name in names}

    async def fresh_database(self) -> str:
        """Return the URL of a new, migrated database. From the second call on, this takes about 50 ms."""
        await self._make_template()
        return await self.empty_database(template=_TEMPLATE)

    async def empty_database(self, *, template: str = "template1") -> str:
        """Return the URL of a new database that is not migrated."""
        name = f"test_{secrets.token_hex(6)}"
        await postgres.create_database(self.admin_url, name, template=template)
        return postgres.database_url(self.state, self.ports, name)

    async def drop_database(self, url: str) -> None:
        """Drop a database of `fresh_database`, and close its connections."""
        await postgres.drop_database(self.admin_url, urlsplit(url).path.removeprefix("/"))

    async def _make_template(self) -> None:
        """Create a migrated template database once per run, because the migrations may have changed since the
        last run."""
        async with self._template:
            if self._template_made:
                return
            await postgres.drop_database(self.admin_url, _TEMPLATE)
            await postgres.create_database(self.admin_url, _TEMPLATE)
            await asyncio.to_thread(migrate, postgres.database_url(self.state, self.ports, _TEMPLATE))
            self._template_made = True
