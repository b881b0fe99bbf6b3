"""Fixtures that several of these files use."""

from collections.abc import AsyncIterator

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.stream.epoch_stream import EpochStream
from tests.support.plain_nats import PlainNats
from tests.support.scheduling import database_with_sample


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Return a database with a part of the sample imported."""
    database = await database_with_sample(database_url)
    yield database
    await database.dispose()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def nats_server(tmp_path_factory) -> AsyncIterator[PlainNats]:
    async with PlainNats.running(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def stream(nats_server: PlainNats) -> EpochStream:
    """Return an empty stream on a new server state. Open connections stay open."""
    await nats_server.lose_everything()
    return EpochStream((await nats_server.connect()).jetstream(timeout=2))
