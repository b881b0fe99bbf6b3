"""The id under which one request is found in the logs of every process it passes.

Owns which ids of a sender are taken over, and that every line logged meanwhile carries the id. It is
no secret and no proof: a sender chooses it, and two may choose the same.
"""

import re
from contextlib import AbstractContextManager
from uuid import uuid4

from structlog.contextvars import bound_contextvars
from structlog.typing import EventDict

HTTP_HEADER = "X-Request-Id"
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def correlation_id(given: str | None) -> str:
    """The sender's own id if it is a plain token of at most 64 characters, else a fresh one."""
    return given if given is not None and _PLAIN.fullmatch(given) else uuid4().hex


def correlated(correlation_id: str) -> AbstractContextManager[None]:
    """While it is entered, every line of this task carries the id."""
    return bound_contextvars(correlation_id=correlation_id)


def concerning_epoch(epoch_id: str) -> AbstractContextManager[None]:
    """While it is entered, every line of this task is about that epoch."""
    return bound_contextvars(epoch_id=epoch_id)


def follow_epochs(_: object, __: str, event: EventDict) -> EventDict:
    """Processor: a line about an epoch that belongs to no request is followed by the epoch's id."""
    if "epoch_id" in event:
        event.setdefault("correlation_id", event["epoch_id"])
    return event
