"""Tests the counts of a process while a server that it needs is away."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from devstack.servers import Servers
from devstack.state import State
from service import nats_connection
from service.lifecycle import Lifecycle
from storage.database.engine import open_engine
from storage.objects.store import ObjectStore, ObjectStoreConfig, ObjectStoreUnavailableError
from tests.support.processes import wait_until

# Nothing listens on the port "discard".
NOWHERE = "127.0.0.1:9"


@pytest_asyncio.fixture(loop_scope="session")
async def own_servers(tmp_path) -> AsyncIterator[Servers]:
    """Run servers that a test may harm."""
    async with Servers.running(State(tmp_path)) as servers:
        yield servers


@pytest.mark.long
async def test_a_nats_connection_that_was_lost_and_came_back_is_counted(own_servers: Servers):
    life = Lifecycle(None)
    seed = SecretStr(own_servers.keys["schedulers"]["SCHEDULERS_NATS_SEED"])
    connection = await nats_connection.connect(own_servers.nats_url, user="schedulers", seed=seed, life=life)

    def shown(name: str, count: int) -> bool:
        return f'{name}{{user="schedulers"}} {count}.0' in life.process_status.exposition().decode()

    assert shown("zipcast_nats_connected", 1)
    assert shown("zipcast_nats_reconnects_total", 0)
    await own_servers.supervisor.take_down("nats")
    await wait_until(lambda: shown("zipcast_nats_connected", 0))
    assert life.process_status.health().connections == {"schedulers": "reconnecting"}
    await own_servers.supervisor.bring_up("nats")
    await wait_until(lambda: shown("zipcast_nats_reconnects_total", 1))
    assert shown("zipcast_nats_connected", 1)
    life.stop()
    await connection.close()


async def failures_counted(url: str, statement: str) -> int:
    life, database = Lifecycle(None), open_engine(url, application_name="test")
    life.process_status.metrics.watch_database(database)
    with pytest.raises(SQLAlchemyError):
        async with database.connect() as connection:
            await connection.execute(text(statement))
    await database.dispose()
    return life.process_status.health().counts["database_errors"]


async def test_database_errors_are_counted_whether_it_is_away_or_refuses(database_url: str):
    assert await failures_counted(f"postgresql://zipcast:x@{NOWHERE}/zipcast", "select 1") == 1
    assert await failures_counted(database_url, "select 1 from nothing") == 1


async def test_what_works_is_no_error(database_url: str):
    life, database = Lifecycle(None), open_engine(database_url, application_name="test")
    life.process_status.metrics.watch_database(database)
    async with database.connect() as connection:
        await connection.execute(select(1))
    await database.dispose()
    assert life.process_status.health().counts["database_errors"] == 0


async def test_a_call_that_the_object_store_does_not_answer_is_counted():
    failures: list[None] = []
    config = ObjectStoreConfig(f"http://{NOWHERE}", "us-east-1", "key", SecretStr("secret"), None)
    store = ObjectStore(config, on_error=lambda: failures.append(None))
    with pytest.raises(ObjectStoreUnavailableError):
        await store.reach("miners")
    store.close()
    assert len(failures) == 1
