"""Tests that the number of registry snapshots in PostgreSQL is limited."""

from datetime import timedelta

from sqlalchemy import select, update

from storage.database.engine import open_engine
from storage.database.registry import TRIMMED_AT_ONCE, newest_snapshot, store_snapshot, trim_snapshots
from storage.database.tables import RegistrySnapshot as Row
from tests.support.fakes import START_AT, snapshot
from tests.support.registry_side import NETUID, NETWORK


async def test_old_snapshots_are_dropped_a_few_at_a_time_but_never_the_newest(database_url: str):
    database = open_engine(database_url, application_name="test")
    count = TRIMMED_AT_ONCE + 10
    async with database.begin() as connection:
        for block in range(1, count + 1):
            await store_snapshot(connection, snapshot((), network=NETWORK, block=block))
        await store_snapshot(connection, snapshot((), network="elsewhere", block=1))
        await connection.execute(
            update(Row).where(Row.block_number == 3).values(taken_at=START_AT + timedelta(1))
        )
    trimmed = []
    for _ in range(3):
        async with database.begin() as connection:
            trimmed.append(await trim_snapshots(connection, NETWORK, NETUID, START_AT + timedelta(hours=1)))
    assert trimmed == [TRIMMED_AT_ONCE - 1, 9, 0]
    async with database.connect() as connection:
        assert (await newest_snapshot(connection, NETWORK, NETUID)) is not None
        left = (
            await connection.execute(select(Row.network, Row.block_number).order_by(Row.block_number))
        ).all()
    await database.dispose()
    assert left == [("elsewhere", 1), (NETWORK, 3), (NETWORK, count)]
