"""Runs all of Zipcast on one machine: servers, data, our processes and `ready.json`, in the right order.

When the context `running` ends for any reason, nothing is left running.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from devstack import object_store, wallets
from devstack.first_data import load_data
from devstack.kept_part import Event, StepBegan
from devstack.options import LOCAL_NETWORK, StackOptions
from devstack.part import Part
from devstack.ports import HOST, Ports, chosen_ports
from devstack.servers import Servers, ignore
from devstack.services import AUDIENCE, Services
from devstack.state import State
from devstack.supervisor import Supervisor, together
from zipcast.client.local_stack import Ready, ReadyObjectStore

Report = Callable[[Event], None]
MakeParts = Callable[[Services], tuple[Part, ...]]
LoadData = Callable[[str, Path | None], Coroutine[None, None, None]]


class Stack:
    """A running stack, made by `Stack.running`. `ready` has the present contents of `ready.json`."""

    def __init__(self, state: State, ports: Ports, options: StackOptions, report: Report) -> None:
        self.servers = Servers(state, ports, Supervisor(self._on_event))
        self.options = options
        self._report = report

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        options: StackOptions,
        report: Report = ignore,
        *,
        make_parts: MakeParts = Services.parts,
        load_data: LoadData = load_data,
    ) -> AsyncIterator["Stack"]:
        """Start everything, and stop everything at the end of the context. Tests pass other parts. Raises
        StackError."""
        with _prepared(options) as state, chosen_ports(state.ports, options.port_base) as ports:
            stack = cls(state, ports, options, report)
            try:
                await stack.start(make_parts, load_data)
                yield stack
            finally:
                state.ready.unlink(missing_ok=True)
                await stack.servers.supervisor.stop()

    @property
    def parts(self) -> list[Part]:
        return self.servers.supervisor.parts

    @property
    def ready(self) -> Ready:
        state, servers = self.servers.state, self.servers
        internal = {part.name: part.internal for part in self.parts if part.internal}
        return Ready(
            nats=servers.nats_url,
            monitoring=servers.monitoring_url,
            http=servers.http_url,
            postgres=servers.database_url,
            s3=ReadyObjectStore(
                object_store.endpoint_url(servers.ports),
                object_store.MINER_BUCKET,
                object_store.VALIDATOR_BUCKET,
            ),
            signer=servers.keys["bridge"]["ZIPCAST_SIGNERS"],
            netuid=self.options.netuid,
            network=self.options.network,
            audience=AUDIENCE,
            epoch_seconds=self.options.epoch_seconds,
            wallets=str(state.wallets),
            admin_wallets=str(state.admin_wallets),
            pids=servers.supervisor.pids,
            beacon=servers.beacon_relay_url,
            websocket=f"ws://{HOST}:{servers.ports.websocket}",
            internal=internal,
            dashboard=f"{internal['http_bridge']}/ops/nats/" if "http_bridge" in internal else "",
        )

    async def start(self, make_parts: MakeParts, load_data: LoadData) -> None:
        """Start servers and make wallets at the same time, then load the data, start our processes, and write
        `ready.json`."""
        state = self.servers.state
        first_time = (
            "" if state.postgres.joinpath("data").exists() else ", which takes some seconds the first time"
        )
        self._report(StepBegan(f"starting nats-server, PostgreSQL and the object store{first_time}"))
        await together(self.servers.start(), _wallets(state))
        wallets.ensure_registry(state.registry, state.wallets)
        self._report(StepBegan("migrating the database and importing zipcodes"))
        await load_data(self.servers.database_url, self.options.zipcodes)
        options = self.options
        services = Services(
            self.servers,
            options.epoch_seconds,
            self._registry(),
            options.settings,
            options.network,
            options.netuid,
        )
        # Start the scheduler first. It is ready when it has published the registry and the running epoch. The
        # other processes read both.
        self._report(StepBegan("starting the four processes of Zipcast"))
        first, *others = make_parts(services)
        await self.servers.supervisor.start(first)
        await self.servers.supervisor.start(*others)
        self.ready.write(state.ready)

    def _on_event(self, event: Event) -> None:
        """Update the process ids in `ready.json`, then call the listener."""
        if self.servers.state.ready.exists():
            self.ready.write(self.servers.state.ready)
        self._report(event)

    def _registry(self) -> Path | None:
        if self.options.network != LOCAL_NETWORK:
            return None
        return (self.options.registry or self.servers.state.registry).absolute()


async def _wallets(state: State) -> None:
    await asyncio.to_thread(wallets.ensure_all_wallets, state.wallets, state.admin_wallets)


@contextmanager
def _prepared(options: StackOptions) -> Iterator[State]:
    """Yield the state folder, locked, with keys, and without the `ready.json` of the last run."""
    state = State(options.state.absolute())
    state.create()
    with state.lock():
        state.ready.unlink(missing_ok=True)
        state.ensure_keys()
        yield state
