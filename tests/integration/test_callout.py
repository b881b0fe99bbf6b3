"""Tests who may be connected, on a running stack with two callouts: by the registry, by number, and by a
password once."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress

import httpx
import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client

from broker_service.callout.connections import Role
from broker_service.callout.decision import ProofError, RefusedError
from broker_service.callout.used_passwords import SpentPasswords
from devstack.options import StackOptions
from devstack.replicas import CALLOUTS, with_two_callouts
from devstack.servers import Servers
from devstack.stack import Stack
from tests.support.connecting import (
    Flood,
    by_password,
    change_registry,
    password,
    service_connection,
    system_account,
)
from tests.support.operator_view import log_lines
from tests.support.people import client, keypair, raw_connection
from tests.support.processes import wait_until
from tests.support.raw_nats import proven, publication
from zipcast.client.local_stack import Ready
from zipcast.protocol import subjects
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.verbs import Verb

pytestmark = pytest.mark.long
PER_HOTKEY = 3


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def twofold(tmp_path_factory) -> AsyncIterator[Stack]:
    """Run a stack with two callouts. Their limits are those of production, except for a small number of
    connections per hotkey."""
    options = StackOptions(
        epoch_seconds=600,
        state=tmp_path_factory.mktemp("twofold") / "state",
        settings={"CALLOUT_CONNECTIONS_PER_HOTKEY": str(PER_HOTKEY)},
    )
    async with Stack.running(options, make_parts=with_two_callouts) as stack:
        yield stack


def signer(stack: Stack, name: str) -> Keypair:
    return keypair(stack.ready, name)


async def refused(attempt: Awaitable[Client]) -> None:
    """Check that nats-server refuses the connection. nats-py has no class of its own for this error; our
    SDK's error says more."""
    with pytest.raises(nats.errors.Error) as error:
        await attempt
    assert (
        isinstance(error.value, nats.errors.AuthorizationError) or "authorization" in str(error.value).lower()
    )


async def service_users(stack: Stack) -> set[tuple[str, int]]:
    """Return (name, number) of each connection of our own processes."""
    async with httpx.AsyncClient(base_url=stack.ready.monitoring) as http:
        listed = (await http.get("/connz", params={"limit": 1000})).json()["connections"]
    return {(one["name"], one["cid"]) for one in listed if not one["name"].startswith("zipcast-sdk")}


