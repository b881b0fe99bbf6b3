"""Computes how long an import can still fill epochs with data that is not too old. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from zipcast.selection.model import Candidate, SelectionSettings

WARNING = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class DataGroup:
    """Zipcodes that may be drawn, whose data was collected at the same instant."""

    last_scraped_at: datetime
    zipcodes: int
    listings: int


@dataclass(frozen=True, slots=True)
class DataOutlook:
    """`zipcodes` may be drawn, whatever their age and cooldown; `too_old` of them have data older than the
    settings allow. `newest_at` is when the newest data was collected. `enough_until` is when the rest no
    longer fill epochs, None if they do not even now; `epochs_left` start before that. `max_age` is the
    limit."""

    zipcodes: int
    too_old: int
    newest_at: datetime | None
    enough_until: datetime | None
    epochs_left: int
    max_age: timedelta

    def fault(self, now: datetime, relaxed_age_days: int = 0) -> str | None:
        """Return what is wrong with the data and what to do, or None. `relaxed_age_days`: of the running
        epoch."""
        if not self.zipcodes:
            return "nothing may be drawn: import data of the states in STATE_PRIORITIES"
        if relaxed_age_days:
            return f"the epoch has data up to {relaxed_age_days} days too old: import fresh data"
        if self.enough_until is None:
            return f"{self.too_old} of {self.zipcodes} rows are too old: import fresh data"
        if self.enough_until - now <= min(WARNING, self.max_age / 2):
            hours = (self.enough_until - now) // timedelta(hours=1)
            return (
                f"the data is fresh enough for {hours} more hours, {self.epochs_left} epochs: "
                "import fresh data"
            )
        return None

    def note(self, now: datetime) -> str:
        """Return the numbers in a line."""
        age = "none" if self.newest_at is None else f"{max(0, (now - self.newest_at).days)} days old"
        return (
            f"{self.zipcodes} rows may be drawn, {self.too_old} of them too old; newest data {age}; "
            f"enough for {self.epochs_left} epochs"
        )


def count_too_old(candidates: Iterable[Candidate], settings: SelectionSettings, now: datetime) -> int:
    """Return how many of the candidates may be drawn but for the age of their data, as of `now`."""
    return sum(
        settings.may_be_drawn(one) and now - one.last_scraped_at > settings.max_data_age for one in candidates
    )


def outlook(
    groups: Sequence[DataGroup], settings: SelectionSettings, epoch_length: timedelta, now: datetime
) -> DataOutlook:
    """Return how long the data lasts, as of `now`.

    An epoch needs the listings of itself and of all epochs whose zipcodes rest; a pool that has never so many
    needs all that it has."""
    newest_first = sorted(groups, key=lambda one: one.last_scraped_at, reverse=True)
    resting = -(-settings.cooldown // epoch_length) if settings.cooldown else 0
    total = sum(one.listings for one in groups)
    needed = min((1 + resting) * settings.highest_total, total)
    sums = list(accumulate(one.listings for one in newest_first))
    # If this group is too old, the newer ones are not enough.
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
