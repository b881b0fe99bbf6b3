"""Tests reading and publishing the registry on real servers: order, confirmation, outages and several
schedulers."""

import asyncio
import random
from contextlib import suppress
from itertools import pairwise
from string import ascii_letters

import pytest_asyncio
from nats.js.errors import NotFoundError
from sqlalchemy import func, select, text

from devstack.servers import Servers
from devstack.state import State
from schedulers.registry.reader import RegistryReader
from service.registry import RegistryFollower, RegistryView
from service.registry_copy import recall_from
from service.registry_parts import write_parts
from storage.database.engine import open_engine
from storage.database.registry import store_snapshot
from storage.database.tables import RegistrySnapshot as Row
from tests.support.fakes import START_AT, FakeClock, neuron, snapshot
from tests.support.registry_side import (
    CONFIRM,
    NETUID,
    NETWORK,
    READ,
    ScriptedSource,
    replica,
    scheduler_connection,
)
from zipcast.protocol.messages.registry import RegisteredNeuron
from zipcast.protocol.subjects import REGISTRY_BUCKET, REGISTRY_KEY

MANY = tuple(neuron(f"hotkey-{uid}", uid=uid) for uid in range(10))
FEW = MANY[:5]
VALIDATOR = (*MANY[:-1], neuron("hotkey-9", uid=9, permit=True, rao=10))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_servers(tmp_path_factory):
    """Return a bucket that no other test writes, and a PostgreSQL that tests can stop."""
    async with Servers.running(State(tmp_path_factory.mktemp("registry"))) as servers:
        yield servers


@pytest_asyncio.fixture(loop_scope="session")
async def database(own_servers: Servers):
    url = await own_servers.fresh_database()
    connection = await scheduler_connection(own_servers)
    with suppress(NotFoundError):  # the first test has no bucket, the others a deleted key
        await (await connection.jetstream().key_value(REGISTRY_BUCKET)).delete(REGISTRY_KEY)
    await connection.close()
    database = open_engine(url, application_name="test")
    yield database
    await database.dispose()
    await own_servers.drop_database(url)


async def recorded(database) -> list[int]:
    async with database.connect() as connection:
        return list((await connection.execute(select(Row.block_number).order_by(Row.block_number))).scalars())


async def test_a_reading_is_published_with_the_chains_block_and_recorded(own_servers, database):
    async with replica(own_servers, database, ScriptedSource(MANY)) as side:
        await side.step()
        published = await side.in_kv()
        assert (published.block_number, published.neurons, published.taken_at) == (1001, MANY, START_AT)
        assert side.reader.settled.is_set()
        await side.after(1)
        assert (await side.in_kv()) == published
        await side.after(READ)
        assert (await side.in_kv()).block_number == 1002
        assert await recorded(database) == [1001, 1002]


async def test_a_new_permit_waits_for_a_second_reading_that_comes_soon(own_servers, database):
    source = ScriptedSource(MANY)
    async with replica(own_servers, database, source) as side:
        await side.step()
        source.neurons = VALIDATOR
        await side.after(READ)
        assert (await side.in_kv()).neurons == (*MANY[:-1], neuron("hotkey-9", uid=9, rao=10))
        await side.after(CONFIRM)
        assert (await side.in_kv()).neurons == VALIDATOR
        await side.after(READ - 1)
        assert source.readings == 3


async def test_a_great_loss_of_hotkeys_waits_for_a_second_reading(own_servers, database):
    source = ScriptedSource(MANY)
    async with replica(own_servers, database, source) as side:
        await side.step()
        source.neurons = FEW
        await side.after(READ)
        assert (await side.in_kv()).neurons == MANY
        source.neurons = MANY
        await side.after(CONFIRM)
        assert (await side.in_kv()).neurons == MANY
        source.neurons = FEW
        await side.after(READ)
        await side.after(CONFIRM)
        assert (await side.in_kv()).neurons == FEW


async def test_a_chain_that_cannot_be_read_is_left_alone_for_longer_and_longer(own_servers, database):
    source = ScriptedSource(MANY)
    async with replica(own_servers, database, source) as side:
        await side.step()
        source.neurons, source.readings = None, 0
        await side.clock.sleep(READ)
        times = []
        for _ in range(3600):
            before = source.readings
            await side.reader._read_if_due()
            if source.readings > before:
                times.append(side.clock.monotonic() - READ)
            await side.clock.sleep(0.5)
        pauses = [later - sooner for sooner, later in pairwise(times)]
        assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
        assert source.distrusted == source.readings
        assert (await side.in_kv()).neurons == MANY
        source.neurons = MANY
        await side.after(READ)
        assert (await side.in_kv()).block_number == 1002


