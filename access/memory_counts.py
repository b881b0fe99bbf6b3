"""Counts requests in this process's memory, exactly, each for as long as its window."""

from collections import deque
from dataclasses import dataclass, field
from math import ceil

TIDY_SECONDS = 60.0


@dataclass(slots=True)
class MemoryCounts:
    """`now` is monotonic time."""

    _hits: dict[tuple[str, str], deque[float]] = field(default_factory=dict)
    """The times until which each request counts, oldest first, by rule and subject."""
    _tidied_at: float = field(default=float("-inf"))

    def refusal(self, name: str, whom: str, amount: int, seconds: int, now: float) -> int | None:
        """Return None if there was room, which is taken; else in how many whole seconds there will be."""
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
        """Forget whatever no longer counts. At most once a minute: strangers' addresses are many."""
        self._tidied_at = now
        self._hits = {key: hits for key, hits in self._hits.items() if hits and hits[-1] > now}
