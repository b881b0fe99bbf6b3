"""Structured logs: one JSON object a line on standard output, `action` first among equals.

Library logs take the same form. Nothing here ever gets a signature, credential or payload.
"""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor


def configure(process: str, level: str) -> None:
    """Once per process, before anything is logged."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.CallsiteParameterAdder({structlog.processors.CallsiteParameter.MODULE}),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.EventRenamer("action"),
                _leading_fields_first,
                structlog.processors.JSONRenderer(sort_keys=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    structlog.contextvars.bind_contextvars(process=process)


def _leading_fields_first(_: object, __: str, event: EventDict) -> EventDict:
    """What a person looks for stands first on the line."""
    leading = {name: event.pop(name) for name in ("at", "level", "process", "action") if name in event}
    return {**leading, **event}


def logger() -> structlog.typing.FilteringBoundLogger:
    """`logger().info("epoch_published", epoch_id=…)`: the first argument is the action."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return bound
