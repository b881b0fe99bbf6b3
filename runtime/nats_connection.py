"""Connections of service users to NATS: named, authenticated by nkey, reconnecting for ever.

nats-py never leaves the CLOSED state by itself, so a connection that closes ends the process.
"""

import nats
from nats.aio.client import Client
from pydantic import SecretStr

from runtime import logs
from runtime.process import Lifecycle
from zipcast.subjects import service_inbox_prefix

log = logs.logger()


async def connect(url: str, *, user: str, seed: SecretStr, life: Lifecycle) -> Client:
    """Connect as that user of `nats.conf`; waits for a server that is not there yet."""

    async def on_error(error: Exception) -> None:
        log.warning("nats_error", user=user, error=type(error).__name__, reason=str(error))

    async def on_disconnect() -> None:
        log.warning("nats_disconnected", user=user)

    async def on_reconnect() -> None:
        log.info("nats_reconnected", user=user)

    async def on_close() -> None:
        if not life.stopping:
            life.fail(f"the NATS connection of {user} closed")

    return await nats.connect(
        servers=url.split(","),
        name=f"zipcast-{user}",
        nkeys_seed_str=seed.get_secret_value(),
        inbox_prefix=service_inbox_prefix(user),
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        connect_timeout=3,
        error_cb=on_error,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnect,
        closed_cb=on_close,
    )
