"""Decides at each import which zipcodes are honeypots, and which counts are published for them. Pure.

The published data of a honeypot imitates real zipcodes of its state and tier: its first count, each later
change of the count, and its disappearance at an import. Honeypots therefore have the same kind of history as
real zipcodes. Only the operator can compute any of this, because the key is secret. honeypots.py draws
honeypots.
"""

import hmac
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from zipcast.selection.eligibility import hideable
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import Candidate, SelectionSettings
from zipcast.selection.ranking import state_shares, weights

# A false count is copied from a real zipcode and changed by up to 1 / 50 of its value. An equal count would
# show from which zipcode it was copied.
DEVIATION_DIVISOR = 50
# From one import to the next, a honeypot's count changes like that of a real zipcode, chosen from this many
# with similar counts.
NEIGHBOURS = 25

Kind = tuple[str, str, bool, bool]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class PublishedPool:
    """The zipcodes of one import with their published counts, ordered by zipcode. `real_listings` has the
    real counts of the honeypots. `retired` zipcodes were honeypots and never will be again, because their
    real counts have become known."""

    candidates: tuple[Candidate, ...]
    real_listings: Mapping[str, int]
    retired: frozenset[str] = frozenset()


def publish(
    zipcodes: Iterable[Candidate],
    before: PublishedPool | None,
    settings: SelectionSettings,
    honeypots: HoneypotSettings,
    key: bytes,
) -> PublishedPool:
    """Return the published data of an import's active zipcodes.

    `zipcodes` have their real counts. `before` is the published data of the previous import, or None. `key`
    is secret and different for each import."""
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


def chances(real: Sequence[Candidate], settings: SelectionSettings) -> list[float]:
    """Return for each zipcode the probability that it is drawn next."""
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
    """Return how many honeypots are needed for each real zipcode of the same count, so that a draw has
    `honeypots.probability` honeypots on average. `real` are the eligible real zipcodes."""
    if not real:
        return 0.0
    each = chances(real, settings)
    listings = sum(chance * one.expected_listings for chance, one in zip(each, real, strict=True))
    share = min(honeypots.probability * listings / settings.target_listings, 0.5)
    return share / (1 - share)


