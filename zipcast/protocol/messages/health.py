"""Wire models of health: of one part, of one process, and of `/healthcheck`.

A reason is either a text of this service or the type of an error. It never contains a driver's message, an
address or a secret.
"""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from zipcast.protocol.messages.base import WireModel, WireTime


class HealthStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class ServiceHealth(WireModel):
    """The health of one part, checked at most some seconds ago. `since` is when the checking process last saw
    `status` change. `last_error` is kept after a recovery."""

    status: HealthStatus = Field(description="ok, degraded or unhealthy.", examples=["ok"])
    latency_ms: float = Field(description="How long the part took to answer, milliseconds.")
    last_error: str | None = Field(description="The last error; kept after a recovery.")
    since: WireTime = Field(description="When the status last changed, UTC.")
    note: str | None = Field(default=None, description="A remark.", examples=["limits are in memory"])


class LastError(WireModel):
    """The last logged error: its log action, and the exception's type if there was one."""

    action: str = Field(description="The log action: what the process was doing.")
    at: WireTime = Field(description="Time of the error, UTC.")
    error: str | None = Field(description="Type of the exception.")


class ProcessHealth(WireModel):
    """The health of one of our processes, as it reports it. `uptime` is in seconds. `counts` has its counters
    since its start, and `problems` its warnings and errors since then, by log action. `connections` has its
    connections to NATS, by user. `failing` lists the operations that fail at present, with the type of the
    error. `parts` are other things that it watches, such as the age of the zipcode data."""

    process: str = Field(description="Name of the process.")
    status: HealthStatus = Field(description="ok, degraded or unhealthy.")
    uptime: float = Field(description="Seconds since the process started.")
    counts: dict[str, int] = Field(description="Counters since the process started, by name.")
    problems: dict[str, int] = Field(description="Warnings and errors since its start, by action.")
    last_error: LastError | None = Field(description="The last error; kept after a recovery.")
    connections: dict[str, str] = Field(description="State of the NATS connections, by user.")
    failing: dict[str, str] = Field(
        default_factory=dict,
        description="Operations that fail at present, with the type of the error.",
    )
    parts: dict[str, ServiceHealth] = Field(
        default_factory=dict,
        description="Other things that the process watches, such as the age of the zipcode data.",
    )


class Alive(WireModel):
    """The reply of a process that runs."""

    status: Literal["ok"] = Field(default="ok", description="Always ok.")


class HealthReply(WireModel):
    """The health of parts that only the responder can reach. `process` is the responder that replied."""

    services: dict[str, ServiceHealth] = Field(description="Each part, as it was at most five seconds ago.")
    process: ProcessHealth | None = Field(default=None, description="The responder that replied.")
