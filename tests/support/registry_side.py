"""Runs a scheduler's registry reader on real servers, step by step."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from nats.aio.client import Client
from nats.js.kv import KeyValue
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.servers import Servers
from schedulers.registry.lease import ReaderTurn
from schedulers.registry.publisher import RegistryPublisher
from schedulers.registry.reader import FILE_PACE, Pace, RegistryReader
from schedulers.registry.source import Reading, RegistrySource, RegistryUnreadableError
from service import nats_connection
from service.lifecycle import Lifecycle
from service.registry_parts import Head, read_parts
from storage.database.locks import Lease
from tests.support.fakes import FakeClock
from zipcast.protocol.messages.registry import RegisteredNeuron, RegistrySnapshot
from zipcast.protocol.subjects import REGISTRY_BUCKET, REGISTRY_KEY

NETWORK, NETUID = "test", 46
READ, CONFIRM = 300.0, 30.0


@dataclass
class ScriptedSource:
    """A chain whose readings tests choose. The block number increases by one with each reading. None means
    that it cannot be read."""

    neurons: tuple[RegisteredNeuron, ...] | None = ()
    block: int = 1000
    certain: bool = False
    readings: int = 0
    distrusted: int = 0
    closed: int = 0
    retry_after_seconds: float = 0

    async def read(self) -> Reading:
        self.readings += 1
        if self.neurons is None:
            raise RegistryUnreadableError("the chain is down", self.retry_after_seconds)
        self.block += 1
        return Reading(self.neurons, None if self.certain else self.block)

    async def distrust(self) -> None:
        self.distrusted += 1

    async def close(self) -> None:
        self.closed += 1


@dataclass
class Side:
    """One replica. `step` lets it do what is due now, and `after` what is due some seconds later."""

    reader: RegistryReader
    connection: Client
    clock: FakeClock = field(default_factory=FakeClock)

    async def step(self) -> None:
        await self.reader.step()

    async def after(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
        await self.step()

    @property
    def held(self) -> RegistrySnapshot | None:
        return self.reader.publisher.held

    async def bucket(self) -> KeyValue:
        return await self.connection.jetstream().key_value(REGISTRY_BUCKET)

    async def in_kv(self) -> RegistrySnapshot:
        bucket = await self.bucket()
        return await read_parts(
            bucket, Head.model_validate_json((await bucket.get(REGISTRY_KEY)).value or b"")
        )


async def scheduler_connection(servers: Servers) -> Client:
    seed = SecretStr(servers.keys["schedulers"]["SCHEDULERS_NATS_SEED"])
    life = Lifecycle(None)
    life.stop()
    return await nats_connection.connect(servers.nats_url, user="schedulers", seed=seed, life=life)


@asynccontextmanager
async def replica(
    servers: Servers, database: AsyncEngine, source: RegistrySource, clock: FakeClock | None = None
) -> AsyncIterator[Side]:
    connection, clock = await scheduler_connection(servers), clock or FakeClock()
    lock = Lease(database, f"registry-reader:{NETWORK}:{NETUID}", uuid4().hex)
    reader = RegistryReader(
        source=source,
        publisher=RegistryPublisher(connection.jetstream(timeout=2), database, NETWORK, NETUID),
        turn=ReaderTurn(lock, clock, timedelta(seconds=READ + 120)),
        clock=clock,
        pace=FILE_PACE if source.certain else Pace(READ, CONFIRM),
        max_drop_percent=20,
        random=lambda: 1.0,
    )
    try:
        yield Side(reader, connection, clock)
    finally:
        await reader.turn.close()
        await source.close()
        await connection.close()
