"""Tests listing and kicking connections on all servers of a cluster, through any of them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from broker_service.callout.connections import Role, connection_user
from broker_service.callout.decision import permissions
from broker_service.callout.exchange_messages import Exchange
from broker_service.callout.system_account import SystemAccount
from devstack.nats_server import nats_part
from devstack.part import Part
from devstack.ports import HOST, Ports, chosen_ports
from devstack.servers import ignore
from devstack.state import State
from devstack.supervisor import Supervisor
from tests.support.processes import wait_until
from zipcast.protocol.hotkeys import Hotkey, Keypair, parse_hotkey
from zipcast.protocol.subjects import AUTH_CALLOUT, service_inbox_prefix

pytestmark = pytest.mark.long


def node(state: State, ports: Ports, other: Ports) -> Part:
    """Return one of two servers. Its route uses a port that the devstack would give to another process."""
    part = nats_part(state, ports)
    routes = f"nats://{HOST}:{ports.http},nats://{HOST}:{other.http}"
    cluster = ("--cluster_name", "zipcast", "--cluster", f"nats://{HOST}:{ports.http}", "--routes", routes)
    named = {**part.environment, "NATS_SERVER_NAME": json.dumps(f"node-{ports.nats}")}
    return replace(part, name=f"nats-{ports.nats}", argv=(*part.argv, *cluster), environment=named)


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[tuple[dict[str, str], list[str]]]:
    """Yield the callout's keys and the addresses of two servers that know each other."""
    states = [State(folder / name) for name in ("one", "other")]
    for state in states:
        state.create()
    states[0].ensure_keys()
    for file in states[0].keys.iterdir():
        (states[1].keys / file.name).write_text(file.read_text())
    with chosen_ports(states[0].ports) as one, chosen_ports(states[1].ports) as other:
        supervisor = Supervisor(ignore)
        try:
            await supervisor.start(node(states[0], one, other), node(states[1], other, one))
            yield states[0].keys_of("callout"), [f"nats://{HOST}:{ports.nats}" for ports in (one, other)]
        finally:
            await supervisor.stop()


async def service(url: str, user: str, seed: str) -> Client:
    client = Client()
    await client.connect(url, nkeys_seed_str=seed, inbox_prefix=service_inbox_prefix(user))
    return client


async def let_everybody_in(url: str, keys: dict[str, str]) -> Client:
    """Run a callout that requires no proof, because these tests do not test the proof."""
    connection = await service(url, "callout", keys["CALLOUT_NATS_SEED"])
    exchange = Exchange(keys["CALLOUT_ISSUER_SEED"], keys["CALLOUT_XKEY_SEED"])

    async def answer(message: Msg) -> None:
        request = exchange.unseal(message.data, (message.headers or {})["Nats-Server-Xkey"]).verify()
        hotkey = parse_hotkey(request.token)
        rights = permissions(hotkey, Role.MINER)
        name = connection_user(hotkey, Role.MINER)
        await connection.publish(message.reply, exchange.grant(request, name, rights, int(time.time())))

    await connection.subscribe(AUTH_CALLOUT, cb=answer)
    await connection.flush()
    return connection


async def miner(url: str, hotkey: Hotkey) -> Client:
    async def quiet(*_: object) -> None:
        """Ignore the error: the test checks that the connection was closed."""

    client = Client()
    await client.connect(url, token=hotkey, allow_reconnect=False, error_cb=quiet)
    return client


async def test_connections_are_listed_and_kicked_on_every_server_by_way_of_one(tmp_path: Path):
    hotkeys = [parse_hotkey(Keypair.create_from_uri(f"//{n}").ss58_address) for n in range(7)]
    async with cluster(tmp_path) as (keys, urls):
        callout = await let_everybody_in(urls[0], keys)
        # Two connections are on one server and five on the other, so their pages end at different times.
        miners = [await miner(urls[number > 1], hotkey) for number, hotkey in enumerate(hotkeys)]
        system = await service(urls[0], "callout-sys", keys["CALLOUT_SYS_NATS_SEED"])
        account = SystemAccount(system, page=2)
        listed = {one.hotkey: one for one in await account.hotkey_connections()}
        assert set(listed) == set(hotkeys)
        assert len({one.place.server_id for one in listed.values()}) == 2
        ended: set[object] = set()
        await account.follow_ends(lambda one: ended.add(one.place))
        for number in (0, 6):
            await account.kick(listed[hotkeys[number]].place)
        await wait_until(lambda: miners[0].is_closed and miners[6].is_closed)
        await wait_until(lambda: ended == {listed[hotkeys[number]].place for number in (0, 6)})
        assert {one.hotkey for one in await account.hotkey_connections()} == set(hotkeys[1:6])
        await asyncio.gather(*(one.close() for one in (*miners, system, callout)))
