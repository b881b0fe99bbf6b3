"""Connects service users to NATS with nkeys. Connections have names, are monitored, and reconnect for ever.

If nats-py gives up a connection, it does not reopen it, so the process ends.
"""

from dataclasses import dataclass, field

from nats.aio.client import Client
from pydantic import SecretStr

from service import logs
from service.lifecycle import Lifecycle
from service.nats_client import HardenedClient
from zipcast.protocol.subjects import service_inbox_prefix

log = logs.logger()


@dataclass(frozen=True, slots=True)
class Watcher:
    """Logs and counts the events of one connection, and ends the process if it closes."""

    user: str
    life: Lifecycle

    async def on_error(self, error: Exception) -> None:
        log.warning("nats_error", user=self.user, error=type(error).__name__, reason=str(error))

    async def on_disconnect(self) -> None:
        log.warning("nats_disconnected", user=self.user)

    async def on_reconnect(self) -> None:
        self.life.process_status.metrics.nats_reconnects.labels(self.user).inc()
        log.info("nats_reconnected", user=self.user)

    async def on_close(self) -> None:
        if not self.life.stopping:
            self.life.fail(f"the NATS connection of {self.user} closed")


@dataclass(frozen=True, slots=True)
class Link:
    """A connection that can be used before it is established, so that a process can start without NATS."""

    url: str
    user: str
    seed: SecretStr
    life: Lifecycle
    connection: Client = field(default_factory=HardenedClient)

    async def open(self) -> None:
        """Connect as this user of `nats.conf`. Wait if no server is available yet."""
        watcher = Watcher(self.user, self.life)
        self.life.process_status.watch(self.user, self.connection)
        await self.connection.connect(
            servers=self.url.split(","),
            name=f"zipcast-{self.user}",  # shown by nats-server's monitoring
            nkeys_seed_str=self.seed.get_secret_value(),
            inbox_prefix=service_inbox_prefix(self.user),
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=3,
            error_cb=watcher.on_error,
            disconnected_cb=watcher.on_disconnect,
            reconnected_cb=watcher.on_reconnect,
            closed_cb=watcher.on_close,
        )


async def connect(url: str, *, user: str, seed: SecretStr, life: Lifecycle) -> Client:
    """Return an open connection. Wait if no server is available yet."""
    link = Link(url, user, seed, life)
    await link.open()
    return link.connection