async def may_ask(connection: Client, subject: str) -> bool:
    """Return whether the responder replies, even with a refusal, or nats-server refuses the message
    before."""
    denied = asyncio.Event()

    async def hear(error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            denied.set()

    connection._error_cb = hear
    answer = asyncio.create_task(connection.request(subject, b"{}", timeout=10))
    denial = asyncio.create_task(denied.wait())
    await asyncio.wait({answer, denial}, return_when=asyncio.FIRST_COMPLETED)
    answered = answer.done()
    for task in (answer, denial):
        task.cancel()
    await asyncio.gather(answer, denial, return_exceptions=True)
    assert answered is not denied.is_set()
    return answered


async def test_a_hotkey_that_leaves_the_subnet_is_kicked_and_our_own_users_are_not(twofold: Stack):
    hotkey = signer(twofold, "miner-8").ss58_address
    before = await service_users(twofold)
    leaving = [await raw_connection(twofold.ready, signer(twofold, "miner-8")) for _ in range(2)]
    staying = await raw_connection(twofold.ready, signer(twofold, "miner-7"))
    change_registry(twofold.servers.state.registry, hotkey, gone=True)
    await wait_until(lambda: all(one.is_closed for one in leaving))
    await refused(raw_connection(twofold.ready, signer(twofold, "miner-8")))
    await staying.flush()
    assert not staying.is_closed
    await staying.close()
    assert await service_users(twofold) == before
    kicks = [
        line
        for name in CALLOUTS
        for line in log_lines(twofold, name)
        if line["action"] == "connection_kicked"
    ]
    assert {(line["hotkey"], line["reason"]) for line in kicks} == {(hotkey, "not_registered")}


@pytest.mark.parametrize(("name", "permit"), [("validator-2", False), ("miner-6", True)])
async def test_a_change_of_role_is_a_change_of_rights_on_every_connection(
    twofold: Stack, name: str, permit: bool
):
    pair = signer(twofold, name)
    hotkey = parse_hotkey(pair.ss58_address)
    ask = subjects.request(hotkey, Verb.S3_VALIDATOR_UPLOAD)
    one, other = (
        await raw_connection(twofold.ready, pair),
        await by_password(twofold.ready, pair, password(twofold.ready, pair)),
    )
    assert [await may_ask(each, ask) for each in (one, other)] == [not permit] * 2
    async with client(twofold.ready, name) as connected:
        change_registry(twofold.servers.state.registry, hotkey, validator_permit=permit, alpha_stake=5000)
        await wait_until(lambda: one.is_closed and other.is_closed)
        await wait_until(lambda: connected.connections >= 2, 20)  # the SDK has reconnected by itself
    again = await raw_connection(twofold.ready, pair)
    assert await may_ask(again, ask) is permit
    await again.close()
    system, account = await system_account(twofold.servers)
    roles = {each.role for each in await account.hotkey_connections() if each.hotkey == hotkey}
    await system.close()
    assert roles <= {Role.VALIDATOR if permit else Role.MINER}


async def test_one_connection_too_many_ends_the_oldest_and_the_new_one_gets_in(twofold: Stack):
    pair = signer(twofold, "miner-5")
    opened = [await raw_connection(twofold.ready, pair) for _ in range(PER_HOTKEY + 2)]
    await wait_until(lambda: sum(one.is_closed for one in opened) >= 2)
    await opened[-1].flush()
    # At first, each of two callouts knows only its own connections; the listing has all of them.
    assert not opened[-1].is_closed
    system, account = await system_account(twofold.servers)
    hotkey = pair.ss58_address
    live = [each for each in await account.hotkey_connections() if each.hotkey == hotkey]
    assert len(live) == PER_HOTKEY
    await asyncio.gather(system.close(), *(one.close() for one in opened))


async def test_connections_that_were_closed_do_not_count(twofold: Stack):
    pair = signer(twofold, "miner-4")
    kept = await raw_connection(twofold.ready, pair)
    for _ in range(4 * PER_HOTKEY):
        await (await raw_connection(twofold.ready, pair)).close()
    await kept.flush()
    assert not kept.is_closed
    await kept.close()


def kept_out(stack: Stack, name: str) -> set[object]:
    """Return the hotkeys that this callout blocks because of a flood."""
    return {line["hotkey"] for line in log_lines(stack, name) if line["action"] == "hotkey_kept_out"}


async def test_a_hotkey_that_floods_is_kicked_and_kept_out_by_every_replica(twofold: Stack):
    pair = signer(twofold, "miner-6")
    other = await raw_connection(twofold.ready, signer(twofold, "miner-7"))
    subject = subjects.request(parse_hotkey(pair.ss58_address), Verb.MINER_STATUS)
    async with proven(twofold.ready, pair) as raw:
        await raw.send(publication(subject, b"x" * 160) * 5000)
        async with asyncio.timeout(60):
            with suppress(ConnectionError):
                await raw.reader.read()  # until its connection is closed
    await wait_until(lambda: all(pair.ss58_address in kept_out(twofold, name) for name in CALLOUTS))
    for _ in range(6):  # whichever callout decides
        await refused(raw_connection(twofold.ready, pair))
    await other.flush()
    await other.close()


async def test_the_listing_is_whole_over_several_pages(twofold: Stack):
    names = [f"miner-{number}" for number in range(1, 5)]
    opened = [await raw_connection(twofold.ready, signer(twofold, name)) for name in names * 2]
    system, account = await system_account(twofold.servers, page=2)
    listed = await account.hotkey_connections()
    await asyncio.gather(system.close(), *(one.close() for one in opened))
    assert sorted(one.hotkey for one in listed) == sorted(
        signer(twofold, name).ss58_address for name in names * 2
    )


async def test_a_password_that_was_used_is_worth_nothing_at_a_replica_that_never_saw_it(twofold: Stack):
    pair, supervisor = signer(twofold, "miner-3"), twofold.servers.supervisor
    await supervisor.take_down("callout-2")
    offered = password(twofold.ready, pair)
    await (await by_password(twofold.ready, pair, offered)).close()
    await refused(by_password(twofold.ready, pair, offered))
    await supervisor.bring_up("callout-2")
    await supervisor.take_down("callout")
    await refused(by_password(twofold.ready, pair, offered))
    # With a new signature it is still the same password, because signatures are random.
    at = int(offered.split(".")[0])
    await refused(by_password(twofold.ready, pair, password(twofold.ready, pair, at)))
    await (await by_password(twofold.ready, pair, password(twofold.ready, pair, at + 1))).close()
    await supervisor.bring_up("callout")


async def test_spent_passwords_out_of_reach_are_refused(servers: Servers):
    hotkey = parse_hotkey(Keypair.create_from_uri("//Alice").ss58_address)
    now = int(time.time())
    follow = await service_connection(servers, "callout-follow", "CALLOUT_FOLLOW_NATS_SEED")
    spent = SpentPasswords(follow.jetstream(timeout=2))
    await spent.spend(hotkey, now)
    with pytest.raises(ProofError, match="used twice"):
        await spent.spend(hotkey, now)
    await spent.spend(hotkey, now + 1)
    await follow.close()
    with pytest.raises(RefusedError, match="unavailable"):
        await spent.spend(hotkey, now + 2)
    # This account has no JetStream.
    elsewhere = await service_connection(servers, "callout", "CALLOUT_NATS_SEED")
    with pytest.raises(RefusedError, match="unavailable"):
        await SpentPasswords(elsewhere.jetstream(timeout=2)).spend(hotkey, now + 3)
    await elsewhere.close()


async def test_our_own_processes_connect_with_every_callout_dead(twofold: Stack):
    supervisor = twofold.servers.supervisor
    others = ("schedulers", "responder")
    await asyncio.gather(*(supervisor.take_down(name) for name in (*CALLOUTS, *others)))
    await asyncio.gather(*(supervisor.bring_up(name) for name in others))
    await refused(raw_connection(twofold.ready, signer(twofold, "miner-1")))
    await asyncio.gather(*(supervisor.bring_up(name) for name in CALLOUTS))
    await (await raw_connection(twofold.ready, signer(twofold, "miner-1"))).close()


async def gets_in(ready: Ready, who: Keypair, tries: int = 10) -> Client:
    """Return whether the hotkey can connect. Like the SDK, try again if a busy nats-server gave up on the
    connection."""
    for _ in range(tries - 1):
        with suppress(nats.errors.Error, OSError, TimeoutError):
            return await raw_connection(ready, who)
    return await raw_connection(ready, who)


async def test_a_junk_flood_that_names_a_hotkey_keeps_neither_it_nor_others_out(twofold: Stack):
    names = [f"miner-{number}" for number in range(1, 5)]
    flood = Flood(twofold.ready, signer(twofold, names[0]).ss58_address, "127.0.0.2", each_second=400)
    running = asyncio.create_task(flood.run())
    await wait_until(lambda: flood.attempts > 400)
    for _ in range(5):
        at_once = await asyncio.gather(*(gets_in(twofold.ready, signer(twofold, name)) for name in names))
        await asyncio.gather(*(one.close() for one in at_once))
    attempts = flood.attempts
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    refusals = [
        line
        for name in CALLOUTS
        for line in log_lines(twofold, name)
        if line["action"] == "connection_refused"
    ]
    # Both limits of an address were reached, and the log has few lines.
    assert {"bad signature", "limit of failures"} <= {line["reason"] for line in refusals}
    assert len(refusals) < attempts / 2