async def test_a_node_that_asks_for_time_gets_it(own_servers, database):
    source = ScriptedSource(None, retry_after_seconds=60)
    async with replica(own_servers, database, source) as side:
        await side.step()
        assert side.reader.settled.is_set()  # epochs do not wait for the chain
        await side.after(59)
        assert source.readings == 1
        await side.after(1)
        assert source.readings == 2


async def test_a_node_that_lags_or_stands_still_changes_nothing_and_is_left(own_servers, database):
    source = ScriptedSource(MANY)
    async with replica(own_servers, database, source) as side:
        await side.step()
        source.neurons, source.block = VALIDATOR, 900
        await side.after(READ)
        assert source.distrusted == 1
        source.block = 1000
        await side.after(READ)
        assert source.distrusted == 2
        assert (await side.in_kv()).block_number == 1001
        assert (await side.in_kv()).taken_at == START_AT


async def test_of_two_replicas_one_reads_and_the_other_takes_over(own_servers, database):
    first_source, second_source, clock = ScriptedSource(MANY), ScriptedSource(MANY, 2000), FakeClock()
    async with replica(own_servers, database, second_source, clock) as second:
        async with replica(own_servers, database, first_source, clock) as first:
            await first.step()
            await second.step()
            assert second.held == first.held
            assert second.reader.settled.is_set()
            for _ in range(5):
                await first.after(READ)
                await second.step()
            assert (first_source.readings, second_source.readings) == (6, 0)
        await second.after(READ)
        assert second_source.readings == 1
        assert (await second.in_kv()).block_number == 2001


