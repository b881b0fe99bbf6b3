"""Tests that after years of epochs, no query of a request or of the scheduler's loop reads a whole table.

The test reads PostgreSQL's plans and does not measure time; `bench.history` does. A new query needs a line in
`bench.operations`.
"""

import pytest
import pytest_asyncio
from sqlalchemy import func, select

from bench.operations import OPERATIONS, Moment, Operation
from bench.plans import Plan, explained
from bench.years import fill
from devstack.logins import login_url
from devstack.servers import Servers
from storage.database.engine import open_engine
from storage.database.tables import EpochAssignment

pytestmark = pytest.mark.long

EPOCHS = 5_000
# These tables have one row per zipcode. `stats` counts them once in ten seconds for all clients.
OF_ZIPCODES = {"zipcodes", "zipcode_revisions", "zipcode_imports", "published_zipcodes"}
# This table usually has one row.
SMALL = {"pending_epochs"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def years(servers: Servers):
    """Return a database with epochs of two years and 200,000 assignments."""
    url = await servers.fresh_database()
    await fill(url, EPOCHS)
    yield url
    await servers.drop_database(url)


async def plans_of(url: str, operation: Operation) -> list[Plan]:
    engine = open_engine(url, application_name="test")
    try:
        return await explained(engine, operation, Moment.of(EPOCHS))
    finally:
        await engine.dispose()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.process}: {one.name}")
async def test_no_table_of_epochs_is_read_as_a_whole(servers: Servers, years: str, operation: Operation):
    plans = await plans_of(login_url(servers.state, years, operation.process), operation)
    assert plans
    for plan in plans:
        assert not plan.whole_tables - OF_ZIPCODES - SMALL, plan.text


async def test_a_plan_that_reads_all_assignments_would_be_found(servers: Servers, years: str):
    async def ask(connection, _):
        query = select(func.count()).select_from(EpochAssignment).where(EpochAssignment.position > 0)
        return (await connection.execute(query)).scalar_one()

    (plan,) = await plans_of(years, Operation("all", "owner", ask))
    assert plan.whole_tables == {"epoch_assignments"}
