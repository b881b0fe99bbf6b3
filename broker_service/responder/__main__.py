"""The responder process: `python -m broker_service.responder`.

Two connections on purpose: the one that answers may publish to inboxes and nothing else; the other
follows the registry and the epochs and receives no requests.
"""

import asyncio
import sys

from faststream.nats import NatsBroker
from nats.aio.client import Client

from broker_service.responder import handlers
from broker_service.responder.admin import AdminDesk
from broker_service.responder.admin_handlers import register_admin
from broker_service.responder.claims import Claims
from broker_service.responder.gate import Gate, decode
from broker_service.responder.health import bucket_probes
from broker_service.responder.listing import Lister
from broker_service.responder.metrics import ResponderMetrics
from broker_service.responder.reading import Reader
from broker_service.responder.record import Record
from broker_service.responder.reports import Reports
from broker_service.responder.settings import ResponderSettings
from broker_service.responder.uploads import Issuer
from runtime import database_rights, logs, nats_connection, process
from runtime.current_epoch import CurrentEpoch
from runtime.epoch_pools import EpochPools
from runtime.identity import Doorkeeper
from runtime.limits import Limits
from runtime.metrics import CurrentEpochMetrics, RegistryMetrics
from runtime.nats_client import HardenedClient
from runtime.opt_outs import LegacyOptOuts
from runtime.process import Lifecycle
from runtime.refusals import RefusalTrail
from runtime.registry import RegistryFollower, RegistryView
from runtime.registry_copy import recall_from
from runtime.settings import load
from storage.database import open_engine
from storage.object_store import ObjectStore
from zipcast.clock import SystemClock
from zipcast.envelope import Trust
from zipcast.subjects import EPOCH, service_inbox_prefix

log = logs.logger()

USER = "responder"


async def serve(settings: ResponderSettings, life: Lifecycle) -> None:
    """Answer until told to stop."""
    clock = SystemClock()
    vitals = life.vitals
    metrics = ResponderMetrics(vitals.registry)
    database = open_engine(
        settings.database_url.get_secret_value(), application_name="zipcast-responder", pool_size=10
    )
    vitals.metrics.count_errors_of(database)
    refusal = await database_rights.too_wide(database, settings.zipcast_environment, "zipcast_responder")
    if refusal is not None:
        life.fail(refusal)
        return
    store = ObjectStore(settings.object_store, on_error=metrics.object_store_errors.inc)
    registry = RegistryView(
        settings.bt_network, settings.net_uid, settings.validator_min_stake, settings.registry_max_age
    )
    trust = Trust(settings.signers, settings.bt_network, settings.net_uid)
    current = CurrentEpoch(trust, clock, database)
    RegistryMetrics(vitals.registry, registry, clock)
    CurrentEpochMetrics(vitals.registry, current)
    record = Record(database)
    opted_out = LegacyOptOuts(database, clock)
    refusals = RefusalTrail("responder", database, clock)
    gate = Gate(
        Doorkeeper(registry, settings.signers, clock, opted_out, settings.admins),
        Limits.of(settings, clock),
        Claims(database, clock, bytes.fromhex(settings.responder_seal_key.get_secret_value())),
        refusals,
        metrics,
    )
    issuer = Issuer(store, record, current, clock, settings.s3_bucket, settings.s3_validator_bucket)
    reader = Reader(store, record, clock, settings.s3_bucket)

    follow = await nats_connection.connect(
        settings.nats_url,
        user="responder-follow",
        seed=settings.responder_follow_nats_seed,
        life=life,
    )
    recall = recall_from(database, settings.bt_network, settings.net_uid)
    follower = RegistryFollower(follow.jetstream(timeout=2), registry, clock, recall)
    await follow.subscribe(EPOCH, cb=current.hear)
    await asyncio.gather(follower.poll(), current.check(), opted_out.read())
    life.spawn(follower.run(), "registry")
    life.spawn(current.run(), "current_epoch")
    life.spawn(opted_out.run(), "opt_outs")
    life.spawn(refusals.run(), "refusals")

    broker = make_broker(settings, gate, life)
    handlers.register(broker, current, issuer, reader)
    lister = Lister(store, record, clock, settings.s3_bucket)
    handlers.register_lists(broker, lister)
    handlers.register_reports(broker, Reports(record, clock), record)
    handlers.register_pools(broker, EpochPools(database))
    handlers.register_choices(broker, record, opted_out, clock)
    register_admin(broker, AdminDesk(database, clock))
    handlers.register_health(broker, bucket_probes(store, settings, clock), vitals)
    await broker.start()
    vitals.watch(USER, broker.connection)
    life.ready()
    await life.wait()
    await broker.stop()
    await life.end_tasks()
    await refusals.write()
    await follow.close()
    await database.dispose()
    store.close()


class Broker(NatsBroker):
    """FastStream's, over a client that hostile messages cannot silence."""

    async def _connect(self) -> Client:
        connection = HardenedClient()
        await connection.connect(**self._connection_kwargs)
        self.config.connect(connection)
        return connection


def make_broker(settings: ResponderSettings, gate: Gate, life: Lifecycle) -> NatsBroker:
    watcher = nats_connection.Watcher(USER, life)
    return Broker(
        settings.nats_url.split(","),
        name=nats_connection.connection_name(USER),
        nkeys_seed_str=settings.responder_nats_seed.get_secret_value(),
        inbox_prefix=service_inbox_prefix(USER),
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        connect_timeout=3,
        error_cb=watcher.on_error,
        disconnected_cb=watcher.on_disconnect,
        reconnected_cb=watcher.on_reconnect,
        closed_cb=watcher.on_close,
        graceful_timeout=2,
        decoder=decode,
        middlewares=[gate],
        logger=None,
    )


def main() -> int:
    settings = load(ResponderSettings)
    return process.run("responder", settings, lambda life: serve(settings, life))


if __name__ == "__main__":
    sys.exit(main())
