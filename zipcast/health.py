"""How a part is, as processes tell each other and `/healthcheck` tells everybody.

Reasons are our own words or an error's type; never a driver's text, an address or a secret.
"""

from enum import StrEnum

from pydantic import Field

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


class LastError(WireModel):
    """What was logged as an error last: the action, and the exception's type where there was one."""

    action: str
    at: WireTime
    error: str | None


class ProcessHealth(WireModel):
    """One process of ours, of itself. `uptime` in seconds; `counts` of what it did and `problems`, its
    warnings and errors by action, since its start; `connections` to NATS, by user; `failing`: what it tries
    in vain at present, with the type of the error; `parts` is what it watches besides, such as the age of the
    zipcode data."""

    process: str
    status: HealthStatus
    uptime: float
    counts: dict[str, int]
    problems: dict[str, int]
    last_error: LastError | None
    connections: dict[str, str]
    failing: dict[str, str] = Field(default_factory=dict)
    parts: dict[str, ServiceHealth] = Field(default_factory=dict)


class HealthReply(WireModel):
    """What the responder can see and the bridge cannot; `process` is the responder that answered."""

    services: dict[str, ServiceHealth]
    process: ProcessHealth | None = None
