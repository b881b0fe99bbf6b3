"""Counting what is logged: lines by level, warnings and errors by action, and the last error.

Owns what may be shown of an error: the action, the time and the exception's type. Never a message,
which may hold an address or a secret.
"""

import re
import sys
from collections import Counter
from dataclasses import dataclass, field

import prometheus_client
from structlog.typing import EventDict

from zipcast.clock import Clock
from zipcast.health import LastError

_ERRORS = frozenset({"error", "critical"})
_PROBLEMS = _ERRORS | {"warning"}
_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(slots=True)
class Tally:
    """A structlog processor that changes nothing. Stands before exceptions become text."""

    lines: prometheus_client.Counter
    clock: Clock
    problems: Counter[str] = field(default_factory=Counter)
    """Warnings and errors, by action."""
    last_error: LastError | None = field(default=None)

    def __call__(self, _: object, __: str, event: EventDict) -> EventDict:
        level, action = str(event["level"]), str(event["event"])
        self.lines.labels(level).inc()
        if level in _PROBLEMS:
            self.problems[action] += 1
        if level in _ERRORS:
            self.last_error = LastError(action=action, at=self.clock.now(), error=_error_type(event))
        return event


def _error_type(event: EventDict) -> str | None:
    """The exception's type: of `exc_info` in any of its forms, or as a line names it in `error`."""
    info = event.get("exc_info")
    if info is True:
        info = sys.exc_info()
    raised = info[1] if isinstance(info, tuple) else info
    if isinstance(raised, BaseException):
        return type(raised).__name__
    named = event.get("error")
    return named if isinstance(named, str) and _TYPE_NAME.fullmatch(named) else None
