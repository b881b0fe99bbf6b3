"""Closes connections that are no longer allowed: every 5 s, and as soon as there is a new registry snapshot.

Each replica does this for all connections. A connection that any replica granted with an old snapshot is
therefore found with the next list. It is harmless if two replicas close the same connection.
"""

from collections.abc import Iterable

from nats.errors import Error as NatsError

from broker_service.callout.connections import Connections, Kick
from broker_service.callout.metrics import CalloutMetrics
from broker_service.callout.system_account import SystemAccount
from service import logs
from service.registry import RegistryView
from service.system_account import ListingError
from zipcast.clock import Clock

log = logs.logger()

EVERY_SECONDS = 5.0
LOOK_SECONDS = 0.25


class Reconciler:
    def __init__(
        self,
        account: SystemAccount,
        connections: Connections,
        registry: RegistryView,
        clock: Clock,
        metrics: CalloutMetrics,
    ) -> None:
        self._account = account
        self._connections = connections
        self._registry = registry
        self._clock = clock
        self._metrics = metrics
        self._failing = False

    async def run(self) -> None:
        while True:
            snapshot, began = self._registry.snapshot, self._clock.monotonic()
            await self.reconcile()
            while self._registry.snapshot is snapshot and self._clock.monotonic() - began < EVERY_SECONDS:
                await self._clock.sleep(LOOK_SECONDS)

    async def reconcile(self) -> None:
        """Check all connections once. If it fails, log that once and close no connection; the next try is in
        5 s."""
        began_at = self._clock.now()
        self._connections.begin_listing()
        try:
            self._connections.listed(await self._account.hotkey_connections(), began_at)
        except (NatsError, ListingError) as error:
            self._metrics.listings_failed.inc()
            if not self._failing:
                log.warning("connections_unlisted", error=type(error).__name__)
            self._failing = True
        else:
            self._failing = False
            await self.kick(self._connections.kicks(self._registry))

    async def kick(self, kicks: Iterable[Kick]) -> None:
        """Close connections. One that cannot be closed now is in the next list again."""
        for kick in kicks:
            try:
                await self._account.kick(kick.connection.place)
            except NatsError as error:
                log.warning("kick_failed", error=type(error).__name__)
                return
            self._metrics.kicked(kick.reason)
            log.info(
                "connection_kicked",
                hotkey=kick.connection.hotkey,
                role=kick.connection.role,
                reason=kick.reason,
            )
