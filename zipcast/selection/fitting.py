"""Chooses zipcodes from a ranked pool so that their total fits the target. Pure.

These are steps 4 and 5 of docs/protocol.md, "Selection"; every rule here is part of the protocol.
"""

import re
from collections.abc import Container, Iterable, Sequence

from zipcast.selection.model import Candidate, SelectionSettings
from zipcast.selection.ranking import Ranking


class _Taken:
    """The zipcodes taken so far, and whether their total is enough.

    `floor` is the smallest total at which to stop, if possible. Without honeypots (None), it is the lowest
    total within tolerance. Otherwise it leaves room for the count of one of the honeypots taken so far,
    namely the first by room draw. If there are none, it leaves room for the count of an ordinary zipcode, so
    that totals do not show whether there are honeypots."""

    def __init__(
        self, settings: SelectionSettings, ranking: Ranking, honeypots: Container[str] | None
    ) -> None:
        self.candidates: list[Candidate] = []
        self.total = 0
        # The limits are computed once, because they are needed for each zipcode.
        self._lowest, self._highest = settings.lowest_total, settings.highest_total
        self._most_room = settings.most_false_listings
        self._ranking, self._honeypots = ranking, honeypots
        self._guide: tuple[bool, float] | None = None
        self.floor = self._lowest
        self._target = self._stated_target = settings.target_listings

    @property
    def is_enough(self) -> bool:
        return self.total >= self._target

    @property
    def is_within_tolerance(self) -> bool:
        return self.total >= self._lowest

    def has_place_for(self, candidate: Candidate) -> bool:
        return self.total + candidate.expected_listings <= self._highest

    def is_nearer_without(self, candidate: Candidate) -> bool:
        """Return whether the total is enough, and at least as close to the target as with `candidate`
        added."""
        return self.total >= self.floor and (
            self._target - self.total <= self.total + candidate.expected_listings - self._target
        )

    def take(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)
        self.total += candidate.expected_listings
        if self._honeypots is not None and candidate.expected_listings <= self._most_room:
            guide = candidate.zipcode not in self._honeypots, self._ranking.room_draw(candidate.zipcode)
            if self._guide is None or guide < self._guide:
                self._guide = guide
                self.floor = self._lowest + candidate.expected_listings
                self._target = max(self._stated_target, self.floor)


def by_turns(
    ranking: Ranking, settings: SelectionSettings, honeypots: Container[str] | None = None
) -> "tuple[Candidate, ...]":
    """Take zipcodes from the states in turn, so that no state gets more than its share while others can
    complete the total. With strict priorities, exhaust the states of one priority before the next.
    `honeypots` are those of the pool; None if the epoch must have none.

    The result is empty if no subset fits. If taking turns does not end within tolerance, the zipcodes taken
    are moved to the front of the ranking, and `_looking_ahead` chooses from all of them by looking ahead."""
    taken = _Taken(settings, ranking, honeypots)
    counts = dict.fromkeys(ranking.shares, 0)
    by_state: dict[str, list[Candidate]] = {state: [] for state in counts}
    for one in ranking.ranked:
        by_state[one.state].append(one)
    waiting = {state: iter(ranked) for state, ranked in by_state.items()}
    while waiting and not taken.is_enough:
        if settings.strict_priorities:
            entitled = _first_by_priority(waiting, settings)
        else:
            number = len(taken.candidates) + 1
            entitled = [state for state in waiting if counts[state] < ranking.shares[state] * number]
            if not entitled and taken.total >= taken.floor:
                break
        state = min(
            entitled or waiting,
            key=lambda state: ((counts[state] + ranking.offsets[state]) / ranking.shares[state], state),
        )
        fits = taken.has_place_for if taken.total < taken.floor else None
        found = next(filter(fits, waiting[state]), None)
        if found is None:
            del waiting[state]
        elif taken.is_nearer_without(found):
            break
        else:
            taken.take(found)
            counts[state] += 1
    if taken.is_within_tolerance:
        return tuple(taken.candidates)
    first = {one.zipcode for one in taken.candidates}
    rest = [one for one in ranking.ranked if one.zipcode not in first]
    again = _Taken(settings, ranking, honeypots)
    return _looking_ahead([*taken.candidates, *rest], settings, again)


def _first_by_priority(waiting: Iterable[str], settings: SelectionSettings) -> list[str]:
    priorities = dict(settings.state_priorities)
    first = min(priorities[state] for state in waiting)
    return [state for state in waiting if priorities[state] == first]


def _looking_ahead(
    ordered: Sequence[Candidate], settings: SelectionSettings, taken: _Taken
) -> "tuple[Candidate, ...]":
    """Go through the ranking until the total is enough. Take each zipcode after which the rest can still
    complete the total, which the deadlines show."""
    deadlines = _deadlines(ordered, settings)
    for passed, candidate in enumerate(ordered, start=1):
        if taken.is_enough:
            break
        total = taken.total + candidate.expected_listings
        if taken.has_place_for(candidate) and passed <= deadlines[total]:
            taken.take(candidate)
    return tuple(taken.candidates) if taken.is_within_tolerance else ()


def _deadlines(ordered: Sequence[Candidate], settings: SelectionSettings) -> list[int]:
    """Return for each total how many leading zipcodes can be skipped so that the rest can still reach it, or
    -1 if even the whole pool cannot.

    A longer suffix reaches every total that a shorter one reaches. So it is enough to store where each total
    first appears, and the memory does not grow with the pool."""
    totals = band(settings)
    deadlines = [len(ordered)] * (settings.highest_total + 1)
    deadlines[: settings.lowest_total] = [-1] * settings.lowest_total
    for passed in reversed(range(len(ordered))):
        grown = totals | totals >> ordered[passed].expected_listings
        if grown != totals:
            for total in re.finditer("1", f"{grown ^ totals:b}"[::-1]):
                deadlines[total.start()] = passed
            totals = grown
    return deadlines


def band(settings: SelectionSettings) -> int:
    """Return the totals within tolerance, as a set of bits."""
    return (1 << settings.highest_total + 1) - (1 << settings.lowest_total)


def completable(totals: int, candidates: Iterable[Candidate]) -> int:
    """Return the totals, as a set of bits, from which some of the candidates lead to one of `totals`."""
    for candidate in candidates:
        totals |= totals >> candidate.expected_listings
    return totals
