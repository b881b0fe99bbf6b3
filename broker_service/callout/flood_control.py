"""Once a second, closes the connections of hotkeys that send too much, and blocks these hotkeys for some
time.

`flood_detection` decides which hotkeys send too much.
"""

from dataclasses import dataclass

from nats.errors import Error as NatsError

from broker_service.callout.connections import Kick, KickReason
from broker_service.callout.flood_detection import FloodWatch
from broker_service.callout.metrics import CalloutMetrics
from broker_service.callout.reconciler import Reconciler
from broker_service.callout.system_account import Ended, SystemAccount
from service import logs
from service.system_account import ListingError
from zipcast.clock import Clock
from zipcast.protocol.hotkeys import Hotkey

log = logs.logger()

INTERVAL_SECONDS = 1.0


@dataclass(slots=True)
class FloodControl:
    account: SystemAccount
    watch: FloodWatch
    reconciler: Reconciler
    clock: Clock
    metrics: CalloutMetrics

    async def run(self) -> None:
        """Check the traffic every second until cancelled."""
        while True:
            began = self.clock.monotonic()
            await self.look()
            await self.clock.sleep(max(0.0, began + INTERVAL_SECONDS - self.clock.monotonic()))

    async def look(self) -> None:
        """Check the most recently active connections once. If listing them fails, count that; the next check
        tries again."""
        try:
            listing = await self.account.active_connections()
        except (NatsError, ListingError) as error:
            self.metrics.listings_failed.inc()
            log.debug("activity_unlisted", error=type(error).__name__)
            return
        now, at = self.clock.monotonic(), self.clock.now()
        counted = ((one.traffic, one.connection.since) for one in listing)
        for hotkey in self.watch.listed(counted, now, at):
            self._tell(hotkey)
        await self.reconciler.kick(
            Kick(one.connection, KickReason.FLOODING)
            for one in listing
            if self.watch.seconds_kept_out(one.connection.hotkey, now)
        )

    def ended(self, ended: Ended) -> None:
        """Handle the end of a connection."""
        if ended.traffic is None:
            return
        age = self.clock.now() - (ended.since or self.clock.now())
        seconds = max(0.0, age.total_seconds())
        if self.watch.ended(ended.traffic, self.clock.monotonic(), seconds):
            self._tell(ended.traffic.hotkey)

    def _tell(self, hotkey: Hotkey) -> None:
        self.metrics.kept_out.inc()
        log.warning("hotkey_kept_out", hotkey=hotkey, seconds=self.watch.kept_out_seconds)
