"""Marks log lines with a correlation id, by which a request can be found in the logs of all processes.

The sender may choose the id. It is therefore not secret and proves nothing, and two senders may choose the
same id.
"""

import re
from contextlib import AbstractContextManager
from uuid import uuid4

from structlog.contextvars import bound_contextvars
from structlog.typing import EventDict

HTTP_HEADER = "X-Request-Id"
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def correlation_id(given: str | None) -> str:
    """Return the sender's id if it is a plain token of at most 64 characters, otherwise a new id."""
    return given if given is not None and _PLAIN.fullmatch(given) else uuid4().hex


def correlated(correlation_id: str) -> AbstractContextManager[None]:
    """Return a context in which every log line of this task has the correlation id."""
    return bound_contextvars(correlation_id=correlation_id)


def concerning_epoch(epoch_id: str) -> AbstractContextManager[None]:
    """Return a context in which every log line of this task has the epoch id."""
    return bound_contextvars(epoch_id=epoch_id)


def follow_epochs(_: object, __: str, event: EventDict) -> EventDict:
    """Use the epoch's id as the correlation id of lines that belong to no request. This is a structlog
    processor."""
    if "epoch_id" in event:
        event.setdefault("correlation_id", event["epoch_id"])
    return event
