"""Tests parts that hang: they are stopped with SIGSTOP for longer than epochs last, then continued."""

import asyncio
import os
import signal
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import select

from devstack.options import StackOptions
from devstack.stack import Stack
from storage.database.engine import open_engine
from storage.database.tables import Epoch
from tests.faults.observer import Observer
from tests.support.operator_view import until
from tests.support.people import client, keypair, raw_connection, read_sealed
from tests.support.processes import GENEROUS, wait_until
from tests.support.unopened import Unopened, unopened
from zipcast.protocol.errors import ErrorCode, ServiceError

pytestmark = pytest.mark.long


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def victim(tmp_path_factory):
    state = tmp_path_factory.mktemp("frozen") / "state"
    options = StackOptions(epoch_seconds=3, state=state, settings=GENEROUS)
    async with Stack.running(options) as stack:
        yield stack


async def record(stack: Stack):
    engine = open_engine(stack.ready.postgres, application_name="test")
    query = select(Epoch.epoch_id, Epoch.status, Epoch.prepared_at, Epoch.end_at).order_by(Epoch.start_at)
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    await engine.dispose()
    return rows


async def test_epochs_that_passed_while_the_scheduler_was_frozen_are_missed_not_made_up(victim: Stack):
    observer = Observer(victim.ready)
    await observer.watch("miner-1")
    await wait_until(lambda: observer.heard)
    frozen = victim.ready.pids["schedulers"]
    os.kill(frozen, signal.SIGSTOP)
    heard = len(observer.heard)
    # This is not synchronisation but the freeze itself, which is longer than three epochs.
    await asyncio.sleep(10)
    os.kill(frozen, signal.SIGCONT)
    await wait_until(lambda: len(observer.heard) >= heard + 4)
    rows = await record(victim)
    assert "missed" in {row.status for row in rows}, rows
    assert [row.epoch_id for row in rows if row.status != "missed" and row.prepared_at >= row.end_at] == []
    assert observer.epoch_ids == sorted(set(observer.epoch_ids))
    missed = {row.epoch_id for row in rows if row.status == "missed"}
    assert missed.isdisjoint(observer.epoch_ids)
    assert [e.message.epoch_id for e, at in observer.heard if at < e.message.epoch_start] == []
    await observer.close()


async def test_who_connects_while_the_callout_hangs_is_let_in_once_it_goes_on(victim: Stack):
    frozen = victim.ready.pids["callout"]
    os.kill(frozen, signal.SIGSTOP)
    names = [f"miner-{number}" for number in range(1, 9)]
    connecting = [
        asyncio.create_task(raw_connection(victim.ready, keypair(victim.ready, name))) for name in names
    ]
    # This is not synchronisation but the freeze itself, which is longer than nats-server waits.
    await asyncio.sleep(3)
    assert not any(one.done() for one in connecting)
    os.kill(frozen, signal.SIGCONT)
    connections = await asyncio.gather(*connecting)
    assert all(one.is_connected for one in connections)
    for one in connections:
        await one.close()


async def test_while_postgresql_hangs_the_next_epoch_comes_over_nats_and_is_on_record_afterwards(
    victim: Stack,
):
    observer = Observer(victim.ready)
    await observer.watch("miner-1")
    server = victim.ready.pids["postgres"]
    async with await psycopg.AsyncConnection.connect(victim.ready.postgres, autocommit=True) as database_time:

        async def prepared() -> bool:
            found = await unopened(database_time, 0.3)
            due.extend([found] if found is not None else [])
            return bool(due)

        due: list[Unopened] = []
        await until(prepared)
    # Freeze the server first, because it then starts no more processes. It is continued last, so that none
    # can end before.
    os.kill(server, signal.SIGSTOP)
    pids = children(server)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        epoch_id = due[0].epoch_id
        await wait_until(lambda: epoch_id in observer.epoch_ids)
    finally:
        for pid in [*pids, server]:
            os.kill(pid, signal.SIGCONT)
    ((started, arrived),) = [
        (one.message.epoch_start, at) for one, at in observer.heard if one.message.epoch_id == epoch_id
    ]
    assert arrived >= started
    await wait_until(lambda: any(one > epoch_id for one in observer.epoch_ids))
    assert {row.status for row in await record(victim) if row.epoch_id == epoch_id} <= {"active", "completed"}
    assert observer.epoch_ids.count(epoch_id) == 1
    await observer.close()


def children(pid: int) -> list[int]:
    """Return the processes of the server: its own, and one for each session."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in listed]


async def test_while_the_object_store_hangs_each_validator_is_told_so_and_miners_are_served(victim: Stack):
    miner = keypair(victim.ready, "miner-1").ss58_address
    async with client(victim.ready, "validator-1") as validator, client(victim.ready, "miner-2") as connected:
        ended = (await validator.current()).message.previous_epoch_id
        await read_sealed(validator, ended)
        store = victim.ready.pids["object_store"]
        os.kill(store, signal.SIGSTOP)
        try:
            answers = await asyncio.gather(
                *(validator.validator_upload(ended) for _ in range(6)),
                *(validator.validator_read(ended, miner, with_credentials=True) for _ in range(6)),
                return_exceptions=True,
            )
            # The manifest is in the database, so listing needs no reply of the object store.
            assert (await validator.validator_read(ended, miner)).miner_hotkey == miner
            assert (await connected.current()).message.network == victim.ready.network
        finally:
            os.kill(store, signal.SIGCONT)
        refusals = [answer for answer in answers if isinstance(answer, ServiceError)]
        assert len(refusals) == len(answers)
        assert {refusal.code for refusal in refusals} == {ErrorCode.CREDENTIALS_UNAVAILABLE}
        # No lock or thread is left that would block the next request.
        assert (await validator.validator_upload(ended)).s3_credentials is not None
