"""Fitting a drawn order to the target: steps 4 and 5 of docs/protocol.md, "Selection". Pure.

Owns which of the ranked zipcodes are taken, whose turn it is among the states, and what can still be
completed. Every rule here is part of the protocol.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from zipcast.ranking import Ranking

if TYPE_CHECKING:
    from zipcast.selection import Candidate, SelectionSettings


class _Taken:
    """What was taken so far, and whether it is enough.

    The goal is the target; `with_room` it is at least so much that the total without any one of
    the taken is still within tolerance, where the band is wide enough for that one."""

    def __init__(self, settings: "SelectionSettings", with_room: bool) -> None:
        self.candidates: list[Candidate] = []
        self.total = 0
        # Asked for of each zipcode, so computed once.
        self._lowest, self._highest = settings.lowest_total, settings.highest_total
        self._goal = settings.target_listings
        self._with_room = with_room

    @property
    def is_enough(self) -> bool:
        return self.total >= self._goal

    @property
    def is_within_tolerance(self) -> bool:
        return self.total >= self._lowest

    def has_place_for(self, candidate: "Candidate") -> bool:
        return self.total + candidate.expected_listings <= self._highest

    def take(self, candidate: "Candidate") -> None:
        self.candidates.append(candidate)
        self.total += candidate.expected_listings
        room = self._lowest + candidate.expected_listings
        if self._with_room and room <= self._highest:
            self._goal = max(self._goal, room)


def by_rank(
    ranked: "Sequence[Candidate]", settings: "SelectionSettings", *, with_room: bool
) -> "tuple[Candidate, ...]":
    """In rank order, whatever the states. Empty if no subset fits."""
    # Greedy first. It takes what does not overshoot; if it ends within tolerance, then each
    # total it held was completed by its own later choices, so the walk that looks ahead
    # would have taken the same, and refused the same, because it refuses all overshoots too.
    anything_goes = [len(ranked)] * (settings.highest_total + 1)
    greedy = _walk(ranked, settings, anything_goes, with_room)
    return greedy or _looking_ahead(ranked, settings, with_room)


def by_turns(ranking: Ranking, settings: "SelectionSettings", *, with_room: bool) -> "tuple[Candidate, ...]":
    """State by state in turn, so that none gets more than its soft share while others can complete the total.

    Empty if no subset fits. If taking turns does not end within tolerance, what it took goes before the
    other ranks, and the walk that looks ahead goes through all of them."""
    taken = _Taken(settings, with_room)
    counts = dict.fromkeys(ranking.shares, 0)
    by_state: dict[str, list[Candidate]] = {state: [] for state in counts}
    for one in ranking.ranked:
        by_state[one.state].append(one)
    waiting = {state: iter(ranked) for state, ranked in by_state.items()}
    while waiting and not taken.is_enough:
        number = len(taken.candidates) + 1
        entitled = [state for state in waiting if counts[state] < ranking.shares[state] * number]
        if not entitled and taken.is_within_tolerance:
            break
        state = min(
            entitled or waiting,
            key=lambda state: ((counts[state] + ranking.offsets[state]) / ranking.shares[state], state),
        )
        found = next(filter(taken.has_place_for, waiting[state]), None)
        if found is None:
            del waiting[state]
        else:
            taken.take(found)
            counts[state] += 1
    if taken.is_within_tolerance:
        return tuple(taken.candidates)
    first = {one.zipcode for one in taken.candidates}
    rest = [one for one in ranking.ranked if one.zipcode not in first]
    return _looking_ahead([*taken.candidates, *rest], settings, with_room)


def _looking_ahead(
    ordered: "Sequence[Candidate]", settings: "SelectionSettings", with_room: bool
) -> "tuple[Candidate, ...]":
    return _walk(ordered, settings, _deadlines(ordered, settings), with_room)


def _walk(
    ordered: "Sequence[Candidate]", settings: "SelectionSettings", deadlines: Sequence[int], with_room: bool
) -> "tuple[Candidate, ...]":
    """Take one after the other, until it is enough, what the deadline of its new total allows."""
    taken = _Taken(settings, with_room)
    for passed, candidate in enumerate(ordered, start=1):
        if taken.is_enough:
            break
        total = taken.total + candidate.expected_listings
        if taken.has_place_for(candidate) and passed <= deadlines[total]:
            taken.take(candidate)
    return tuple(taken.candidates) if taken.is_within_tolerance else ()


def _deadlines(ordered: "Sequence[Candidate]", settings: "SelectionSettings") -> list[int]:
    """For each total, the most that may be passed so that the rest still completes it.

    -1 where even the whole pool cannot. The totals that a suffix completes only become more
    as the suffix grows, so the place at which each first appears says all of them at once,
    in memory that does not grow with the pool.
    """
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


def band(settings: "SelectionSettings") -> int:
    """The totals within tolerance, as a set of bits."""
    return (1 << settings.highest_total + 1) - (1 << settings.lowest_total)


def completable(totals: int, candidates: "Iterable[Candidate]") -> int:
    """The totals (a set of bits) from which some of the candidates lead into `totals`."""
    for candidate in candidates:
        totals |= totals >> candidate.expected_listings
    return totals
