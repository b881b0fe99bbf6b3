"""Runs the bridge process: `python -m http_bridge`."""

import asyncio
import sys

from access.setup import AccessSetup
from http_bridge.app import Bridge, build
from http_bridge.cached_replies import ReadyReplies
from http_bridge.epoch_feed import EpochFeed
from http_bridge.epoch_reply import Assignments
from http_bridge.event_stream import Listeners
from http_bridge.forwarding import TIMEOUT_SECONDS, Forwarder
from http_bridge.health import BridgeHealth
from http_bridge.history import History, PublicHistory
from http_bridge.metrics import BridgeMetrics
from http_bridge.middleware import front
from http_bridge.ops import NatsMonitor, Ops
from http_bridge.request_log import Access
from http_bridge.settings import BridgeSettings
from http_bridge.statistics import PublicStatistics
from service import lifecycle
from service.epoch_pools import EpochPools
from service.epoch_results import EpochResultsReader
from service.http_server import Server
from service.lifecycle import Lifecycle
from service.nats_connection import Link
from service.settings import load
from zipcast.protocol.subjects import EPOCH
from zipcast.protocol.verbs import VERBS, Verb

USER = "bridge"
# When the process stops, running requests are completed, even if they wait for the responder until its
# timeout.
FINISH_SECONDS = int(TIMEOUT_SECONDS) + 1


async def serve(settings: BridgeSettings, life: Lifecycle) -> None:
    """Serve until the process is told to stop, then complete the running requests."""
    metrics = BridgeMetrics(life.vitals.registry)
    access = AccessSetup.of(settings, USER, life)
    if not await access.has_safe_rights():
        return
    asking = Link(settings.nats_url, USER, settings.bridge_nats_seed, life)
    following = Link(settings.nats_url, f"{USER}-follow", settings.bridge_follow_nats_seed, life)
    feed = EpochFeed(access.database, access.current.trust, access.clock)
    # Requests that need only the database are served even before NATS is connected and while it is
    # unavailable.
    life.spawn(_stay_linked(asking, life), "nats")
    life.spawn(_follow_epochs(following, access, feed), "nats-follow")
    await access.follow(following.connection)
    life.spawn(feed.run(), "feed")
    bridge = _bridge(access, Forwarder(asking.connection, metrics), feed)
    app = build(bridge)
    life.vitals.pages.update(_ops(settings, access, bridge).pages())
    fronted = front(app, access.limits, access.clock, settings.cors_origins, hot=_current_path())
    server = Server(
        Access(fronted, metrics, access.clock),
        host=settings.bridge_host,
        port=settings.port,
        trusted_proxies=settings.trusted_proxies,
        grace_seconds=FINISH_SECONDS,
    )
    serving = life.spawn(server.serve(), "http")
    while not (server.started or life.stopping):
        await access.clock.sleep(0.02)
    life.ready()
    await life.wait()
    feed.close()
    server.should_exit = True
    await asyncio.wait({serving}, timeout=FINISH_SECONDS)
    await life.end_tasks()
    await asking.connection.close()
    await following.connection.close()
    await access.close()


def _current_path() -> str | None:
    http = VERBS[Verb.EPOCH_CURRENT].http
    return None if http is None else http.path


async def _stay_linked(link: Link, life: Lifecycle) -> None:
    await link.open()
    await life.wait()


async def _follow_epochs(link: Link, access: AccessSetup, feed: EpochFeed) -> None:
    await link.open()
    await access.hear(link.connection)
    await link.connection.subscribe(EPOCH, cb=feed.hear)
    await access.life.wait()


def _bridge(access: AccessSetup, forwarder: Forwarder, feed: EpochFeed) -> Bridge:
    database, clock, current, limits = access.database, access.clock, access.current, access.limits
    return Bridge(
        pipeline=access.pipeline,
        current=current,
        forwarder=forwarder,
        health=BridgeHealth(database, forwarder, access.registry, current, limits, access.life.vitals),
        statistics=PublicStatistics(database, clock, current),
        assignments=Assignments(database, clock),
        history=PublicHistory(History(database), ReadyReplies(clock)),
        pools=EpochPools(database),
        results=EpochResultsReader(database, access.registry, shows_own=False),
        listeners=Listeners(feed, access.registry, clock),
        limits=limits,
        refusals=access.refusals,
    )


def _ops(settings: BridgeSettings, access: AccessSetup, bridge: Bridge) -> Ops:
    return Ops(
        health=bridge.health,
        history=bridge.history.history,
        current=access.current,
        registry=access.registry,
        listeners=bridge.listeners,
        vitals=access.life.vitals,
        monitor=NatsMonitor(settings.nats_monitor_url),
        dashboard=settings.nats_dashboard_url,
    )


def main() -> int:
    settings = load(BridgeSettings)
    return lifecycle.run(
        "http_bridge", settings, lambda life: serve(settings, life), grace_seconds=FINISH_SECONDS + 2
    )


if __name__ == "__main__":
    sys.exit(main())
