"""Decides at each import which zipcodes are honeypots, and what is published of them. Pure.

What is published of a honeypot comes from real zipcodes of its state and tier: its count when it appears, and
how that changes, or vanishes, at an import. So honeypots have the history that real zipcodes have. Only the
operator can compute any of it: the key is secret. Drawing them is honeypots.py.
"""

import hmac
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from zipcast.honeypots import HoneypotSettings
from zipcast.ranking import state_shares, weights
from zipcast.selection import Candidate, SelectionSettings, hideable

# The false count differs from the count that it is taken from by up to this part of it: the same count again
# would name the zipcode that it was taken from.
DEVIATION_DIVISOR = 50
# The chance that an epoch holds a honeypot cannot come nearer to 1: more than two are too many.
MAX_PROBABILITY = 0.9
# A honeypot's count follows one of so many real ones of the nearest size.
NEIGHBOURS = 25

Kind = tuple[str, str, bool, bool]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class PublishedPool:
    """The zipcodes of one import with their published counts, by zipcode. `real_listings` has those of the
    honeypots. `retired` were honeypots and never will be again: what they really have has become known."""

    candidates: tuple[Candidate, ...]
    real_listings: Mapping[str, int]
    retired: frozenset[str] = frozenset()

    def real(self, settings: SelectionSettings) -> list[Candidate]:
        """Return those that may be drawn and are no honeypots."""
        return [
            one
            for one in self.candidates
            if one.zipcode not in self.real_listings and settings.may_be_drawn(one)
        ]


def publish(
    zipcodes: Iterable[Candidate],
    before: PublishedPool | None,
    settings: SelectionSettings,
    honeypots: HoneypotSettings,
    key: bytes,
) -> PublishedPool:
    """Return what is published of an import's active zipcodes.

    `zipcodes` have their real counts; `before` is what was published of the import before, if there was one;
    `key` is secret and another for each import."""
    real = {one.zipcode: one for one in sorted(zipcodes, key=lambda one: one.zipcode)}
    update = _Update(real, before or PublishedPool((), {}), settings, honeypots, key)
    if honeypots.probability:
        update.keep()
        update.fill(is_first=before is None)
    return PublishedPool(
        candidates=tuple((real | update.members).values()),
        real_listings={zipcode: real[zipcode].expected_listings for zipcode in sorted(update.members)},
        retired=frozenset(update.retired),
    )


def _chances(real: Sequence[Candidate], settings: SelectionSettings) -> list[float]:
    """Return how likely each is to be the next one drawn."""
    weighed = weights(real, settings)
    by_state: dict[str, float] = defaultdict(float)
    for one, weight in zip(real, weighed, strict=True):
        by_state[one.state] += weight
    shares = state_shares(by_state, settings)
    return [
        weight / by_state[one.state] * shares[one.state] for one, weight in zip(real, weighed, strict=True)
    ]


def honeypots_per_zipcode(
    real: Sequence[Candidate], settings: SelectionSettings, honeypots: HoneypotSettings
) -> float:
    """Return how many honeypots there are for each zipcode of `real`, which may be drawn and have counts that
    a honeypot may have."""
    if not real:
        return 0.0
    probability = min(honeypots.probability, MAX_PROBABILITY)
    # Of draws with 0, 1 or 2 honeypots, a Poisson number, this mean gives the share that has one or two.
    mean = math.sqrt(1 + 2 * probability / (1 - probability)) - 1
    chances = _chances(real, settings)
    listings = sum(chance * one.expected_listings for chance, one in zip(chances, real, strict=True))
    share = min(mean * listings / settings.target_listings, 0.5)
    return share / (1 - share)


