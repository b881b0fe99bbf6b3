"""Repeats a step for as long as a process runs, and logs a step that fails once, not each time."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import TracebackType

from structlog.typing import FilteringBoundLogger

from zipcast.clock import Clock


@dataclass(slots=True)
class Outage:
    """A block in which `errors` end the block and nothing else: the next time it runs, it tries again.

    `action` is logged at the first failure of a row. While it fails, `failing`, which may be the process's
    list that health shows, has the type of the error under `name`."""

    log: FilteringBoundLogger
    action: str
    errors: tuple[type[Exception], ...]
    name: str = ""
    failing: dict[str, str] = field(default_factory=dict)

    @property
    def lasts(self) -> bool:
        """Return whether the block failed when it ran last."""
        return self.name in self.failing

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, self.errors):
            if not self.lasts:
                self.log.warning(self.action, error=type(error).__name__)
            self.failing[self.name] = type(error).__name__
            return True
        if error is None:
            self.failing.pop(self.name, None)
        return False


async def poll(
    step: Callable[[], Awaitable[object]], clock: Clock, pause_seconds: float, outage: Outage | None = None
) -> None:
    """Run `step` with a pause after each time, until cancelled. Without `outage` its errors end the task."""
    while True:
        with outage or nullcontext():
            await step()
        await clock.sleep(pause_seconds)
