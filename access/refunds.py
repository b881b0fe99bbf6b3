"""Remembers which charges of a rate limit were taken back, and lets each pay for one later request."""

from dataclasses import dataclass, field

Key = tuple[str, str]
"""The name of a rule, and whom it counts for."""


@dataclass(slots=True)
class Credits:
    """`now` is monotonic time. Remembered by this process alone, each no longer than the charge counts."""

    _open: dict[Key, list[float]] = field(default_factory=dict)
    """The times until which each credit counts."""
    _spent: dict[Key, list[float]] = field(default_factory=dict)
    """Credits that were used up, in the same way."""

    def give(self, key: Key, seconds: float, now: float) -> None:
        """Let the next request be free. A charge that was paid by a credit is given back for as long as that
        credit would have lasted."""
        self._open, self._spent = _lasting(self._open, now), _lasting(self._spent, now)
        spent = self._spent.get(key)
        self._open.setdefault(key, []).append(spent.pop(0) if spent else now + seconds)

    def spend(self, key: Key, now: float) -> bool:
        """Return whether there was a credit, which is used up."""
        ends = self._open.get(key, [])
        while ends:
            if (end := ends.pop(0)) > now:
                self._spent.setdefault(key, []).append(end)
                return True
        return False


def _lasting(ends: dict[Key, list[float]], now: float) -> dict[Key, list[float]]:
    lasting = {key: [end for end in some if end > now] for key, some in ends.items()}
    return {key: some for key, some in lasting.items() if some}
