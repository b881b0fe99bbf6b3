"""Tests that nobody is shown anything of an epoch that is prepared and has not started: not by any endpoint,
verb, header, log line, metric, stream, bucket, table or error.

The test finds all these places by itself. Another test plants secrets, and shows that they are found.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import psycopg
import pytest
import pytest_asyncio

from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.operator_view import until
from tests.support.pending_epoch import TELLING_ZIPCODES, Pending, leaks, pending_epoch
from tests.support.people import keypair, quiet, raw_connection
from tests.support.places import ROLES, Overheard, Places, look_everywhere
from tests.support.processes import GENEROUS
from zipcast.protocol.verbs import Verb

pytestmark = [pytest.mark.long, pytest.mark.timeout(500)]
# An epoch is drawn 18 seconds before its start. Everything must be read within that time.
EPOCH_SECONDS = 60
_INTERVAL_SECONDS = 16
CURRENT = "get /api/v1/zipcode-assignments/current"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_stack(tmp_path_factory) -> AsyncIterator[Stack]:
    state = tmp_path_factory.mktemp("leaks") / "state"
    options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=state, settings=GENEROUS)
    async with Stack.running(options) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def record(own_stack: Stack) -> AsyncIterator[psycopg.AsyncConnection]:
    url = own_stack.ready.postgres
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as record:
        yield record


async def next_pending(record: psycopg.AsyncConnection) -> Pending:
    found: list[Pending] = []

    async def there_is_one() -> bool:
        epoch = await pending_epoch(record, _INTERVAL_SECONDS)
        found.extend([epoch] if epoch is not None else [])
        return bool(found)

    await until(there_is_one, 2 * EPOCH_SECONDS)
    return found[0]


async def is_still_pending(record: psycopg.AsyncConnection, epoch: Pending) -> bool:
    query = "select clock_timestamp() < %s"
    row = await (await record.execute(query, [epoch.start_at])).fetchone()
    return row == (True,)


async def seen_before_the_start(stack: Stack, record: psycopg.AsyncConnection) -> tuple[Pending, Places]:
    """Return the content of all places while one epoch was pending, and what reached all subscribers."""
    listeners = []
    for role, name in ROLES.items():
        if name is not None:
            signer = keypair(stack.ready, name)
            connection = await raw_connection(stack.ready, signer)
            listeners.append((Overheard(role, connection), connection))
            await listeners[-1][0].listen(signer.ss58_address)
    try:
        for _ in range(3):  # a busy machine may need more than one epoch for this
            pending = await next_pending(record)
            places = await look_everywhere(stack, pending.epoch_id)
            places |= {one.place: b"\n".join(one.heard) for one, _ in listeners}
            if await is_still_pending(record, pending):
                return pending, places
    finally:
        for _, connection in listeners:
            await connection.close()
    pytest.fail("looking everywhere took longer than an epoch is pending")


async def test_nobody_is_shown_anything_of_an_epoch_before_its_start(
    own_stack: Stack, record: psycopg.AsyncConnection
):
    pending, places = await seen_before_the_start(own_stack, record)
    assert list(leaks(places, pending)) == []
    # This shows that all places were read.
    assert len(pending.zipcodes) >= TELLING_ZIPCODES
    assert {name for name, value in pending.secrets.items() if not value} == set()
    answered = [place for place, shown in places.items() if shown.startswith(b"200 ")]
    assert any("/current by a validator" in place for place in answered)
    assert any(place.endswith("/metrics") for place in answered)
    assert {verb for verb in Verb if any(str(verb) in place for place in places)} == set(Verb)
    for file in ("logs/schedulers.log", "logs/nats.log", "logs/postgres.log", "nats/jetstream"):
        assert any(file in place for place in places), file
    assert any("EPOCHS" in place for place in places)
    assert places["epoch_messages by the login of http_bridge"]


async def test_the_same_look_finds_the_epoch_once_it_has_begun(
    own_stack: Stack, record: psycopg.AsyncConnection
):
    pending = await next_pending(record)

    async def has_begun_for_all() -> bool:
        """The bridge reads the database twice a second."""
        query = "select clock_timestamp() > %s + interval '1 second'"
        row = await (await record.execute(query, [pending.start_at])).fetchone()
        return row == (True,)

    await until(has_begun_for_all, EPOCH_SECONDS)
    found = list(leaks(await look_everywhere(own_stack, pending.epoch_id), pending))
    for where in (f"{CURRENT} by a miner", "epoch.current", "EPOCHS", "by the login of"):
        assert any(where in leak and "nonce" in leak for leak in found), where
        assert any(where in leak and "zipcodes" in leak for leak in found), where
    assert not any("seed" in leak for leak in found)


def plant_in_a_log(stack: Stack, pending: Pending) -> None:
    told = sorted(zipcode.decode() for zipcode in pending.zipcodes)
    with (stack.servers.state.logs / "responder.log").open("a") as log:
        log.write(json.dumps({"action": "slip", "about": told}) + "\n")


async def plant_in_a_table(stack: Stack, pending: Pending) -> None:
    async with await psycopg.AsyncConnection.connect(stack.ready.postgres, autocommit=True) as owner:
        await owner.execute("create table planted (told bytea)")
        await owner.execute("grant select on planted to zipcast_bridge")
        seed = bytes.fromhex(pending.secrets["seed"].decode())
        await owner.execute("insert into planted values (%s)", [b"..." + seed])


@asynccontextmanager
async def planted_by_the_responder(stack: Stack, pending: Pending) -> AsyncIterator[None]:
    """Plant the nonce in the name of a connection, and in a reply to no request, as the responder could."""
    connection = await nats.connect(
        stack.ready.nats,
        name=f"x-{pending.secrets['nonce'].decode()}",
        nkeys_seed_str=stack.servers.keys["responder"]["RESPONDER_NATS_SEED"],
        error_cb=quiet,
    )
    miner = keypair(stack.ready, "miner-1").ss58_address
    await connection.publish(f"_INBOX.{miner}.slip", b"pool " + pending.secrets["candidate pool hash"])
    await connection.flush()
    yield
    await connection.close()


async def test_what_is_planted_is_found(own_stack: Stack, record: psycopg.AsyncConnection):
    miner = keypair(own_stack.ready, "miner-1")
    connection = await raw_connection(own_stack.ready, miner)
    overheard = Overheard("a miner", connection)
    await overheard.listen(miner.ss58_address)
    pending = await next_pending(record)
    plant_in_a_log(own_stack, pending)
    await plant_in_a_table(own_stack, pending)
    async with planted_by_the_responder(own_stack, pending):
        places = await look_everywhere(own_stack, pending.epoch_id)
    places |= {overheard.place: b"\n".join(overheard.heard)}
    await connection.close()
    found = list(leaks(places, pending))
    for planted in (
        "responder.log: zipcodes",
        "planted by the login of http_bridge: seed in bytes",
        "connz?subs=1: nonce as it is",
        "sent to a miner: candidate pool hash as it is",
    ):
        assert any(planted in leak for leak in found), planted
