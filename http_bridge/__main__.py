"""The bridge process: `python -m http_bridge`."""

import asyncio
import sys

from http_bridge.access import Access
from http_bridge.app import Bridge, build
from http_bridge.assignments import Assignments
from http_bridge.forwarding import Forwarder
from http_bridge.health import BridgeHealth
from http_bridge.history import History
from http_bridge.metrics import BridgeMetrics
from http_bridge.settings import BridgeSettings
from http_bridge.statistics import PublicStatistics
from runtime import nats_connection, process
from runtime.doorway import Doorway
from runtime.http_server import GRACE_SECONDS, Server
from runtime.process import Lifecycle
from runtime.settings import load

USER = "bridge"


async def serve(settings: BridgeSettings, life: Lifecycle) -> None:
    """Serve until told to stop; requests under way are finished."""
    metrics = BridgeMetrics(life.vitals.registry)
    doorway = Doorway.of(settings, USER, life)
    if not await doorway.has_safe_rights():
        return
    connection = await nats_connection.connect(
        settings.nats_url, user=USER, seed=settings.bridge_nats_seed, life=life
    )
    await doorway.follow(connection)
    app = build(_bridge(doorway, Forwarder(connection, metrics)))
    server = Server(
        Access(app, metrics, doorway.clock, doorway.limits),
        host=settings.bridge_host,
        port=settings.port,
        trusted_proxies=settings.trusted_proxies,
    )
    serving = life.spawn(server.serve(), "http")
    while not (server.started or life.stopping):
        await doorway.clock.sleep(0.02)
    life.ready()
    await life.wait()
    server.should_exit = True
    await asyncio.wait({serving}, timeout=GRACE_SECONDS)
    await life.end_tasks()
    await connection.close()
    await doorway.close()


def _bridge(doorway: Doorway, forwarder: Forwarder) -> Bridge:
    database, clock, current, limits = doorway.database, doorway.clock, doorway.current, doorway.limits
    return Bridge(
        doorkeeper=doorway.doorkeeper,
        current=current,
        forwarder=forwarder,
        health=BridgeHealth(database, forwarder, doorway.registry, current, limits, clock),
        statistics=PublicStatistics(database, clock),
        assignments=Assignments(database, clock),
        history=History(database),
        limits=limits,
        refusals=doorway.refusals,
    )


def main() -> int:
    settings = load(BridgeSettings)
    return process.run("http_bridge", settings, lambda life: serve(settings, life))


if __name__ == "__main__":
    sys.exit(main())
