"""Decoys among the zipcodes of an epoch: a pure function, as the selection is.

Owns which of the chosen zipcodes gives its place to a decoy, which zipcode that is, and the count published
for it. Does not own the selection itself, or when decoys are revealed. The rules are those of
docs/protocol.md, "Honeypots"; every number here is part of the protocol.

A decoy is the body double of a zipcode that was chosen: of its state, tier and region, and of its count but
for two percent. All that is published was settled before it was settled whether there are decoys, and each
zipcode that could give its place is as likely to. So nothing outwardly tells decoys apart.
"""

import hmac
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter

from zipcast.calendar import as_utc
from zipcast.selection import NEWEST, Candidate, Selection, SelectionSettings, Version, select

# A published count differs from the one it stands for by up to this part of it: the same count again would
# name the zipcode it was taken from to whoever has kept earlier epochs.
DEVIATION_DIVISOR = 50


@dataclass(frozen=True, slots=True)
class HoneypotSettings:
    """What the operator decides. ValueError names the field and its rule.

    `probability`, from 0 (never) to 1: of an epoch with decoys. Zipcodes with fewer listings than `threshold`
    may be decoys; one that was rests for `rest`."""

    probability: float = 0.3
    threshold: int = 50
    rest: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError("probability must be between 0 and 1")
        if self.threshold < 1:
            raise ValueError("threshold must be at least 1")
        if self.rest < timedelta(0):
            raise ValueError("rest must not be negative")


@dataclass(frozen=True, slots=True)
class Honeypot:
    """A decoy of an epoch: what it really has, and what was published."""

    zipcode: str
    real_listings: int
    published_listings: int


@dataclass(frozen=True, slots=True)
class Choice:
    """All that an epoch's inputs and draw key decide.

    `zipcodes` are those to publish, with the counts to publish, by zipcode. `selection` is what was chosen
    before decoys took any place. `decoys` are the zipcodes that could have been decoys, by zipcode."""

    zipcodes: tuple[Candidate, ...]
    honeypots: tuple[Honeypot, ...]
    selection: Selection
    decoys: tuple[Candidate, ...]

    @property
    def published_total(self) -> int:
        """The sum of the published counts."""
        return sum(one.expected_listings for one in self.zipcodes)

    @property
    def true_total(self) -> int:
        """The sum of the real counts of the same zipcodes."""
        surplus = sum(one.published_listings - one.real_listings for one in self.honeypots)
        return self.published_total - surplus


def choose(
    candidates: Iterable[Candidate],
    settings: SelectionSettings,
    honeypots: HoneypotSettings | None,
    resting: Collection[str],
    draw_key: bytes,
    start_at: datetime,
    *,
    version: Version = NEWEST,
) -> Choice:
    """The zipcodes of the epoch that starts at `start_at`, decoys among them, the same for any input order.

    `resting`: zipcodes that were decoys too recently. `honeypots` None: none are to be hidden. Published
    total and true total both lie in tolerance. Raises what `select` raises, and ValueError for a threshold
    that is not below the fewest listings of a zipcode to assign."""
    candidates = tuple(candidates)
    if honeypots is None or honeypots.probability == 0 or version < Version.WITH_DECOYS:
        return _choice(select(candidates, settings, draw_key, start_at, version=version), {}, ())
    if honeypots.threshold >= settings.min_zipcode_listings:
        raise ValueError("threshold must be below min_zipcode_listings")
    selection = select(candidates, settings, draw_key, start_at, version=version, hiding=True)
    possible = [one for one in candidates if one.expected_listings < honeypots.threshold]
    decoys = _fit_for_decoys(possible, settings, resting, as_utc(start_at))
    draw = _Draw(draw_key, settings, selection, _Doubles(decoys))
    return _choice(selection, draw.replaced() if draw.wanted(honeypots.probability) else {}, decoys)


def _choice(selection: Selection, replaced: dict[str, Candidate], decoys: tuple[Candidate, ...]) -> Choice:
    """`replaced`: by the zipcode whose place it takes, the decoy with its count to publish."""
    published = (replaced.get(one.zipcode, one) for one in selection.zipcodes)
    real = {one.zipcode: one.expected_listings for one in decoys}
    taken = sorted(replaced.values(), key=attrgetter("zipcode"))
    return Choice(
        zipcodes=tuple(sorted(published, key=attrgetter("zipcode"))),
        honeypots=tuple(Honeypot(one.zipcode, real[one.zipcode], one.expected_listings) for one in taken),
        selection=selection,
        decoys=decoys,
    )


