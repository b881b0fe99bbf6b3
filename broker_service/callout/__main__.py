"""Runs the callout process: `python -m broker_service.callout`."""

import sys

from nats.aio.client import Client

from broker_service.callout.address_limits import AddressLimits
from broker_service.callout.connections import Connections
from broker_service.callout.decision import Decider
from broker_service.callout.exchange_messages import Exchange
from broker_service.callout.flood_control import FloodControl
from broker_service.callout.flood_detection import FloodWatch
from broker_service.callout.metrics import CalloutMetrics
from broker_service.callout.reconciler import Reconciler
from broker_service.callout.refusal_log import RefusalLog
from broker_service.callout.request_queue import Callout
from broker_service.callout.settings import CalloutSettings
from broker_service.callout.system_account import Ended, SystemAccount
from broker_service.callout.used_passwords import SpentPasswords
from service import lifecycle, nats_connection
from service.lifecycle import Lifecycle
from service.metrics import RegistryMetrics
from service.registry import RegistryFollower, RegistryView
from service.settings import load
from service.token_buckets import Buckets, Rate
from zipcast.clock import Clock, SystemClock
from zipcast.protocol.subjects import AUTH_CALLOUT, CALLOUT_QUEUE

# The time limit for storing a used password. nats-server waits 1.9 s for the callout's reply, so this must be
# shorter.
SPEND_SECONDS = 0.5
FOLLOW_SECONDS = 2


async def serve(settings: CalloutSettings, life: Lifecycle) -> None:
    """Answer nats-server's connection requests until the process gets a signal to stop."""
    clock = SystemClock()
    registry = RegistryView(settings.bt_network, settings.net_uid, settings.validator_min_stake)
    RegistryMetrics(life.process_status.registry, registry, clock)
    follow, system, connection = await _connect(settings, life)
    follower = RegistryFollower(follow.jetstream(timeout=FOLLOW_SECONDS), registry, clock)
    await follower.poll()
    connections = Connections(settings.callout_connections_per_hotkey, settings.admins)
    metrics = CalloutMetrics(life.process_status.registry)
    metrics.measure(life.process_status.registry, connections)
    account = SystemAccount(system)
    reconciler = Reconciler(account, connections, registry, clock, metrics)
    watch = _flood_watch(settings, clock)
    control = FloodControl(account, watch, reconciler, clock, metrics)

    def ended(connection: Ended) -> None:
        connections.ended(connection.place)
        control.ended(connection)

    spent = SpentPasswords(follow.jetstream(timeout=SPEND_SECONDS), settings.nats_replicas)
    callout = Callout(
        connection=connection,
        exchange=_exchange(settings),
        limits=_limits(settings),
        decider=Decider(
            registry,
            settings.bt_network,
            settings.net_uid,
            settings.audiences,
            settings.admins,
            lambda hotkey: watch.seconds_kept_out(hotkey, clock.monotonic()),
            spent.require_unspent,
        ),
        spent=spent,
        connections=connections,
        reconciler=reconciler,
        clock=clock,
        metrics=metrics,
        refusals=RefusalLog(clock),
        proven=Buckets(Rate(settings.callout_hotkey_burst, settings.callout_hotkey_per_second)),
    )
    await account.follow_ends(ended)
    life.spawn(follower.run(), "registry")
    life.spawn(reconciler.run(), "reconciler")
    life.spawn(control.run(), "floods")
    life.spawn(callout.run(), "callout")
    await connection.subscribe(AUTH_CALLOUT, queue=CALLOUT_QUEUE, cb=callout.take)
    await connection.flush()
    life.ready()
    await life.wait()
    await life.end_tasks()
    await callout.close()
    for one in (connection, system, follow):
        await one.close()


async def _connect(settings: CalloutSettings, life: Lifecycle) -> tuple[Client, Client, Client]:
    """Connect as three users: one follows the registry, one lists and closes connections, and one receives
    nats-server's connection requests."""
    seeds = {
        "callout-follow": settings.callout_follow_nats_seed,
        "callout-sys": settings.callout_sys_nats_seed,
        "callout": settings.callout_nats_seed,
    }
    follow, system, callout = [
        await nats_connection.connect(settings.nats_url, user=user, seed=seed, life=life)
        for user, seed in seeds.items()
    ]
    return follow, system, callout


def _exchange(settings: CalloutSettings) -> Exchange:
    return Exchange(
        settings.callout_issuer_seed.get_secret_value(), settings.callout_xkey_seed.get_secret_value()
    )


def _limits(settings: CalloutSettings) -> AddressLimits:
    return AddressLimits(
        attempts=Rate(settings.callout_address_burst, settings.callout_address_per_second),
        failures=Rate(settings.callout_failure_burst, settings.callout_failures_per_second),
        proxies=settings.trusted_proxies,
        proxy=Rate(settings.callout_proxy_burst, settings.callout_proxy_per_second),
    )


def _flood_watch(settings: CalloutSettings, clock: Clock) -> FloodWatch:
    seconds = settings.callout_flood_burst_seconds

    def rate(per_second: float) -> Rate:
        return Rate(per_second * seconds, per_second)

    return FloodWatch(
        messages=rate(settings.callout_flood_messages_per_second),
        bytes=rate(settings.callout_flood_bytes_per_second),
        kept_out_seconds=settings.callout_kept_out_seconds,
        began_at=clock.now(),
    )


def main() -> int:
    settings = load(CalloutSettings)
    return lifecycle.run("callout", settings, lambda life: serve(settings, life))


if __name__ == "__main__":
    sys.exit(main())