async def test_the_lock_is_taken_again_after_its_session_was_ended(own_servers, database):
    source = ScriptedSource(MANY)
    async with replica(own_servers, database, source) as side:
        await side.step()
        async with database.connect() as connection:
            await connection.execute(
                text("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
            )
        await side.after(READ)  # the session is gone, but PostgreSQL is there
        await side.after(READ)
        assert side.reader.turn._known
        assert source.readings == 3


async def test_a_replica_that_loses_the_lock_lets_go_of_the_chain(own_servers, database):
    source, other_source, clock = ScriptedSource(MANY), ScriptedSource(MANY), FakeClock()
    async with (
        replica(own_servers, database, source, clock) as side,
        replica(own_servers, database, other_source, clock) as other,
    ):
        await side.step()
        await side.reader.turn.lock.close()
        await other.step()
        closed = source.closed
        await side.after(READ)
        assert (source.readings, source.closed) == (1, closed + 1)


async def test_without_postgresql_the_registry_is_still_read_and_published(own_servers, database):
    source, idle_source, clock = ScriptedSource(MANY), ScriptedSource(MANY, 1500), FakeClock()
    async with (
        replica(own_servers, database, source, clock) as side,
        replica(own_servers, database, idle_source, clock) as idle,
    ):
        await side.step()
        await idle.step()
        await own_servers.supervisor.take_down("postgres")
        try:
            await side.after(READ)
            await idle.step()
            assert (await side.in_kv()).block_number == 1002
            assert idle_source.readings == 0
            # Nobody publishes any more. The other scheduler notices it by the age of the snapshot.
            await idle.after(READ + 121)
            assert (await idle.in_kv()).block_number == 1501
        finally:
            await own_servers.supervisor.bring_up("postgres")
        await idle.after(6)
        assert 1501 in await recorded(database)


async def test_a_block_further_ahead_than_time_allows_is_not_believed(own_servers, database):
    """Otherwise it would be newer than what honest nodes report for years."""
    source, far = ScriptedSource(MANY), ScriptedSource(FEW, 4_000_000_000)
    clock = FakeClock()
    async with replica(own_servers, database, source, clock) as side:
        await side.step()
        side.reader.source = far
        await side.after(READ)
        assert far.readings == 1
        assert (await side.in_kv()).block_number == 1001
        side.reader.source = source
        await side.after(READ)
        assert (await side.in_kv()).block_number == 1002


async def test_what_kv_has_lost_is_published_again_from_memory_and_from_the_record(own_servers, database):
    source = ScriptedSource(MANY)
    async with replica(own_servers, database, source) as side:
        await side.step()
        published = await side.in_kv()
        await (await side.bucket()).delete(REGISTRY_KEY)
        await side.after(1)
        assert await side.in_kv() == published
        await (await side.bucket()).delete(REGISTRY_KEY)
    async with replica(own_servers, database, ScriptedSource(None)) as restarted:
        await restarted.step()
        assert await restarted.in_kv() == published


async def test_garbage_in_kv_is_replaced(own_servers, database):
    async with replica(own_servers, database, ScriptedSource(MANY)) as side:
        await side.step()
        before, bucket = await side.in_kv(), await side.bucket()
        await bucket.put(REGISTRY_KEY, b"{}")
        await side.step()  # long before the chain is read again
        assert await side.in_kv() == before
        await side.after(READ)
        assert (await side.in_kv()).block_number == 1002


def crowd_of(count: int) -> tuple[RegisteredNeuron, ...]:
    """Return neurons whose keys compress as little as real ones."""
    letters = random.Random(1)  # noqa: S311

    def key() -> str:
        return "".join(letters.choices(ascii_letters, k=48))

    one = MANY[0]
    return tuple(
        one.model_copy(update={"uid": uid, "hotkey": key(), "coldkey": key()}) for uid in range(count)
    )


async def test_ten_thousand_neurons_are_published_in_parts_and_followed(own_servers, database):
    """Real keys do not compress: 10,000 neurons take several messages."""
    crowd = crowd_of(10_000)
    source = ScriptedSource(crowd)
    async with replica(own_servers, database, source) as side:
        view = RegistryView(NETWORK, NETUID, 1000)
        follower = RegistryFollower(side.connection.jetstream(timeout=2), view, FakeClock())
        await side.step()
        await follower.poll()
        assert (await side.in_kv()).neurons == crowd
        assert view.snapshot == side.held
        assert side.reader.failing == {}
        source.neurons = crowd[:9_000]
        await side.after(READ)
        await follower.poll()
        assert view.snapshot is not None
        assert view.snapshot.neurons == crowd[:9_000]


async def test_parts_that_are_being_replaced_are_not_taken_for_a_snapshot(own_servers, database):
    async with replica(own_servers, database, ScriptedSource(MANY)) as side:
        await side.step()
        view = RegistryView(NETWORK, NETUID, 1000)
        follower = RegistryFollower(side.connection.jetstream(timeout=2), view, FakeClock())
        await follower.poll()
        first, bucket = view.snapshot, await side.bucket()
        head = await write_parts(bucket, snapshot(FEW, network=NETWORK, netuid=NETUID, block=2000), 0)
        await write_parts(bucket, snapshot(MANY, network=NETWORK, netuid=NETUID, block=3000), 0)
        await bucket.put(REGISTRY_KEY, head)
        await follower.poll()
        assert view.snapshot == first


async def test_a_snapshot_that_cannot_be_published_shows_in_the_health(own_servers, database, monkeypatch):
    monkeypatch.setattr("service.registry_parts.PART_BYTES", 1_000_000)
    async with replica(own_servers, database, ScriptedSource(crowd_of(10_000))) as side:
        await side.step()
        assert side.reader.failing == {"registry_publishing": "MaxPayloadError"}
        monkeypatch.undo()
        await side.after(READ)
        assert side.reader.failing == {}


async def test_what_the_operators_file_says_needs_no_confirmation(own_servers, database):
    source = ScriptedSource(MANY, certain=True)
    async with replica(own_servers, database, source) as side:
        await side.step()
        source.neurons = VALIDATOR[5:]
        await side.after(1)
        published = await side.in_kv()
        assert (published.block_number, published.neurons) == (2, VALIDATOR[5:])
        await side.after(1)
        assert await side.in_kv() == published
        await side.after(300)
        assert (await side.in_kv()).block_number == 3


async def test_a_process_without_kv_starts_with_the_copy_in_postgresql(own_servers, database):
    kept = snapshot(MANY, network=NETWORK, netuid=NETUID)
    async with database.begin() as connection:
        await store_snapshot(connection, kept)
    nats, view = await scheduler_connection(own_servers), RegistryView(NETWORK, NETUID, 1000)
    recall = recall_from(database, NETWORK, NETUID)
    follower = RegistryFollower(nats.jetstream(timeout=2), view, FakeClock(), recall)
    await follower.poll()
    assert view.snapshot == kept
    async with replica(own_servers, database, ScriptedSource(FEW, kept.block_number + 100)) as side:
        await side.step()
        await side.after(CONFIRM)
    await follower.poll()
    await nats.close()
    assert view.snapshot is not None
    assert view.snapshot.neurons == FEW


async def test_the_reader_ends_when_it_is_cancelled_and_lets_go_of_lock_and_chain(own_servers, database):
    source = ScriptedSource(MANY)
    async with replica(own_servers, database, source) as side:
        reader: RegistryReader = side.reader
        running = asyncio.create_task(reader.run())
        await reader.settled.wait()
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
        assert source.closed == 1
        async with database.connect() as connection:
            locks = select(func.count()).select_from(text("pg_locks")).where(text("locktype = 'advisory'"))
            assert (await connection.execute(locks)).scalar() == 0
