"""The responder process: `python -m broker_service.responder`.

Two connections on purpose: the one that answers may publish to inboxes and nothing else; the other
follows the registry and the epochs and receives no requests.
"""

import asyncio
import sys

from faststream.nats import NatsBroker

from broker_service.responder import handlers
from broker_service.responder.gate import Gate, decode
from broker_service.responder.health import bucket_probes
from broker_service.responder.reading import Reader
from broker_service.responder.record import Record
from broker_service.responder.settings import ResponderSettings
from broker_service.responder.uploads import Issuer
from runtime import logs, nats_connection, process
from runtime.current_epoch import CurrentEpoch
from runtime.identity import Doorkeeper
from runtime.process import Lifecycle
from runtime.registry import RegistryFollower, RegistryView
from runtime.registry_copy import recall_from
from runtime.settings import load
from storage.database import open_engine
from storage.object_store import ObjectStore
from zipcast.clock import SystemClock
from zipcast.envelope import Trust
from zipcast.subjects import EPOCH, service_inbox_prefix

log = logs.logger()


async def serve(settings: ResponderSettings, life: Lifecycle) -> None:
    """Answer until told to stop."""
    clock = SystemClock()
    database = open_engine(settings.database_url, application_name="zipcast-responder", pool_size=10)
    store = ObjectStore(settings.object_store)
    registry = RegistryView(
        settings.bt_network, settings.net_uid, settings.validator_min_stake, settings.registry_max_age
    )
    trust = Trust(settings.signers, settings.bt_network, settings.net_uid)
    current = CurrentEpoch(trust, clock, database)
    record = Record(database)
    gate = Gate(Doorkeeper(registry, settings.signers, clock))
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
    await asyncio.gather(follower.poll(), current.check())
    life.spawn(follower.run(), "registry")
    life.spawn(current.run(), "current_epoch")

    broker = make_broker(settings, gate, life)
    handlers.register(broker, current, issuer, reader)
    handlers.register_health(broker, bucket_probes(store, settings, clock))
    await broker.start()
    life.ready()
    await life.wait()
    await broker.stop()
    await life.end_tasks()
    await follow.close()
    await database.dispose()
    store.close()


def make_broker(settings: ResponderSettings, gate: Gate, life: Lifecycle) -> NatsBroker:
    async def on_close() -> None:
        if not life.stopping:
            life.fail("the NATS connection of responder closed")

    return NatsBroker(
        settings.nats_url.split(","),
        name="zipcast-responder",
        nkeys_seed_str=settings.responder_nats_seed.get_secret_value(),
        inbox_prefix=service_inbox_prefix("responder"),
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        connect_timeout=3,
        closed_cb=on_close,
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
