"""Counts requests exactly, in the memory of this process."""

from collections import deque
from dataclasses import dataclass, field
from math import ceil

TIDY_SECONDS = 60.0


@dataclass(slots=True)
class MemoryCounts:
    """Counts of requests by rule and subject. `now` is monotonic time."""

    _hits: dict[tuple[str, str], deque[float]] = field(default_factory=dict)
    """The times until which requests count, oldest first, by rule and subject."""
    _tidied_at: float = field(default=float("-inf"))

    def refusal(self, name: str, whom: str, amount: int, seconds: int, now: float) -> int | None:
        """Count a request and return None. If the limit is reached, do not count the request, and return the
        number of seconds, rounded up, until there is room for it."""
        if now - self._tidied_at >= TIDY_SECONDS:
            self.tidy(now)
        hits = self._hits.setdefault((name, whom), deque())
        while hits and hits[0] <= now:
            hits.popleft()
        if len(hits) < amount:
            hits.append(now + seconds)
            return None
        return ceil(hits[0] - now)

    def tidy(self, now: float) -> None:
        """Forget requests that no longer count. `refusal` calls this at most once a minute, so that addresses
        that sent nothing for some time take no memory."""
        self._tidied_at = now
        self._hits = {key: hits for key, hits in self._hits.items() if hits and hits[-1] > now}
