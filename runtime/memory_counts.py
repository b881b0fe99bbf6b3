"""The counts of `limits` in this process's memory, tidied at most once a minute.

The library begins a sweep over all keys at each count, with a thread for each of them: some thousand keys,
which strangers' addresses soon are, took a whole processor at twenty requests a second.
"""

import time
from bisect import bisect_left

from limits.aio.storage import MemoryStorage

TIDY_SECONDS = 60.0


class MemoryCounts(MemoryStorage):
    _tidied_at = float("-inf")

    async def _MemoryStorage__schedule_expiry(self) -> None:  # noqa: N802 - the private name that it overrides
        now = time.monotonic()
        if now - self._tidied_at >= TIDY_SECONDS:
            self._tidied_at = now
            self.tidy(time.time())

    def tidy(self, now: float) -> None:
        """Forget what no longer counts at `now`, Unix seconds. Nobody holds a lock over an `await`, so none
        is needed here."""
        for key, events in list(self.events.items()):
            # Newest first.
            kept = events[: bisect_left(events, -now, key=lambda event: -event.expiry)]
            if kept:
                self.events[key] = kept
            else:
                self._forget(key)
        for key in [key for key, expires in self.expirations.items() if expires <= now]:
            self._forget(key)

    def _forget(self, key: str) -> None:
        self.events.pop(key, None)
        self.storage.pop(key, None)
        self.expirations.pop(key, None)
        self.locks.pop(key, None)
