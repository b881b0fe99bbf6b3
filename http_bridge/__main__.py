"""The bridge process: `python -m http_bridge`."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from http_bridge.app import Bridge, build
from http_bridge.forwarding import Forwarder
from http_bridge.health import BridgeHealth
from http_bridge.settings import BridgeSettings
from http_bridge.statistics import PublicStatistics
from runtime import nats_connection, process
from runtime.current_epoch import CurrentEpoch
from runtime.identity import Doorkeeper
from runtime.process import Lifecycle
from runtime.registry import RegistryFollower, RegistryView
from runtime.registry_copy import recall_from
from runtime.settings import load
from storage.database import open_engine
from zipcast.clock import SystemClock
from zipcast.envelope import Trust
from zipcast.subjects import EPOCH

GRACE_SECONDS = 1


class Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the process has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: BridgeSettings, life: Lifecycle) -> None:
    """Serve until told to stop; requests under way are finished."""
    clock = SystemClock()
    database = open_engine(settings.database_url, application_name="zipcast-bridge")
    registry = RegistryView(
        settings.bt_network, settings.net_uid, settings.validator_min_stake, settings.registry_max_age
    )
    trust = Trust(settings.signers, settings.bt_network, settings.net_uid)
    current = CurrentEpoch(trust, clock, database)
    connection = await nats_connection.connect(
        settings.nats_url, user="bridge", seed=settings.bridge_nats_seed, life=life
    )
    recall = recall_from(database, settings.bt_network, settings.net_uid)
    follower = RegistryFollower(connection.jetstream(timeout=2), registry, clock, recall)
    await connection.subscribe(EPOCH, cb=current.hear)
    await asyncio.gather(follower.poll(), current.check())
    doorkeeper = Doorkeeper(registry, settings.signers, clock)
    forwarder = Forwarder(connection)
    statistics = PublicStatistics(database, clock)
    health = BridgeHealth(database, forwarder, registry, current, clock)
    server = Server(_config(settings, Bridge(doorkeeper, current, forwarder, health, statistics)))
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


def _config(settings: BridgeSettings, bridge: Bridge) -> uvicorn.Config:
    return uvicorn.Config(
        build(bridge),
        host=settings.bridge_host,
        port=settings.port,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=16 * 1024,
    )


def main() -> int:
    settings = load(BridgeSettings)
    return process.run("http_bridge", settings, lambda life: serve(settings, life))


if __name__ == "__main__":
    sys.exit(main())
