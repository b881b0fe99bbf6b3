"""The callout process: `python -m broker_service.callout`."""

import asyncio
import sys
from collections import deque

from nats.aio.client import Client
from nats.aio.msg import Msg

from broker_service.callout.decision import Decider, RefusedError
from broker_service.callout.exchange import ConnectRequest, Exchange, ExchangeError
from broker_service.callout.metrics import CalloutMetrics
from broker_service.callout.settings import CalloutSettings
from runtime import logs, nats_connection, process
from runtime.metrics import RegistryMetrics
from runtime.process import Lifecycle
from runtime.registry import RegistryFollower, RegistryView
from runtime.settings import load
from zipcast.clock import Clock, SystemClock
from zipcast.subjects import AUTH_CALLOUT, CALLOUT_QUEUE

log = logs.logger()

# nats-server gives up on an answer after 1.5 s (nats.conf), so an older question has no asker.
STALE_SECONDS = 1.0
MOST_WAITING = 2048


class Callout:
    """Answers nats-server, newest question first: under a flood the honest client that just came is
    served, not a queue of connections that have given up."""

    def __init__(
        self,
        connection: Client,
        exchange: Exchange,
        decider: Decider,
        clock: Clock,
        metrics: CalloutMetrics,
    ) -> None:
        self._connection = connection
        self._exchange = exchange
        self._decider = decider
        self._clock = clock
        self._waiting: deque[tuple[float, Msg]] = deque(maxlen=MOST_WAITING)
        self._arrived = asyncio.Event()
        self._metrics = metrics

    async def take(self, message: Msg) -> None:
        """Subscriber of the callout subject: only queues, so that nothing waits behind cryptography."""
        if len(self._waiting) == MOST_WAITING:
            self._metrics.stale.inc()  # the oldest goes
        self._waiting.append((self._clock.monotonic(), message))
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            while self._waiting:
                arrived, message = self._waiting.pop()
                if self._clock.monotonic() - arrived > STALE_SECONDS:
                    self._metrics.stale.inc()
                    continue
                await self._answer(message)
                self._metrics.duration.observe(self._clock.monotonic() - arrived)
                await asyncio.sleep(0)  # let newer questions in
            self._arrived.clear()

    async def _answer(self, message: Msg) -> None:
        try:
            request = self._exchange.open(message.data, (message.headers or {}).get("Nats-Server-Xkey", ""))
        except ExchangeError as error:
            self._metrics.malformed.inc()
            log.error("callout_request_malformed", reason=str(error))
            return
        await self._connection.publish(message.reply, self._decide(request))

    def _decide(self, request: ConnectRequest) -> bytes:
        now = int(self._clock.now().timestamp())
        try:
            granted = self._decider.decide(request, now)
        except RefusedError as error:
            self._metrics.refused(str(error))
            log.info("connection_refused", reason=str(error), host=request.client_host)
            return self._exchange.refuse(request, str(error), now)
        self._metrics.granted.inc()
        log.info("connection_granted", hotkey=granted.hotkey, host=request.client_host)
        return self._exchange.grant(request, granted.hotkey, granted.permissions, now)


async def serve(settings: CalloutSettings, life: Lifecycle) -> None:
    """Decide until told to stop."""
    clock = SystemClock()
    registry = RegistryView(settings.bt_network, settings.net_uid, settings.validator_min_stake)
    RegistryMetrics(life.vitals.registry, registry, clock)
    follow = await nats_connection.connect(
        settings.nats_url, user="callout-follow", seed=settings.callout_follow_nats_seed, life=life
    )
    follower = RegistryFollower(follow.jetstream(timeout=2), registry, clock)
    await follower.poll()
    connection = await nats_connection.connect(
        settings.nats_url, user="callout", seed=settings.callout_nats_seed, life=life
    )
    exchange = Exchange(
        settings.callout_issuer_seed.get_secret_value(), settings.callout_xkey_seed.get_secret_value()
    )
    decider = Decider(registry, settings.bt_network, settings.net_uid, settings.audiences, settings.admins)
    callout = Callout(connection, exchange, decider, clock, CalloutMetrics(life.vitals.registry))
    life.spawn(follower.run(), "registry")
    life.spawn(callout.run(), "callout")
    await connection.subscribe(AUTH_CALLOUT, queue=CALLOUT_QUEUE, cb=callout.take)
    await connection.flush()
    life.ready()
    await life.wait()
    await life.end_tasks()
    await connection.close()
    await follow.close()


def main() -> int:
    settings = load(CalloutSettings)
    return process.run("callout", settings, lambda life: serve(settings, life))


if __name__ == "__main__":
    sys.exit(main())
