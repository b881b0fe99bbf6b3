"""Keeps the service's time, with which requests are signed, and which decides whether an epoch runs.

The service states its time when it refuses a request because of the time, and confirms ours when it accepts
one. From then on, only the monotonic clock counts, so that setting this machine's clock changes nothing.
"""

from datetime import datetime, timedelta

from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError

MAX_CLOCK_OFFSET = timedelta(hours=1)
"""The largest difference between the service's time and the local time. The service's time is not signed, and
a hostile server could otherwise obtain a request signed for the far future and use it then."""


class ServiceTime:
    """The service's time. NATS and HTTP share one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """Return the service's time if it is known, otherwise the local time."""
        if self._known is None:
            return self._clock.now()
        known, at_seconds = self._known
        return known + timedelta(seconds=self._clock.monotonic() - at_seconds)

    def follow(self, stated: datetime) -> None:
        """Use the time that the service has just stated. Raises ServiceError(STALE_REQUEST) if it differs by
        more than MAX_CLOCK_OFFSET from the local time."""
        offset = stated - self._clock.now()
        if abs(offset) > MAX_CLOCK_OFFSET:
            raise ServiceError(
                ErrorCode.STALE_REQUEST,
                f"This machine's clock differs by {abs(offset)} from the service's time. Set the clock, then "
                "try again.",
            )
        self._known = stated, self._clock.monotonic()

    def confirm(self) -> None:
        """Keep the time, because the service accepted a request that was signed with it."""
        self._known = self.now(), self._clock.monotonic()
