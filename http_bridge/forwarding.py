"""Forwards an HTTP request to the responder over NATS, with the client's own signature.

It decides which parts of a request are forwarded, and replies to the client if the responder does not.
"""

from dataclasses import dataclass

from nats.aio.client import Client
from nats.errors import ConnectionClosedError
from nats.errors import Error as NatsError

from access.requests import Arrival
from http_bridge.metrics import BridgeMetrics
from service import logs, tracing
from service.tracing import TRACER
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.base import (
    CALLER_OF_COPY,
    HEADER_CALLER,
    HEADER_ERROR,
    HEADER_REQUEST_ID,
    parse_error,
)
from zipcast.protocol.messages.health import HealthReply
from zipcast.protocol.subjects import BRIDGE_HEALTH, bridge_request

log = logs.logger()

TIMEOUT_SECONDS = 8.0
HEALTH_TIMEOUT_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Forwarder:
    connection: Client
    metrics: BridgeMetrics

    async def forward(self, arrival: Arrival, caller: Hotkey, *, is_copy: bool) -> bytes:
        """Forward a request that `caller` has signed, and return the responder's reply. `is_copy` is
        whether the same request was forwarded before. Raises the ServiceError that the reply states, and
        ServiceError(SERVICE_UNAVAILABLE)."""
        headers = {
            **arrival.headers,
            HEADER_REQUEST_ID: arrival.request_id,
            HEADER_CALLER: f"{caller}{CALLER_OF_COPY}" if is_copy else caller,
        }
        if not self.connection.is_connected:
            self.metrics.unanswered.inc()
            raise _unavailable()
        try:
            with TRACER.start_as_current_span(f"forward {arrival.verb}"):
                tracing.inject(headers)
                reply = await self.connection.request(
                    bridge_request(arrival.verb), arrival.body, timeout=TIMEOUT_SECONDS, headers=headers
                )
        except (TimeoutError, NatsError) as error:
            self.metrics.unanswered.inc()
            log.warning("responder_unanswered", error=type(error).__name__)
            raise _unavailable() from None
        if reply.headers and HEADER_ERROR in reply.headers:
            raise parse_error(reply.data)
        return reply.data

    async def round_trip(self) -> None:
        """Wait for a reply of nats-server. Raises NatsError."""
        if not self.connection.is_connected:
            raise ConnectionClosedError
        await self.connection.flush(timeout=HEALTH_TIMEOUT_SECONDS)

    async def ask_health(self) -> HealthReply:
        """Return the health of the responder and of the parts that it checks. Raises TimeoutError, NatsError
        and ValidationError."""
        if not self.connection.is_connected:
            raise ConnectionClosedError
        reply = await self.connection.request(BRIDGE_HEALTH, b"{}", timeout=HEALTH_TIMEOUT_SECONDS)
        return HealthReply.model_validate_json(reply.data)


def _unavailable() -> ServiceError:
    return ServiceError(
        ErrorCode.SERVICE_UNAVAILABLE,
        "The responder is unavailable. Try again in 2 seconds.",
        retry_after_seconds=2,
    )
