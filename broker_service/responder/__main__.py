"""Runs the responder process: `python -m broker_service.responder`.

It has two connections to NATS. The one that answers requests may publish only to inboxes. The other follows
the registry and the epochs and receives no requests.
"""

import sys

import asyncpg
from faststream.nats import NatsBroker
from nats.aio.client import Client

from access.setup import AccessSetup
from broker_service.responder import handlers
from broker_service.responder.admin import AdminDesk
from broker_service.responder.admin_handlers import register_admin
from broker_service.responder.batches import Batches
from broker_service.responder.changed_uploads import ChangeWatch
from broker_service.responder.database import Record
from broker_service.responder.health import bucket_probes
from broker_service.responder.incoming_messages import HotkeyIntake
from broker_service.responder.issuance import IssuanceWriter
from broker_service.responder.manifest_freezing import Sealer
from broker_service.responder.metrics import ResponderMetrics
from broker_service.responder.middleware import Gate, decode
from broker_service.responder.presigned_lists import Lister
from broker_service.responder.reported_files import FileChecker
from broker_service.responder.service_info import ServiceInfo
from broker_service.responder.settings import ResponderSettings
from broker_service.responder.status_reports import Reports
from broker_service.responder.sts_sessions import Sessions
from broker_service.responder.upload_access import Issuer
from broker_service.responder.validator_reads import Reader
from broker_service.responder.validator_results import ResultsDesk
from service import lifecycle, logs, nats_connection
from service.epoch_pools import EpochPools
from service.epoch_results import EpochResultsReader
from service.lifecycle import Lifecycle
from service.nats_client import HardenedClient
from service.nats_connection import Link
from service.process_status import ProcessStatus
from service.settings import load
from storage.database import submissions
from storage.database.engine import open_pool
from storage.objects.reading import ObjectReader
from storage.objects.store import ObjectStore

log = logs.logger()

USER = "responder"


async def serve(settings: ResponderSettings, life: Lifecycle) -> None:
    """Answer requests until the process gets a signal to stop."""
    process_status = life.process_status
    metrics = ResponderMetrics(process_status.registry)
    access = AccessSetup.of(settings, USER, life, pool_size=settings.responder_database_connections)
    if not await access.has_safe_rights():
        return
    clock, database, current = access.clock, access.database, access.current
    store = ObjectStore(settings.object_store, on_error=metrics.object_store_errors.inc)
    object_reader = ObjectReader(settings.object_store, on_error=metrics.object_store_errors.inc)
    record = Record(database, current)
    pool = await _writer_pool(settings, process_status)
    writer = IssuanceWriter(pool, metrics.batch_rows.labels("issuances").observe)
    reports = Batches(pool, submissions.store, metrics.batch_rows.labels("reports").observe)
    client = HardenedClient()
    intake = HotkeyIntake(client, settings.limit_address_per_minute, clock, metrics, access.refusals)
    gate = Gate(access.pipeline, writer, access.refusals, metrics, intake)
    sessions = Sessions(store, clock)
    issuer = Issuer(store, sessions, record, current, clock, settings.s3_bucket, settings.s3_validator_bucket)
    reader = Reader(store, record, sessions, clock, settings.s3_bucket)
    sealer = Sealer(store, database, clock, settings.s3_bucket, settings.seal_after, metrics)
    follow = await nats_connection.connect(
        settings.nats_url,
        user="responder-follow",
        seed=settings.responder_follow_nats_seed,
        life=life,
    )
    await access.follow_epochs(follow)
    sealed = await access.follow(follow)
    await ServiceInfo(follow, metrics, clock).answer()
    life.spawn_beside(sealer.run, "sealing")
    life.spawn_beside(ChangeWatch(store, database, clock, settings.s3_bucket).run, "changes")
    for name, work in (("issuances", writer.run()), ("reports", reports.run()), ("intake", intake.run())):
        life.spawn(work, name)
    link = Link(settings.nats_url, USER, settings.responder_nats_seed, life, client)
    broker = make_broker(gate, link)
    handlers.register(broker, current, issuer, reader)
    handlers.register_lists(broker, Lister(store, record, clock, settings.s3_bucket))
    handlers.register_reports(broker, Reports(record, reports, clock, metrics), record)
    handlers.register_epochs(broker, EpochPools(database, current), sealed)
    handlers.register_choices(broker, record, access.opted_out, clock)
    files = FileChecker(object_reader, clock, settings.most_hashed_bytes, metrics)
    desk = ResultsDesk(record, files, access.registry, clock, settings.s3_validator_bucket, metrics)
    results = EpochResultsReader(database, access.registry, current, shows_own=True)
    handlers.register_results(broker, desk, results)
    register_admin(broker, AdminDesk(database, clock))
    handlers.register_health(broker, bucket_probes(store, settings, clock), process_status)
    await broker.start()
    # Wait until nats-server has FastStream's subscriptions, because clients send requests as soon as we are
    # ready.
    await broker.connection.flush()
    life.ready()
    await life.wait()
    await broker.stop()
    await life.end_tasks()
    await follow.close()
    await access.close()
    await pool.close()
    for one in (store, object_reader, reader):
        one.close()


async def _writer_pool(settings: ResponderSettings, process_status: ProcessStatus) -> asyncpg.Pool:
    """Return the pool for grants and status reports, which each use one connection at a time."""
    url, size = settings.database_url.get_secret_value(), settings.responder_writer_connections
    pool = await open_pool(url, application_name=f"zipcast-{USER}", size=size)
    process_status.metrics.watch_pool("writer", pool)
    return pool


class Broker(NatsBroker):
    """FastStream's broker on our own connection, which hostile messages cannot stop."""

    link: Link

    async def _connect(self) -> Client:
        await self.link.open()
        self.config.connect(self.link.connection)
        return self.link.connection


def make_broker(gate: Gate, link: Link) -> NatsBroker:
    """Return a broker that is not connected yet."""
    broker = Broker(graceful_timeout=2, decoder=decode, middlewares=[gate], logger=None)
    broker.link = link
    return broker


def main() -> int:
    settings = load(ResponderSettings)
    return lifecycle.run("responder", settings, lambda life: serve(settings, life))


if __name__ == "__main__":
    sys.exit(main())
