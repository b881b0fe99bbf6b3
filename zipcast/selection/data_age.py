"""Computes for how long the imported zipcodes can fill epochs without data that is too old. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from zipcast.selection.model import Candidate, SelectionSettings

WARNING = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class DataGroup:
    """Eligible zipcodes whose data was collected at the same instant."""

    last_scraped_at: datetime
    zipcodes: int
    listings: int


@dataclass(frozen=True, slots=True)
class DataOutlook:
    """How long the data lasts. `zipcodes` are eligible apart from their age and cooldown; the data of
    `too_old` of them is older than `max_age`. The newest data was collected at `newest_at`. The others fill
    epochs until `enough_until` (None if they already do not); `epochs_left` epochs start before that."""

    zipcodes: int
    too_old: int
    newest_at: datetime | None
    enough_until: datetime | None
    epochs_left: int
    max_age: timedelta

    def fault(self, now: datetime, relaxed_age_days: int = 0) -> str | None:
        """Return what is wrong with the data and what to do, or None. `relaxed_age_days` is the value of the
        running epoch."""
        if not self.zipcodes:
            return "no zipcode is eligible: import data of the states in STATE_PRIORITIES"
        if relaxed_age_days:
            return f"the epoch uses data up to {relaxed_age_days} days older than the limit: import new data"
        if self.enough_until is None:
            return f"{self.too_old} of {self.zipcodes} eligible zipcodes have old data: import new data"
        if self.enough_until - now <= min(WARNING, self.max_age / 2):
            hours = (self.enough_until - now) // timedelta(hours=1)
            return (
                f"the data is new enough for {hours} more hours, {self.epochs_left} epochs: import new data"
            )
        return None

    def note(self, now: datetime) -> str:
        """Return a one-line summary of the outlook."""
        age = "none" if self.newest_at is None else f"{max(0, (now - self.newest_at).days)} days old"
        return (
            f"{self.zipcodes} eligible zipcodes, {self.too_old} of them with old data; newest data: {age}; "
            f"enough for {self.epochs_left} epochs"
        )


def count_too_old(candidates: Iterable[Candidate], settings: SelectionSettings, now: datetime) -> int:
    """Return how many candidates are not eligible as of `now` only because their data is too old."""
    return sum(
        settings.may_be_drawn(one) and now - one.last_scraped_at > settings.max_data_age for one in candidates
    )


def outlook(
    groups: Sequence[DataGroup], settings: SelectionSettings, epoch_length: timedelta, now: datetime
) -> DataOutlook:
    """Return how long the data lasts, as of `now`.

    To fill an epoch, the pool needs the listings of this epoch and of all epochs whose zipcodes are in
    cooldown. A pool that never has so many listings needs all of its zipcodes."""
    newest_first = sorted(groups, key=lambda one: one.last_scraped_at, reverse=True)
    resting = -(-settings.cooldown // epoch_length) if settings.cooldown else 0
    total = sum(one.listings for one in groups)
    needed = min((1 + resting) * settings.highest_total, total)
    sums = list(accumulate(one.listings for one in newest_first))
    # Find the first group at which the newer data is enough. When this group becomes too old, the groups that
    # are newer than it are not enough.
    place = bisect_left(sums, needed)
    until = newest_first[place].last_scraped_at + settings.max_data_age if total else None
    if until is not None and until < now:
        until = None
    return DataOutlook(
        zipcodes=sum(one.zipcodes for one in groups),
        too_old=sum(one.zipcodes for one in groups if now - one.last_scraped_at > settings.max_data_age),
        newest_at=newest_first[0].last_scraped_at if groups else None,
        enough_until=until,
        epochs_left=0 if until is None else (until - now) // epoch_length,
        max_age=settings.max_data_age,
    )
