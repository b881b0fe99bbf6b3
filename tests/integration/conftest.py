"""What several of these files begin with."""

from collections.abc import AsyncIterator

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.stream.epoch_stream import EpochStream
from tests.support.plain_nats import PlainNats
from tests.support.scheduling import database_with_sample


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[AsyncEngine]:
    """With a part of the sample imported."""
    database = await database_with_sample(database_url)
    yield database
    await database.dispose()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def nats_server(tmp_path_factory) -> AsyncIterator[PlainNats]:
    async with PlainNats.running(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def stream(nats_server: PlainNats) -> EpochStream:
    """An empty server's; whoever is connected stays so."""
    await nats_server.lose_everything()
    return EpochStream((await nats_server.connect()).jetstream(timeout=2))
