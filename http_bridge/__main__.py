"""The bridge process: `python -m http_bridge`."""

import asyncio
import sys

from http_bridge.access import Access
from http_bridge.app import Bridge, build
from http_bridge.forwarding import Forwarder
from http_bridge.health import BridgeHealth
from http_bridge.metrics import BridgeMetrics
from http_bridge.settings import BridgeSettings
from http_bridge.statistics import PublicStatistics
from runtime import database_rights, nats_connection, process
from runtime.current_epoch import CurrentEpoch
from runtime.http_server import GRACE_SECONDS, Server
from runtime.identity import Doorkeeper
from runtime.metrics import CurrentEpochMetrics, RegistryMetrics
from runtime.process import Lifecycle
from runtime.registry import RegistryFollower, RegistryView
from runtime.settings import load
from storage.database import open_engine
from zipcast.clock import SystemClock
from zipcast.envelope import Trust
from zipcast.subjects import EPOCH


async def serve(settings: BridgeSettings, life: Lifecycle) -> None:
    """Serve until told to stop; requests under way are finished."""
    clock = SystemClock()
    vitals = life.vitals
    metrics = BridgeMetrics(vitals.registry)
    database = open_engine(settings.database_url.get_secret_value(), application_name="zipcast-bridge")
    vitals.metrics.count_errors_of(database)
    refusal = await database_rights.too_wide(database, settings.zipcast_environment, "zipcast_bridge")
    if refusal is not None:
        life.fail(refusal)
        return
    registry = RegistryView(settings.bt_network, settings.net_uid, settings.validator_min_stake)
    trust = Trust(settings.signers, settings.bt_network, settings.net_uid)
    current = CurrentEpoch(trust, clock, database)
    RegistryMetrics(vitals.registry, registry, clock)
    CurrentEpochMetrics(vitals.registry, current)
    connection = await nats_connection.connect(
        settings.nats_url, user="bridge", seed=settings.bridge_nats_seed, life=life
    )
    follower = RegistryFollower(connection.jetstream(timeout=2), registry, clock)
    await connection.subscribe(EPOCH, cb=current.hear)
    await asyncio.gather(follower.poll(), current.check())
    doorkeeper = Doorkeeper(registry, settings.signers, clock)
    forwarder = Forwarder(connection, metrics)
    statistics = PublicStatistics(database, clock)
    health = BridgeHealth(database, forwarder, registry, current, clock)
    app = build(Bridge(doorkeeper, current, forwarder, health, statistics))
    server = Server(Access(app, metrics, clock), host=settings.bridge_host, port=settings.port)
    life.spawn(follower.run(), "registry")
    life.spawn(current.run(), "current_epoch")
    serving = life.spawn(server.serve(), "http")
    while not (server.started or life.stopping):
        await clock.sleep(0.02)
    life.ready()
    await life.wait()
    server.should_exit = True
    await asyncio.wait({serving}, timeout=GRACE_SECONDS)
    await life.end_tasks()
    await connection.close()
    await database.dispose()


def main() -> int:
    settings = load(BridgeSettings)
    return process.run("http_bridge", settings, lambda life: serve(settings, life))


if __name__ == "__main__":
    sys.exit(main())
