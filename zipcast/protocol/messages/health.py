"""Wire models of health: of one part, of one process, and of `/healthcheck`.

Reasons are our own words or an error's type; never a driver's text, an address or a secret.
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
    """One part, checked at most some seconds ago. `since` is the time of the last change of `status` that the
    asking process saw; `last_error` stays after a recovery."""

    status: HealthStatus = Field(description="How far it is.", examples=["ok"])
    latency_ms: float = Field(description="How long the part took to answer, milliseconds.")
    last_error: str | None = Field(description="What went wrong last, also after a recovery.")
    since: WireTime = Field(description="Since when, UTC.")
    note: str | None = Field(default=None, description="A remark.", examples=["limits are in memory"])


class LastError(WireModel):
    """The last logged error: its action, and the exception's type if there was one."""

    action: str = Field(description="What was being done.")
    at: WireTime = Field(description="When, UTC.")
    error: str | None = Field(description="Type of the exception.")


class ProcessHealth(WireModel):
    """One process of ours, of itself. `uptime` in seconds; `counts` of what it did and `problems`, its
    warnings and errors by action, since its start; `connections` to NATS, by user; `failing`: what it tries
    in vain at present, with the type of the error; `parts` is what it watches besides, such as the age of the
    zipcode data."""

    process: str = Field(description="Name of the process, or how the responder that answered is.")
    status: HealthStatus = Field(description="How far it is.")
    uptime: float = Field(description="Seconds since the process started.")
    counts: dict[str, int] = Field(description="What the process did since its start.")
    problems: dict[str, int] = Field(description="Warnings and errors since its start, by action.")
    last_error: LastError | None = Field(description="What went wrong last, also after a recovery.")
    connections: dict[str, str] = Field(description="NATS connections.")
    failing: dict[str, str] = Field(
        default_factory=dict,
        description="What the process tries in vain at present, with the type of the error.",
    )
    parts: dict[str, ServiceHealth] = Field(
        default_factory=dict, description="What it watches besides, such as the age of the zipcode data."
    )


class Alive(WireModel):
    """The process answers."""

    status: Literal["ok"] = Field(default="ok", description="Always ok.")


class HealthReply(WireModel):
    """Parts that the responder can reach and the bridge cannot; `process` is the responder that answered."""

    services: dict[str, ServiceHealth] = Field(description="Each part, as it was at most five seconds ago.")
    process: ProcessHealth | None = Field(
        default=None, description="Name of the process, or how the responder that answered is."
    )
