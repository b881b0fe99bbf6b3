"""Measures how long it takes for all clients to reconnect: `python -m bench.reconnect [CLIENTS]`.

It runs the whole system on this machine, with two callouts and as many neurons as clients. Each client uses
the SDK with its own hotkey and a signed nonce. nats-server is killed and restarted. The result is the time
from its first reply until each client has connected, subscribed, received and verified the running epoch. The
clients share the machine with everything else, so their processor time is printed beside that of the
callouts. The aim is 1,000 clients within 10 s on 2 cores.
"""

import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from bench.figures import Figure, print_figures
from devstack.options import StackOptions
from devstack.replicas import CALLOUTS, with_two_callouts
from devstack.stack import Stack
from zipcast.client.client import ZipcastClient
from zipcast.protocol.envelope import Trust
from zipcast.protocol.hotkeys import Keypair, parse_hotkey

CLIENTS = 1000
# In this benchmark, all clients share one address, so the limits per address are raised.
SETTINGS = {"CALLOUT_ADDRESS_BURST": "100000", "CALLOUT_ADDRESS_PER_SECOND": "100000"}
AT_ONCE = 50
TIMEOUT_SECONDS = 120
# Each connection is kept for this long before it is cut. A client waits longer before it reconnects if its
# last connection was shorter.
SETTLED_SECONDS = 6
_TICKS = os.sysconf("SC_CLK_TCK")


def write_registry(
    path: Path,
    pairs: Sequence[Keypair],
    is_validator: Callable[[int], bool] = lambda uid: uid % 20 == 0,
) -> None:
    neurons = [
        {
            "uid": uid,
            "hotkey": pair.ss58_address,
            "coldkey": pair.ss58_address,
            "validator_permit": is_validator(uid),
            "alpha_stake": 5000,
        }
        for uid, pair in enumerate(pairs)
    ]
    path.write_text(json.dumps(neurons))


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def all_back(clients: Sequence[ZipcastClient], connections: Sequence[int]) -> list[float]:
    """Wait until every client has the running epoch on a new connection. Return the times, earliest first, to
    within 20 ms."""
    missing, at = dict(enumerate(clients)), []
    while missing:
        await asyncio.sleep(0.02)
        back = [n for n, one in missing.items() if one.connections > connections[n] and one.is_informed]
        for number in back:
            del missing[number]
        at += [time.monotonic()] * len(back)
    return at


async def connect_all(stack: Stack, pairs: Sequence[Keypair], entered: AsyncExitStack) -> list[ZipcastClient]:
    ready = stack.ready
    trust = Trust(frozenset({parse_hotkey(ready.signer)}), ready.network, ready.netuid)
    clients = [ZipcastClient([ready.nats], pair, trust) for pair in pairs]
    for first in range(0, len(clients), AT_ONCE):
        some = clients[first : first + AT_ONCE]
        await asyncio.gather(*(entered.enter_async_context(client) for client in some))
    await all_back(clients, [0] * len(clients))
    return clients


async def measure(stack: Stack, clients: Sequence[ZipcastClient]) -> list[float]:
    """Restart nats-server, and return in how many seconds each client was back, sorted."""
    pids = stack.servers.supervisor.pids
    watched = [*CALLOUTS, "responder"]
    await stack.servers.supervisor.take_down("nats")
    before = {name: cpu_seconds(pids[name]) for name in watched}
    own_before, connections = time.process_time(), [client.connections for client in clients]
    waiting = asyncio.create_task(all_back(clients, connections))
    await stack.servers.supervisor.bring_up("nats")
    up_at = time.monotonic()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        took = sorted(at - up_at for at in await waiting)
    report(took, {name: cpu_seconds(pids[name]) - before[name] for name in watched}, own_before)
    return took


def report(took: list[float], spent: dict[str, float], own_before: float) -> None:
    total = took[-1]
    print(f"{len(took)} clients back, verified and subscribed in {total:.2f} s")
    print(f"  p50 {took[len(took) // 2]:.2f} s, p99 {took[len(took) * 99 // 100]:.2f} s")
    for name, seconds in spent.items():
        print(f"  {name}: {seconds:.2f} s of CPU, {seconds / total:.0%} of a core")
    own = time.process_time() - own_before
    print(f"  the clients themselves: {own:.2f} s of CPU, {own / total:.0%} of a core")


async def main(count: int) -> None:
    logging.getLogger("zipcast").setLevel(logging.ERROR)  # each client warns that it lost its connection
    pairs = [Keypair.create_from_uri(f"//bench//{number}") for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as folder:
        registry = Path(folder) / "registry.json"
        write_registry(registry, pairs)
        options = StackOptions(
            epoch_seconds=3600, registry=registry, state=Path(folder) / "state", settings=SETTINGS
        )
        async with Stack.running(options, make_parts=with_two_callouts) as stack, AsyncExitStack() as entered:
            clients = await connect_all(stack, pairs, entered)
            runs = []
            for _ in range(3):
                await asyncio.sleep(SETTLED_SECONDS)
                runs.append(await measure(stack, clients))
    middle, last = (median(run[place] for run in runs) for place in (count // 2, -1))
    print_figures(
        [
            Figure(f"half of {count:,} SDK clients back", middle, "s"),
            Figure(f"all of {count:,} SDK clients back", last, "s", count / 100),
        ]
    )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else CLIENTS))
