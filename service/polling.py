"""Repeats a step while a process runs. If the step keeps failing, it is logged only once."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import TracebackType

from structlog.typing import FilteringBoundLogger

from zipcast.clock import Clock


@dataclass(slots=True)
class Outage:
    """A context that suppresses `errors`, so that the caller can try again later.

    It logs `action` at the first of several failures in a row. Until the block succeeds again, `failing` has
    the type of the error under `name`; the health page shows `failing` of the process."""

    log: FilteringBoundLogger
    action: str
    errors: tuple[type[Exception], ...]
    name: str = ""
    failing: dict[str, str] = field(default_factory=dict)

    @property
    def lasts(self) -> bool:
        """Return whether the block failed when it last ran."""
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
    """Run `step` repeatedly, with a pause after each time, until cancelled. Without `outage`, an error ends
    the task."""
    while True:
        with outage or nullcontext():
            await step()
        await clock.sleep(pause_seconds)