def _fit_for_decoys(
    possible: Sequence[Candidate], settings: SelectionSettings, resting: Collection[str], start_at: datetime
) -> tuple[Candidate, ...]:
    """Those that rest neither as decoys nor as zipcodes once assigned; cooldown is not relaxed for them."""
    states = {state for state, _ in settings.state_priorities}
    fit = [
        one
        for one in possible
        if one.state in states
        and one.zipcode not in resting
        and start_at - one.last_scraped_at <= settings.max_data_age
        and (one.last_assigned_at is None or start_at - one.last_assigned_at >= settings.cooldown)
    ]
    return tuple(sorted(fit, key=attrgetter("zipcode")))


class _Doubles:
    """The decoys that may stand for a zipcode: of its state and tier, and of its region if there are any."""

    def __init__(self, decoys: Sequence[Candidate]) -> None:
        self._near: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
        self._far: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
        for one in decoys:
            self._near[*_kind(one), one.geographic_region].append(one)
            self._far[_kind(one)].append(one)

    def of(self, template: Candidate, taken: Collection[str] = ()) -> list[Candidate]:
        """By zipcode."""
        near = self._near.get((*_kind(template), template.geographic_region), [])
        free = [one for one in near if one.zipcode not in taken]
        return free or [one for one in self._far.get(_kind(template), []) if one.zipcode not in taken]


def _kind(one: Candidate) -> tuple[object, ...]:
    """A city or county that is missing where the others have one would show."""
    return one.state, one.market_tier, bool(one.city), bool(one.county)


@dataclass(frozen=True, slots=True)
class _Draw:
    """The draw of one epoch's decoys: HMACs of the draw key, in integers."""

    draw_key: bytes
    settings: SelectionSettings
    selection: Selection
    doubles: _Doubles

    def wanted(self, probability: float) -> bool:
        """Whether the epoch is to have decoys."""
        return ((self._number("honeypots") >> 11) + 0.5) / 2**53 < probability

    def replaced(self) -> dict[str, Candidate]:
        """By the zipcode whose place it takes, each decoy with the count to publish."""
        found: dict[str, Candidate] = {}
        units = self._units()
        total = self.selection.total_listings
        for template in units[self._below(len(units), "unit")] if units else ():
            taken = {one.zipcode for one in found.values()}
            doubles = self.doubles.of(template, taken)
            if doubles:
                double = doubles[self._below(len(doubles), f"decoy:{template.zipcode}")]
                count = self._count(template.expected_listings, double.zipcode, total)
                found[template.zipcode] = replace(double, expected_listings=count)
                total += count - template.expected_listings
        return found

    def _units(self) -> list[tuple[Candidate, ...]]:
        """The zipcodes that could give their place, each in one unit: two by two in an order by chance, and
        one by one those of a pair too large for the band. One unit is as likely as another, so each
        zipcode is as likely as another, whether large or small."""
        free = [one for one in self.selection.zipcodes if self._fits(one) and self.doubles.of(one)]
        free.sort(key=lambda one: (self._number(f"double:{one.zipcode}"), one.zipcode))
        units: list[tuple[Candidate, ...]] = []
        for place in range(0, len(free), 2):
            pair = tuple(free[place : place + 2])
            units += [pair] if self._fits(*pair) else [(one,) for one in pair]
        return units

    def _fits(self, *templates: Candidate) -> bool:
        """Whether the others reach the lowest total without them, whatever their doubles really have."""
        without = self.selection.total_listings - sum(one.expected_listings for one in templates)
        return without >= self.settings.lowest_total

    def _count(self, listings: int, zipcode: str, total: int) -> int:
        """A count near `listings` that keeps limits and `total` within bounds."""
        width = listings // DEVIATION_DIVISOR
        deviation = self._below(2 * width + 1, f"count:{zipcode}") - width
        counts = range(self.settings.min_zipcode_listings, self.settings.max_zipcode_listings + 1)
        for way in (deviation, -deviation):
            if listings + way in counts and total + way <= self.settings.highest_total:
                return listings + way
        return listings

    def _below(self, end: int, label: str) -> int:
        """An integer from 0 to `end` - 1."""
        return self._number(label) * end >> 64

    def _number(self, label: str) -> int:
        """64 bits."""
        return int.from_bytes(hmac.digest(self.draw_key, label.encode(), "sha256")[:8], "big")
