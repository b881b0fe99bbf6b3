"""Runs the scheduler process: `python -m schedulers`."""

import sys

from schedulers.admin.actions import AdminActions
from schedulers.admin.queue import AdminQueue
from schedulers.data_age import DataWatch
from schedulers.epochs.beacon import Beacon, FallbackRounds
from schedulers.epochs.fault_points import NO_FAULTS, FaultPoints
from schedulers.epochs.loop import EpochEngine
from schedulers.epochs.start_gate import StartGate
from schedulers.metrics import SchedulerMetrics
from schedulers.registry.setup import registry_reader
from schedulers.retention import Housekeeping
from schedulers.settings import SchedulerSettings
from schedulers.signals import Signals
from schedulers.stream.epoch_stream import EpochStream
from schedulers.stream.publisher import Publisher
from schedulers.stream.sealed_stream import SealedStream
from schedulers.wiring import make_preparer
from service import database_rights, lifecycle, logs, nats_connection
from service.lifecycle import Lifecycle
from service.settings import load
from storage.database.engine import open_engine
from zipcast.clock import SystemClock

log = logs.logger()


async def serve(settings: SchedulerSettings, life: Lifecycle, faults: FaultPoints = NO_FAULTS) -> None:
    """Run until the process gets a signal to stop. `faults` is for tests."""
    clock = SystemClock()
    metrics = SchedulerMetrics(life.process_status.registry)
    url, size = settings.database_url.get_secret_value(), settings.schedulers_database_connections
    database = open_engine(url, application_name="zipcast-schedulers", pool_size=size)
    life.process_status.metrics.watch_database(database)
    refusal = await database_rights.unfit(database, reader_of=None)
    if refusal is not None:
        life.fail(refusal)
        return
    connection = await nats_connection.connect(
        settings.nats_url, user="schedulers", seed=settings.schedulers_nats_seed, life=life
    )
    jetstream = connection.jetstream(timeout=2)
    trust = settings.own_trust
    seals = SealedStream(jetstream, trust, settings.nats_replicas)
    beacon = Beacon(database, settings.relays(metrics.relay_failed), clock, connection, seals, trust)
    preparer = make_preparer(settings, database, metrics, faults, beacon)
    stream = EpochStream(jetstream, settings.nats_replicas)
    publisher = Publisher(preparer, stream, trust, metrics, faults)
    gate = StartGate(database, clock, metrics)
    engine = EpochEngine(
        preparer, publisher, gate, clock, metrics, faults, failing=life.process_status.failing
    )
    registry = registry_reader(settings, jetstream, database, clock, life.process_status.failing)
    system = await nats_connection.connect(
        settings.nats_url, user="schedulers-sys", seed=settings.schedulers_sys_nats_seed, life=life
    )
    queue = AdminQueue(database, AdminActions(preparer, system), clock, metrics)
    life.spawn(engine.run(), "epochs")
    life.spawn(engine.opening.run(), "opening")
    life.spawn_beside(FallbackRounds(beacon, life.process_status.failing).run, "fallback_round")
    life.spawn_beside(queue.run, "admin_commands")
    life.spawn_beside(registry.run, "registry")
    housekeeping = Housekeeping(database, clock, settings.retention, metrics, life.process_status.failing)
    life.spawn_beside(housekeeping.run, "housekeeping")
    life.spawn_beside(DataWatch(database, clock, metrics, life.process_status).run, "zipcode_data")
    signals = Signals(database, clock, settings.calendar.epoch_seconds, settings.signals)
    life.spawn_beside(signals.run, "signals")
    for step in (engine.caught_up, registry.settled):
        await life.until(step)
    life.ready()
    await life.wait()
    await life.end_tasks()
    await system.close()
    await connection.close()
    await database.dispose()


def main(faults: FaultPoints = NO_FAULTS) -> int:
    settings = load(SchedulerSettings)
    return lifecycle.run("schedulers", settings, lambda life: serve(settings, life, faults))


if __name__ == "__main__":
    sys.exit(main())
