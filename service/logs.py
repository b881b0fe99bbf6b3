"""Writes structured logs to standard output: one JSON object per line, with `action` first.

Lines of libraries have the same form, with the action `library`. Callers must never log a signature, a
credential or a payload. `LINES` limits the lines of one action, so that a flood of requests cannot fill the
disk; the next line states how many were left out.
"""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from service.correlation import follow_epochs
from service.token_buckets import Buckets, Rate

# At most this many lines per action and level are logged: enough for all miners of a subnet at an epoch's
# start.
LINES = Rate(burst=2000, per_second=100)


class LineSampler:
    """Passes on as many lines of each kind as `LINES` allows. `monotonic` returns seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._buckets = Buckets(LINES, most=1000)
        self._suppressed: Counter[tuple[str, str]] = Counter()

    def __call__(self, _: object, __: str, event: EventDict) -> EventDict:
        """Process a line of structlog. Raises structlog.DropEvent to leave it out."""
        kind = str(event["event"]), str(event["level"])
        if not self._buckets.take(kind, self._monotonic()):
            self._suppressed[kind] += 1
            raise structlog.DropEvent
        suppressed = self._suppressed.pop(kind, 0)
        return {**event, "lines_suppressed": suppressed} if suppressed else event

    def admits(self, record: logging.LogRecord) -> bool:
        """Return whether to write a line of a library."""
        return self._buckets.take((record.name, record.levelname), self._monotonic())


def configure(process: str, level: str, log_counts: Processor) -> None:
    """Set up logging. Call it once per process, before the first log line. `log_counts` is called with
    every line and must not change it."""

    def name_process(_: object, __: str, event: EventDict) -> EventDict:
        # Do not bind the name to the context, because threads of libraries do not have the context.
        return {**event, "process": process}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        name_process,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        follow_epochs,
        log_counts,
        structlog.processors.format_exc_info,
    ]
    rendering: list[Processor] = [
        structlog.processors.EventRenamer("action"),
        _leading_fields_first,
        structlog.processors.JSONRenderer(serializer=_as_json),
    ]
    sampler = LineSampler()
    structlog.configure(
        # Write directly to the stream, because lines through `logging` would take twice as much time for
        # every request.
        processors=[*shared[:-1], sampler, shared[-1], *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_name_library, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    handler.addFilter(sampler.admits)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


def _name_library(_: object, __: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    return {**event, "event": "library", "logger": record.name, "message": event["event"]}


# The encoder is made once, because `json.dumps` with a `default` would make one for each line.
_ENCODER = json.JSONEncoder(default=repr)


def _as_json(event: EventDict, **_: Any) -> str:
    return _ENCODER.encode(event)


_LEADING = ("at", "level", "process", "action", "correlation_id")


def _leading_fields_first(_: object, __: str, event: EventDict) -> EventDict:
    """Put the most important keys first, and the module last."""
    leading = {name: event.pop(name) for name in _LEADING if name in event}
    module = {"module": event.pop("module")} if "module" in event else {}
    return {**leading, **event, **module}


def logger() -> structlog.typing.FilteringBoundLogger:
    """Return a logger, used like `logger().info("epoch_published", epoch_id=…)`; the first argument is the
    action. Lines name the module that called this function."""
    module = str(sys._getframe(1).f_globals["__name__"]).rpartition(".")[2]
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=module)
    return bound
