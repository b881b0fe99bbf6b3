"""How a part is, as processes tell each other and `/healthcheck` tells everybody.

Reasons are our own words or an error's type; never a driver's text, an address or a secret.
"""

from enum import StrEnum

from zipcast.messages import WireModel, WireTime


class HealthStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class ServiceHealth(WireModel):
    """One part, asked at most some seconds ago. `since` is when `status` became what it is, as far as
    the asking process saw; `last_error` stays after a recovery."""

    status: HealthStatus
    latency_ms: float
    last_error: str | None
    since: WireTime
    note: str | None = None


class HealthReply(WireModel):
    """What the responder can see and the bridge cannot."""

    services: dict[str, ServiceHealth]
