"""Tests `kill -9` of each of our processes in a running stack: it is started again, no epoch is lost or
published twice, and the others continue."""

import os
import signal

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select

from devstack.options import StackOptions
from devstack.stack import Stack
from storage.database.engine import open_engine
from storage.database.tables import Epoch
from tests.faults.observer import Observer
from tests.support.current_requests import CURRENT, current_query
from tests.support.people import ask, client, keypair, raw_connection
from tests.support.processes import is_alive, wait_until
from zipcast.protocol.verbs import Verb

PARTS = ["schedulers", "responder", "callout", "http_bridge"]
pytestmark = pytest.mark.long


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def victim(tmp_path_factory):
    """Run a stack with five-second epochs that the test may harm."""
    options = StackOptions(epoch_seconds=5, state=tmp_path_factory.mktemp("victim") / "state")
    async with Stack.running(options) as stack:
        yield stack


async def still_works(stack: Stack, killed: str) -> None:
    """Check that requests which do not depend on the killed part are answered at once."""
    signer = keypair(stack.ready, "miner-8")
    if killed != "http_bridge":
        async with httpx.AsyncClient(base_url=stack.ready.http) as http:
            assert (await http.get(CURRENT, params=current_query(signer))).status_code == 200
    if killed in {"schedulers", "http_bridge"}:
        connection = await raw_connection(stack.ready, signer)
        assert (await ask(stack.ready, connection, signer, Verb.EPOCH_CURRENT, b"{}")).data
        await connection.close()


@pytest.mark.parametrize("part", PARTS)
async def test_a_killed_part_comes_back_and_no_epoch_is_lost_or_doubled(victim: Stack, part: str):
    observers = [Observer(victim.ready), Observer(victim.ready)]
    for observer, name in zip(observers, ["miner-1", "validator-1"], strict=True):
        await observer.watch(name)
    await wait_until(lambda: observers[0].heard)
    before = victim.ready.pids[part]
    os.kill(before, signal.SIGKILL)
    await still_works(victim, part)
    await wait_until(lambda: victim.ready.pids.get(part) not in {None, before})
    assert not is_alive(before)
    await wait_until(lambda: min(len(observer.heard) for observer in observers) >= 3)
    for observer in observers:
        observer.check()
        await observer.close()
    first, second = ([item[0].envelope for item in observer.heard[:3]] for observer in observers)
    assert first == second
    # Check that new clients are served by the part that was killed.
    async with client(victim.ready, "miner-2") as connected:
        assert (await connected.current()).message.epoch_id >= observers[0].epoch_ids[-1]


async def test_the_record_has_every_epoch_once_and_none_missed(victim: Stack):
    engine = open_engine(victim.ready.postgres, application_name="test")
    async with engine.connect() as connection:
        rows = (await connection.execute(select(Epoch.status, Epoch.stream_sequence))).all()
    await engine.dispose()
    assert {row.status for row in rows} <= {"pending", "active", "completed"}
    sequences = [row.stream_sequence for row in rows if row.stream_sequence is not None]
    assert sorted(sequences) == list(range(1, len(sequences) + 1))
