"""Counts this bridge's requests every ten seconds, and keeps the counts of an hour for a plot on `/ops`.

They are lost when the process ends. Prometheus keeps the same counters for longer.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

from pydantic import Field

from http_bridge.metrics import REQUESTS
from http_bridge.request_log import ANSWERED, CUT_OFF
from service.process_status import ProcessStatus
from zipcast.protocol.errors import ERRORS, ErrorCode
from zipcast.protocol.messages.base import WireModel

SAMPLE_SECONDS = 10
KEPT = 360


class RequestSamples(WireModel):
    """One value per sample, oldest first. Each counts the requests of the SAMPLE_SECONDS before `at`."""

    at: tuple[int, ...] = Field(description="Times of the samples, Unix seconds.")
    answered: tuple[int, ...] = Field(description="Requests that were answered.")
    refused: tuple[int, ...] = Field(description="Requests that were refused, with a status below 500.")
    failed: tuple[int, ...] = Field(description="Requests that failed, with a status of 500 or more.")


@dataclass(slots=True)
class RequestSampler:
    process_status: ProcessStatus
    _before: Counter[str] = field(default_factory=Counter)
    _kept: deque[tuple[int, int, int, int]] = field(default_factory=lambda: deque(maxlen=KEPT))

    async def run(self) -> None:
        """Take a sample every SAMPLE_SECONDS, for ever."""
        while True:
            self.sample()
            await self.process_status.clock.sleep(SAMPLE_SECONDS)

    def sample(self) -> None:
        """Count the requests since the last sample."""
        now = self.totals()
        new = now - self._before
        self._before = now
        at = round(self.process_status.clock.now().timestamp())
        self._kept.append((at, new["answered"], new["refused"], new["failed"]))

    def totals(self) -> Counter[str]:
        """Return the numbers of requests since the process started, by outcome."""
        found: Counter[str] = Counter()
        for result, count in self.process_status.counts_by("result", REQUESTS).items():
            if result != CUT_OFF:
                found[_outcome(result)] += count
        return found

    def samples(self) -> RequestSamples:
        """Return the samples of the last hour."""
        columns = tuple(zip(*self._kept, strict=True)) or ((), (), (), ())
        return RequestSamples(at=columns[0], answered=columns[1], refused=columns[2], failed=columns[3])


def _outcome(result: str) -> str:
    if result == ANSWERED:
        return "answered"
    return "refused" if ERRORS[ErrorCode(result)].status < 500 else "failed"
