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
from http_bridge.nats_monitor import NatsMonitor
from http_bridge.ops import Ops
from http_bridge.ops_pages import DASHBOARD, ops_pages
from http_bridge.public_page import PublicPage
from http_bridge.published_rounds import PublishedRounds
from http_bridge.recent_epochs import RecentEpochs
from http_bridge.request_log import Access
from http_bridge.request_samples import RequestSampler
from http_bridge.settings import BridgeSettings
from http_bridge.statistics import PublicStatistics
from service import lifecycle
from service.epoch_pools import EpochPools
from service.epoch_results import EpochResultsReader
from service.http_server import Server
from service.lifecycle import Lifecycle
from service.nats_connection import Link
from service.sealed_epochs import SealedEpochs
from service.settings import load
from zipcast.protocol.messages.service import ServiceDescription
from zipcast.protocol.subjects import EPOCH
from zipcast.protocol.verbs import VERBS, Verb

USER = "bridge"
# Running requests may take this long when the process stops. That is longer than a request may wait for the
# responder, so every request is completed.
FINISH_SECONDS = int(TIMEOUT_SECONDS) + 1


async def serve(settings: BridgeSettings, life: Lifecycle) -> None:
    """Serve until the process gets a signal to stop, then complete the running requests."""
    metrics = BridgeMetrics(life.process_status.registry)
    access = AccessSetup.of(settings, USER, life, pool_size=settings.bridge_database_connections)
    if not await access.has_safe_rights():
        return
    asking = Link(settings.nats_url, USER, settings.bridge_nats_seed, life)
    following = Link(settings.nats_url, f"{USER}-follow", settings.bridge_follow_nats_seed, life)
    feed = EpochFeed(access.database, access.current.trust, access.clock)
    # Requests that need only the database are served even before NATS is connected and while it is
    # unavailable.
    life.spawn(_stay_linked(asking, life), "nats")
    life.spawn(_follow_epochs(following, access, feed), "nats-follow")
    sealed = await access.follow(following.connection)
    sealed.on_news = feed.tell_sealed
    life.spawn(feed.run(), "feed")
    bridge = _bridge(settings, access, Forwarder(asking.connection, metrics), feed, sealed)
    app = build(bridge)
    sampler = RequestSampler(life.process_status)
    life.spawn_beside(sampler.run, "request-samples")
    life.process_status.pages.update(ops_pages(_ops(settings, access, bridge, sampler)))
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
    await access.follow_epochs(link.connection)
    await link.connection.subscribe(EPOCH, cb=feed.receive)
    await access.life.wait()


def _bridge(
    settings: BridgeSettings, access: AccessSetup, forwarder: Forwarder, feed: EpochFeed, sealed: SealedEpochs
) -> Bridge:
    database, clock, current, limits = access.database, access.clock, access.current, access.limits
    health = BridgeHealth(database, forwarder, access.registry, current, limits, access.life.process_status)
    description = ServiceDescription(
        network=settings.bt_network,
        netuid=settings.net_uid,
        signers=tuple(sorted(settings.signers)),
        servers=settings.public_servers,
        http=settings.bridge_public_url,
        documentation=settings.documentation_url,
    )
    return Bridge(
        pipeline=access.pipeline,
        current=current,
        forwarder=forwarder,
        health=health,
        statistics=PublicStatistics(database, clock, current),
        assignments=Assignments(database, clock, current),
        history=PublicHistory(History(database), ReadyReplies(clock)),
        pools=EpochPools(database, current),
        results=EpochResultsReader(database, access.registry, current, shows_own=False),
        page=PublicPage(health, RecentEpochs(database, clock), current, description),
        listeners=Listeners(feed, access.registry, clock),
        sealed=sealed,
        rounds=PublishedRounds(sealed),
        limits=limits,
        refusals=access.refusals,
        description=description,
    )


def _ops(settings: BridgeSettings, access: AccessSetup, bridge: Bridge, sampler: RequestSampler) -> Ops:
    url = settings.nats_monitor_url
    return Ops(
        health=bridge.health,
        recent=bridge.page.recent,
        current=access.current,
        registry=access.registry,
        listeners=bridge.listeners,
        process_status=access.life.process_status,
        sampler=sampler,
        monitor=None if url is None else NatsMonitor(url),
        dashboard=settings.nats_dashboard_url or (None if url is None else f"/{DASHBOARD}/"),
        public=settings.bridge_public_url,
    )


def main() -> int:
    settings = load(BridgeSettings)
    return lifecycle.run(
        "http_bridge", settings, lambda life: serve(settings, life), grace_seconds=FINISH_SECONDS + 2
    )


if __name__ == "__main__":
    sys.exit(main())
