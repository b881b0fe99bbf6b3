"""Real servers for every integration test: started once, with a database of its own per test."""

from collections.abc import AsyncIterator

import pytest_asyncio

from devstack.servers import Servers
from devstack.state import State


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(tmp_path_factory) -> AsyncIterator[Servers]:
    """For tests that do not harm them; one that kills servers starts its own."""
    async with Servers.running(State(tmp_path_factory.mktemp("servers"))) as servers:
        yield servers


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(servers: Servers) -> AsyncIterator[str]:
    """A new database, migrated and empty, dropped after the test."""
    url = await servers.fresh_database()
    yield url
    await servers.drop_database(url)
