"""Computes when epochs start and end, and their ids.

A calendar divides each UTC day into equal epochs. Each is a half-open interval, named by its start. This
module also computes durations that depend on the length of an epoch. It reads no clock: every instant is an
argument. The rules are in docs/protocol.md, "Epoch ids". All arithmetic uses integers, so that two processes
never disagree about a boundary.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SECONDS_PER_DAY = 86_400
FULL_EPOCH_SECONDS = 14_400
"""The epoch length for which settings state durations: 4 h. For shorter epochs, `scaled` shortens these
durations."""
MAX_PREPARATION_LEAD = timedelta(seconds=300)

_EPOCH_ID = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2})-([0-9]{2})-([0-9]{2})")


class MalformedEpochIdError(ValueError):
    """The text is not an epoch id, or names no epoch of the calendar."""


def as_utc(instant: datetime) -> datetime:
    """Return the instant in UTC. Raises ValueError for a naive datetime."""
    if instant.tzinfo is UTC:  # the usual case; this runs for each of 42,000 zipcodes
        return instant
    if instant.utcoffset() is None:
        raise ValueError(f"a datetime needs a time zone, got the naive {instant.isoformat()}")
    return instant.astimezone(UTC)


def format_epoch_id(start_at: datetime) -> str:
    """Return the id of the epoch that starts at `start_at`: `YYYY-MM-DDTHH-MM-SS` in UTC.

    Raises ValueError for a naive datetime and for fractions of a second.
    """
    start_at = as_utc(start_at)
    if start_at.microsecond:
        raise ValueError(f"an epoch starts on a whole second, got {start_at.isoformat()}")
    return start_at.replace(tzinfo=None).isoformat().replace(":", "-")


def parse_epoch_id(text: str) -> datetime:
    """Return the start that an epoch id names, in UTC; the inverse of `format_epoch_id`.

    Raises MalformedEpochIdError unless the text has exactly that form, in ASCII digits, and names a real date
    and time. Clients send ids, which become part of object keys and policies, so each instant has one
    spelling.
    """
    match = _EPOCH_ID.fullmatch(text)
    if match is None:
        raise MalformedEpochIdError("an epoch id must have the form YYYY-MM-DDTHH-MM-SS")
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise MalformedEpochIdError("an epoch id must name a real date and time") from error


@dataclass(frozen=True, slots=True, order=True)
class EpochInterval:
    """The time of one epoch, `[start_at, end_at)`, in UTC. Intervals are ordered by their start.

    Raises ValueError for naive datetimes, and if the start is not before the end.
    """

    start_at: datetime
    end_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "start_at", as_utc(self.start_at))
        object.__setattr__(self, "end_at", as_utc(self.end_at))
        if self.start_at >= self.end_at:
            raise ValueError("start_at must be before end_at")

    @property
    def epoch_id(self) -> str:
        """Return the id of this epoch."""
        return format_epoch_id(self.start_at)

    def contains(self, instant: datetime) -> bool:
        """Return whether `instant` lies in the epoch. The start belongs to the epoch, the end does not."""
        return self.start_at <= as_utc(instant) < self.end_at


@dataclass(frozen=True, slots=True)
class EpochCalendar:
    """Epochs of `epoch_seconds` each, counted from midnight UTC of every day.

    Raises ValueError unless `epoch_seconds` is a divisor of 86,400. Thus an epoch starts at every midnight,
    and each epoch can be computed without knowing another.
    """

    epoch_seconds: int

    def __post_init__(self) -> None:
        _require_divisor_of_a_day(self.epoch_seconds)

    def at(self, instant: datetime) -> EpochInterval:
        """Return the epoch that contains `instant`. Raises ValueError for a naive datetime."""
        instant = as_utc(instant)
        into_day = instant.hour * 3600 + instant.minute * 60 + instant.second
        into_epoch = timedelta(seconds=into_day % self.epoch_seconds, microseconds=instant.microsecond)
        start_at = instant - into_epoch
        return EpochInterval(start_at, start_at + timedelta(seconds=self.epoch_seconds))

    def starting(self, epoch_id: str) -> EpochInterval:
        """Return the epoch named `epoch_id`.

        Raises MalformedEpochIdError for a malformed id, and if no epoch of this calendar starts at that time.
        """
        start_at = parse_epoch_id(epoch_id)
        try:
            interval = self.at(start_at)
        except OverflowError as error:  # its end lies beyond the year 9999
            raise MalformedEpochIdError("an epoch id must name a real date and time") from error
        if interval.start_at != start_at:
            raise MalformedEpochIdError(f"no epoch of {self.epoch_seconds} seconds starts at {epoch_id}")
        return interval

    def after(self, interval: EpochInterval) -> EpochInterval:
        """Return the epoch that runs when `interval` ends. If `interval` belongs to this calendar, this is
        the next epoch."""
        return self.at(interval.end_at)

    def first_from(self, instant: datetime) -> EpochInterval:
        """Return the first epoch that starts at `instant` or later."""
        containing = self.at(instant)
        return containing if containing.start_at == as_utc(instant) else self.after(containing)

    def before(self, interval: EpochInterval) -> EpochInterval:
        """Return the epoch that runs just before `interval` starts."""
        return self.at(interval.start_at - timedelta.resolution)


def preparation_lead(epoch_seconds: int) -> timedelta:
    """Return how long before its start an epoch is prepared: 300 s, or half an epoch if that is less.

    Raises ValueError unless `epoch_seconds` is a divisor of 86,400.
    """
    _require_divisor_of_a_day(epoch_seconds)
    return min(MAX_PREPARATION_LEAD, timedelta(seconds=epoch_seconds) // 2)


def scaled(duration: timedelta, epoch_seconds: int) -> timedelta:
    """Return `duration`, which is stated for epochs of 4 h, adapted to epochs of `epoch_seconds`.

    For shorter epochs the duration is shortened in proportion, so that it spans as many epochs; for longer
    epochs it is not changed. The result is rounded down to a microsecond. Raises ValueError unless
    `epoch_seconds` is a divisor of 86,400.
    """
    _require_divisor_of_a_day(epoch_seconds)
    if epoch_seconds >= FULL_EPOCH_SECONDS:
        return duration
    return duration * epoch_seconds // FULL_EPOCH_SECONDS


def _require_divisor_of_a_day(epoch_seconds: int) -> None:
    if epoch_seconds < 1 or SECONDS_PER_DAY % epoch_seconds:
        raise ValueError(f"epoch_seconds must be a divisor of 86400, got {epoch_seconds}")
