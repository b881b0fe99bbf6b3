"""Refused connections in the log, sampled: a flood must not fill the disk. Metrics count them all.

Owns what a line says: the reason, the source address, and the hotkey that was named if it is one.
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
        """Write a line, or count it towards the next one of its reason (`suppressed`)."""
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
