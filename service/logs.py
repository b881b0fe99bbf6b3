"""Structured logs: one JSON object a line on standard output, `action` first among equals.

Library logs take the same form, with the action `library`: an action is always a word of ours. Nothing
here ever gets a signature, credential or payload. Of one action no more lines are written than `LINES`
allows, so that a flood of requests fills no disk; how many were left out stands in the next line.
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

# Lines of one action and level: wide enough for all miners of a subnet at an epoch's start.
LINES = Rate(burst=2000, per_second=100)


class LineSampler:
    """Lets through as many lines of each kind as `LINES` allows. `monotonic` returns seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._buckets = Buckets(LINES, most=1000)
        self._suppressed: Counter[tuple[str, str]] = Counter()

    def __call__(self, _: object, __: str, event: EventDict) -> EventDict:
        """A structlog processor. Raises structlog.DropEvent."""
        kind = str(event["event"]), str(event["level"])
        if not self._buckets.take(kind, self._monotonic()):
            self._suppressed[kind] += 1
            raise structlog.DropEvent
        suppressed = self._suppressed.pop(kind, 0)
        return {**event, "lines_suppressed": suppressed} if suppressed else event

    def admits(self, record: logging.LogRecord) -> bool:
        """A filter of library records."""
        return self._buckets.take((record.name, record.levelname), self._monotonic())


def configure(process: str, level: str, tally: Processor) -> None:
    """Set up logging, once per process and before anything is logged. `tally` sees every line and changes
    none."""

    def name_process(_: object, __: str, event: EventDict) -> EventDict:
        # Not bound to the context: threads of libraries have none of ours.
        return {**event, "process": process}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        name_process,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        follow_epochs,
        tally,
        structlog.processors.format_exc_info,
    ]
    rendering: list[Processor] = [
        structlog.processors.EventRenamer("action"),
        _leading_fields_first,
        structlog.processors.JSONRenderer(serializer=_as_json),
    ]
    sampler = LineSampler()
    structlog.configure(
        # Straight to the stream: the detour over `logging` takes twice the time, for every request.
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


# Made once: `json.dumps` with a `default` makes an encoder for each line.
_ENCODER = json.JSONEncoder(default=repr)


def _as_json(event: EventDict, **_: Any) -> str:
    return _ENCODER.encode(event)


_LEADING = ("at", "level", "process", "action", "correlation_id")


def _leading_fields_first(_: object, __: str, event: EventDict) -> EventDict:
    """Put the keys that a person looks for first on the line, and the module last."""
    leading = {name: event.pop(name) for name in _LEADING if name in event}
    module = {"module": event.pop("module")} if "module" in event else {}
    return {**leading, **event, **module}


def logger() -> structlog.typing.FilteringBoundLogger:
    """`logger().info("epoch_published", epoch_id=…)`: the first argument is the action. Lines name the module
    that called this, found once and not at each line."""
    module = str(sys._getframe(1).f_globals["__name__"]).rpartition(".")[2]
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=module)
    return bound