@dataclass(slots=True)
class _Update:
    """The honeypots of one import in the making. `members` have what is published of them."""

    zipcodes: Mapping[str, Candidate]
    before: PublishedPool
    settings: SelectionSettings
    honeypots: HoneypotSettings
    key: bytes
    members: dict[str, Candidate] = field(default_factory=dict)
    retired: set[str] = field(default_factory=set)
    real: list[Candidate] = field(init=False)
    largest: int = field(init=False)

    def __post_init__(self) -> None:
        self.retired |= self.before.retired
        drawn = [one for one in self.zipcodes.values() if self.settings.may_be_drawn(one)]
        self.real = hideable(drawn, self.settings)
        self.largest = self.settings.most_false_listings

    def keep(self) -> None:
        """Keep what was published of each honeypot, or change it as a real zipcode of its size changed."""
        models = _grouped(self.before.real(self.settings), lambda one: (one.state, str(one.market_tier)))
        published = {one.zipcode: one for one in self.before.candidates}
        for zipcode in sorted(self.before.real_listings):
            now = self.zipcodes.get(zipcode)
            if now is None:
                continue
            if now.expected_listings >= self.honeypots.threshold:
                self.retired.add(zipcode)
                continue
            old = published[zipcode]
            model = self._model(old, models.get((old.state, str(old.market_tier)), []))
            changed = self._changed(old, now, model)
            if changed is not None:
                self.members[zipcode] = changed

    def _model(self, old: Candidate, models: Sequence[Candidate]) -> Candidate | None:
        """Return a real zipcode that was published with nearly the count of `old`."""
        place = bisect_left(models, old.expected_listings, key=lambda one: one.expected_listings)
        first = max(0, min(place - NEIGHBOURS // 2, len(models) - NEIGHBOURS))
        near = models[first : first + NEIGHBOURS]
        return near[self._below(len(near), f"model:{old.zipcode}")] if near else None

    def _changed(self, old: Candidate, now: Candidate, model: Candidate | None) -> Candidate | None:
        """Return what is published of `now`; None if it vanishes as the model did."""
        listings, population = old.expected_listings, old.population
        if model is not None:
            new = self.zipcodes.get(model.zipcode)
            if new is None or not self.settings.may_be_drawn(new):
                return None
            if new.expected_listings != model.expected_listings:
                grown = listings * new.expected_listings // model.expected_listings
                listings = self._near(grown, f"count:{old.zipcode}")
                if listings < self.settings.min_zipcode_listings:
                    # The model stays, so the honeypot does.
                    listings = new.expected_listings
            if population and model.population and new.population:
                population = population * new.population // model.population
        if listings < self.settings.min_zipcode_listings:
            return None
        if listings > self.largest:
            listings = old.expected_listings
        return self._false(now, listings, population, old.base_weight)

    def fill(self, *, is_first: bool) -> None:
        """Add honeypots until there are as many as there should be of each kind."""
        known = {one.zipcode for one in self.before.real(self.settings)} | set(self.before.real_listings)
        of_kind = _grouped(self.real, _kind)
        new = _grouped((one for one in self.real if one.zipcode not in known), _kind)
        fallen = self._fallen()
        rate = honeypots_per_zipcode(self.real, self.settings, self.honeypots)
        wanted = self._rounded({kind: rate * len(group) for kind, group in of_kind.items()}, "wanted")
        appearing = self._rounded({kind: rate * len(group) for kind, group in new.items()}, "appearing")
        free = self._free(known)
        for kind in sorted(of_kind):
            gap = wanted[kind] - sum(_kind(one) == kind for one in self.members.values())
            fresh = gap if is_first else min(gap, appearing.get(kind, 0))
            self._appear(of_kind[kind] if is_first else new.get(kind, []), fresh, free)
            for one in fallen.get(kind, [])[: max(0, gap - fresh)]:
                self.members[one.zipcode] = one
            short = wanted[kind] - sum(_kind(one) == kind for one in self.members.values())
            self._appear(of_kind[kind], short, free)

    def _fallen(self) -> dict[Kind, list[Candidate]]:
        """Return, by kind, the real zipcodes that have few listings now, with the count that was published:
        the preferred honeypots."""
        found = []
        for old in self.before.real(self.settings):
            now = self.zipcodes.get(old.zipcode)
            if now is None or now.expected_listings >= self.honeypots.threshold:
                continue
            if old.expected_listings <= self.largest and old.zipcode not in self.retired:
                found.append(self._false(now, old.expected_listings, old.population, old.base_weight))
        groups = _grouped(found, _kind)
        return {
            kind: sorted(group, key=lambda one: self._number(f"fallen:{one.zipcode}"))
            for kind, group in groups.items()
        }

    def _free(self, known: Collection[str]) -> dict[tuple[object, ...], list[Candidate]]:
        """Return the zipcodes that may become honeypots, in an order by chance, by kind and region, and by
        kind alone. Those far below the threshold come first: they seldom rise above it, so that honeypots do
        not live shorter than real zipcodes."""
        found: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
        taken = {*known, *self.retired, *self.members}
        small = [
            one
            for one in self.zipcodes.values()
            if one.expected_listings < self.honeypots.threshold and one.zipcode not in taken
        ]
        halfway = self.honeypots.threshold // 2
        for one in sorted(
            small, key=lambda one: (one.expected_listings >= halfway, self._number(f"free:{one.zipcode}"))
        ):
            found[*_kind(one), one.geographic_region].append(one)
            found[_kind(one)].append(one)
        return found

    def _appear(
        self, models: Sequence[Candidate], number: int, free: Mapping[tuple[object, ...], list[Candidate]]
    ) -> None:
        """Make so many honeypots with counts like those of `models`, which are sorted by count: evenly
        spread over them, so that small and large ones are alike in number."""
        if number <= 0 or not models:
            return
        start = self._number(f"start:{models[0].zipcode}:{len(self.members)}") / 2**64
        for place in range(number):
            model = models[int((place + start) * len(models) / number)]
            near = (*free.get((*_kind(model), model.geographic_region), ()), *free.get(_kind(model), ()))
            one = next((one for one in near if one.zipcode not in self.members), None)
            if one is not None:
                listings = self._near(model.expected_listings, f"count:{one.zipcode}")
                listings = max(self.settings.min_zipcode_listings, min(listings, self.largest))
                population = model.population and self._near(model.population, f"population:{one.zipcode}")
                self.members[one.zipcode] = self._false(one, listings, population, model.base_weight)

    def _false(self, now: Candidate, listings: int, population: int | None, base_weight: float) -> Candidate:
        """The weight follows from these three, so all of them are false: else it would be drawn less
        often."""
        return replace(now, expected_listings=listings, population=population, base_weight=base_weight)

    def _rounded(self, numbers: Mapping[Kind, float], label: str) -> dict[Kind, int]:
        """Round each up or down so that their sum stays what it is, and chance decides which."""
        so_far = self._number(label) / 2**64
        rounded = {}
        for kind in sorted(numbers):
            rounded[kind] = int(so_far + numbers[kind]) - int(so_far)
            so_far += numbers[kind]
        return rounded

    def _near(self, number: int, label: str) -> int:
        width = number // DEVIATION_DIVISOR
        return number - width + self._below(2 * width + 1, label)

    def _below(self, end: int, label: str) -> int:
        """Return an integer from 0 to `end` - 1."""
        return self._number(label) * end >> 64

    def _number(self, label: str) -> int:
        """Return 64 bits."""
        return int.from_bytes(hmac.digest(self.key, label.encode(), "sha256")[:8], "big")


def _kind(one: Candidate) -> Kind:
    """A city or county that is missing where others have one would show."""
    return one.state, str(one.market_tier), bool(one.city), bool(one.county)


def _grouped(candidates: Iterable[Candidate], key: Callable[[Candidate], Key]) -> dict[Key, list[Candidate]]:
    """Group by `key`, each group sorted by listings."""
    groups: dict[Key, list[Candidate]] = defaultdict(list)
    for one in sorted(candidates, key=lambda one: (one.expected_listings, one.zipcode)):
        groups[key(one)].append(one)
    return groups
