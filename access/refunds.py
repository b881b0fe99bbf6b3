"""Remembers refunded charges of a rate limit. Each refund pays for one later request."""

from dataclasses import dataclass, field

Key = tuple[str, str]
"""The name of a rule, and the hotkey or address for which it counts."""


@dataclass(slots=True)
class Credits:
    """Credits from refunded charges, known only to this process. Each lasts as long as the charge would have
    counted. `now` is monotonic time."""

    _open: dict[Key, list[float]] = field(default_factory=dict)
    """The times at which credits expire."""
    _spent: dict[Key, list[float]] = field(default_factory=dict)
    """The times at which used credits would have expired."""

    def give(self, key: Key, seconds: float, now: float) -> None:
        """Make the next request free. If the refunded charge was itself paid by a credit, the new credit
        lasts only as long as that one would have lasted."""
        self._open, self._spent = _lasting(self._open, now), _lasting(self._spent, now)
        spent = self._spent.get(key)
        self._open.setdefault(key, []).append(spent.pop(0) if spent else now + seconds)

    def spend(self, key: Key, now: float) -> bool:
        """Use up one credit. Return False if there is none."""
        ends = self._open.get(key, [])
        while ends:
            if (end := ends.pop(0)) > now:
                self._spent.setdefault(key, []).append(end)
                return True
        return False


def _lasting(ends: dict[Key, list[float]], now: float) -> dict[Key, list[float]]:
    lasting = {key: [end for end in some if end > now] for key, some in ends.items()}
    return {key: some for key, some in lasting.items() if some}
