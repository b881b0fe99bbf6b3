"""Logs a sample of refused connections, because a flood must not fill the disk. Metrics count all of them.

A line has the reason, the source address, and the claimed hotkey if it is well-formed.
"""

from access.refusal_log import Sampler, well_formed
from service import logs
from storage.database.refusals import Refusal
from zipcast.clock import Clock

log = logs.logger()


class RefusalLog:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sampler = Sampler()

    def note(self, reason: str, host: str, named: str = "") -> None:
        """Log a refusal, or count it in `suppressed` of the next line with the same reason."""
        refusal = Refusal(self._clock.now(), "callout", "connect", reason, well_formed(named), host, "")
        sampled = self._sampler.sample(refusal, self._clock.monotonic())
        if sampled is not None:
            log.info(
                "connection_refused",
                reason=reason,
                host=host,
                hotkey=sampled.hotkey,
                suppressed=sampled.suppressed,
            )
