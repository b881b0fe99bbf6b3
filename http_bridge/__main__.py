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
from runtime import database_rights, nats_connection, process
from runtime.current_epoch import CurrentEpoch
from runtime.epoch_pools import EpochPools
from runtime.http_server import GRACE_SECONDS, Server
from runtime.identity import Doorkeeper
from runtime.limits import Limits
from runtime.metrics import CurrentEpochMetrics, RegistryMetrics
from runtime.opt_outs import LegacyOptOuts
from runtime.process import Lifecycle
from runtime.refusals import RefusalTrail
from runtime.registry import RegistryFollower, RegistryView
from runtime.registry_copy import recall_from
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
    registry = RegistryView(
        settings.bt_network, settings.net_uid, settings.validator_min_stake, settings.registry_max_age
    )
    trust = Trust(settings.signers, settings.bt_network, settings.net_uid)
    current = CurrentEpoch(trust, clock, database)
    RegistryMetrics(vitals.registry, registry, clock)
    CurrentEpochMetrics(vitals.registry, current)
    opted_out = LegacyOptOuts(database, clock)
    connection = await nats_connection.connect(
        settings.nats_url, user="bridge", seed=settings.bridge_nats_seed, life=life
    )
    recall = recall_from(database, settings.bt_network, settings.net_uid)
    follower = RegistryFollower(connection.jetstream(timeout=2), registry, clock, recall)
    await connection.subscribe(EPOCH, cb=current.hear)
    await asyncio.gather(follower.poll(), current.check(), opted_out.read())
    refusals = RefusalTrail("bridge", database, clock)
    limits = Limits.of(settings, clock)
    doorkeeper = Doorkeeper(registry, settings.signers, clock, opted_out, settings.admins)
    forwarder = Forwarder(connection, metrics)
    statistics = PublicStatistics(database, clock)
    health = BridgeHealth(database, forwarder, registry, current, limits, clock)
    app = build(
        Bridge(
            doorkeeper,
            current,
            forwarder,
            health,
            statistics,
            Assignments(database, clock),
            History(database),
            EpochPools(database),
            limits,
            refusals,
        )
    )
    server = Server(
        Access(app, metrics, clock, limits),
        host=settings.bridge_host,
        port=settings.port,
        trusted_proxies=settings.trusted_proxies,
    )
    life.spawn(follower.run(), "registry")
    life.spawn(current.run(), "current_epoch")
    life.spawn(opted_out.run(), "opt_outs")
    life.spawn(refusals.run(), "refusals")
    serving = life.spawn(server.serve(), "http")
    while not (server.started or life.stopping):
        await clock.sleep(0.02)
    life.ready()
    await life.wait()
    server.should_exit = True
    await asyncio.wait({serving}, timeout=GRACE_SECONDS)
    await life.end_tasks()
    await refusals.write()
    await connection.close()
    await database.dispose()


def main() -> int:
    settings = load(BridgeSettings)
    return process.run("http_bridge", settings, lambda life: serve(settings, life))


if __name__ == "__main__":
    sys.exit(main())