@dataclass(slots=True)
class _Update:
    """Computes the honeypots of one import. `members` has the published data of the honeypots. `orphans` has
    the data of zipcodes that can no longer be honeypots. `models` are the real zipcodes that honeypots may
    imitate, and `models_before` those of the previous import."""

    zipcodes: Mapping[str, Candidate]
    before: PublishedPool
    settings: SelectionSettings
    honeypots: HoneypotSettings
    key: bytes
    members: dict[str, Candidate] = field(default_factory=dict)
    orphans: list[Candidate] = field(default_factory=list)
    retired: set[str] = field(default_factory=set)
    models: list[Candidate] = field(init=False)
    models_before: list[Candidate] = field(init=False)

    def __post_init__(self) -> None:
        self.retired |= self.before.retired
        self.models = [one for one in self.zipcodes.values() if self._may_be_model(one)]
        self.models_before = [
            one
            for one in self.before.candidates
            if self._may_be_model(one) and one.zipcode not in self.before.real_listings
        ]

    def _may_be_model(self, one: Candidate) -> bool:
        """Return whether honeypots may imitate the zipcode. That includes zipcodes too small or too large to
        be drawn, since real zipcodes also cross these limits and come back."""
        return one.expected_listings >= self.honeypots.threshold and one.state in dict(
            self.settings.state_priorities
        )

    def keep(self) -> None:
        """Keep the published data of each honeypot, or change it as a real zipcode of its size changed."""
        models = _grouped(self.models_before, lambda one: (one.state, str(one.market_tier)))
        published = {one.zipcode: one for one in self.before.candidates}
        for zipcode in sorted(self.before.real_listings):
            old, now = published[zipcode], self.zipcodes.get(zipcode)
            changed = self._changed(old, models.get((old.state, str(old.market_tier)), []))
            if now is not None and now.expected_listings >= self.honeypots.threshold:
                self.retired.add(zipcode)
                now = None
            if changed is None:
                continue
            if now is None:
                self.orphans.append(changed)
            else:
                self.members[zipcode] = self._false(now, changed)

    def _changed(self, old: Candidate, models: Sequence[Candidate]) -> Candidate | None:
        """Return `old` with the change of a real zipcode that had nearly the same published count. Return
        None if that zipcode disappeared."""
        place = bisect_left(models, old.expected_listings, key=lambda one: one.expected_listings)
        first = max(0, min(place - NEIGHBOURS // 2, len(models) - NEIGHBOURS))
        near = models[first : first + NEIGHBOURS]
        if not near:
            return old
        model = near[self._below(len(near), f"model:{old.zipcode}")]
        new = self.zipcodes.get(model.zipcode)
        if new is None or not self._may_be_model(new):
            return None
        listings, population = old.expected_listings, old.population
        if new.expected_listings != model.expected_listings:
            grown = listings * new.expected_listings // model.expected_listings
            listings = max(self.honeypots.threshold, self._near(grown, f"count:{old.zipcode}"))
        if population and model.population and new.population:
            population = population * new.population // model.population
        return replace(old, expected_listings=listings, population=population)

    def fill(self, *, is_first: bool) -> None:
        """Add honeypots in proportion to new real zipcodes, and replace the orphans.

        Apart from that, their number is left to chance, because a correction would be visible as honeypots
        that appear late or disappear early. Honeypots are added or removed only if the number is far off, for
        example because the probability was changed."""
        known = {one.zipcode for one in self.models_before} | set(self.before.real_listings)
        fallen, free = self._fallen(), self._free(known)
        drawn = [one for one in self.zipcodes.values() if self.settings.may_be_drawn(one)]
        rate = honeypots_per_zipcode(hideable(drawn, self.settings), self.settings, self.honeypots)
        for kind, orphans in sorted(_grouped(self.orphans, _kind).items()):
            self._replace(orphans, len(orphans), fallen.get(kind, []), free)
        if not is_first:
            new = _grouped((one for one in self.models if one.zipcode not in known), _kind)
            for kind, number in self._rounded(rate, new, "appearing").items():
                self._appear(new[kind], number, free)
        wanted = rate * len(self.models)
        surplus = len(self.members) - wanted
        if surplus > wanted / 4 + 1:
            by_chance = sorted(self.members, key=lambda zipcode: self._number(f"given up:{zipcode}"))
            for zipcode in by_chance[: int(surplus)]:
                del self.members[zipcode]
        elif -surplus > wanted / 4 + 1:
            groups = _grouped(self.models, _kind)
            for kind, number in self._rounded(-surplus / len(self.models), groups, "missing").items():
                self._replace(groups[kind], number, fallen.get(kind, []), free)

    def _replace(
        self,
        models: Sequence[Candidate],
        number: int,
        fallen: list[Candidate],
        free: Mapping[tuple[object, ...], list[Candidate]],
    ) -> None:
        """Add `number` honeypots, first those of `fallen`, then other zipcodes with counts like `models`."""
        for one in fallen[:number]:
            self.members[one.zipcode] = one
        self._appear(models, number - len(fallen), free)
        del fallen[:number]

    def _fallen(self) -> dict[Kind, list[Candidate]]:
        """Return, by kind, the real zipcodes that now have few listings, with their last published counts.
        They are the preferred honeypots."""
        found = []
        for old in self.models_before:
            now = self.zipcodes.get(old.zipcode)
            if now is None or now.expected_listings >= self.honeypots.threshold:
                continue
            if self.settings.may_be_drawn(old) and old.zipcode not in self.retired:
                found.append(self._false(now, old))
        groups = _grouped(found, _kind)
        return {
            kind: sorted(group, key=lambda one: self._number(f"fallen:{one.zipcode}"))
            for kind, group in groups.items()
        }

    def _free(self, known: Collection[str]) -> dict[tuple[object, ...], list[Candidate]]:
        """Return the zipcodes that may become honeypots, in random order, grouped by kind and region, and by
        kind alone. Zipcodes far below the threshold come first: they seldom rise above it, so honeypots do
        not disappear sooner than real zipcodes."""
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
        """Make this many honeypots with counts like those of `models`, which are sorted by count. The copied
        models are evenly spread, so that honeypots have all sizes."""
        if number <= 0 or not models:
            return
        start = self._number(f"start:{models[0].zipcode}:{len(self.members)}") / 2**64
        for place in range(number):
            model = models[int((place + start) * len(models) / number)]
            near = (*free.get((*_kind(model), model.geographic_region), ()), *free.get(_kind(model), ()))
            one = next((one for one in near if one.zipcode not in self.members), None)
            if one is not None:
                near_count = self._near(model.expected_listings, f"count:{one.zipcode}")
                listings = max(self.honeypots.threshold, near_count)
                population = model.population and self._near(model.population, f"population:{one.zipcode}")
                like = replace(model, expected_listings=listings, population=population)
                self.members[one.zipcode] = self._false(one, like)

    def _false(self, now: Candidate, like: Candidate) -> Candidate:
        """Return the honeypot `now` with the published data of `like`. All three values that determine the
        weight are replaced; otherwise the honeypot would be drawn less often."""
        return replace(
            now,
            expected_listings=like.expected_listings,
            population=like.population,
            base_weight=like.base_weight,
        )

    def _rounded(
        self, rate: float, groups: Mapping[Kind, Sequence[Candidate]], label: str
    ) -> dict[Kind, int]:
        """Return `rate` times the size of each group, rounded up or down at random so that the sum is
        kept."""
        so_far = self._number(label) / 2**64
        rounded = {}
        for kind in sorted(groups):
            share = rate * len(groups[kind])
            rounded[kind] = int(so_far + share) - int(so_far)
            so_far += share
        return rounded

    def _near(self, number: int, label: str) -> int:
        width = number // DEVIATION_DIVISOR
        return number - width + self._below(2 * width + 1, label)

    def _below(self, end: int, label: str) -> int:
        """Return a pseudo-random integer from 0 to `end` - 1."""
        return self._number(label) * end >> 64

    def _number(self, label: str) -> int:
        """Return a pseudo-random 64-bit integer, derived from the key and the label."""
        return int.from_bytes(hmac.digest(self.key, label.encode(), "sha256")[:8], "big")


def _kind(one: Candidate) -> Kind:
    """Return the properties that a honeypot must share with the zipcode that it imitates. A missing city or
    county is one of them, since it would stand out among zipcodes that have one."""
    return one.state, str(one.market_tier), bool(one.city), bool(one.county)


def _grouped(candidates: Iterable[Candidate], key: Callable[[Candidate], Key]) -> dict[Key, list[Candidate]]:
    """Group by `key`, each group sorted by listings."""
    groups: dict[Key, list[Candidate]] = defaultdict(list)
    for one in sorted(candidates, key=lambda one: (one.expected_listings, one.zipcode)):
        groups[key(one)].append(one)
    return groups
