"""When epochs start and end, and how they are named.

Owns: the epoch id, the half-open interval behind it, the calendar that cuts each UTC
day into equal epochs, and the durations that depend on the length of an epoch.
Does not own: the clock (every instant is an argument), what happens in an epoch, or
how clients hear of it. The rules are those of docs/protocol.md, "Epoch ids"; all
arithmetic is on integers, so that two processes never disagree about a boundary.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SECONDS_PER_DAY = 86_400
FULL_EPOCH_SECONDS = 14_400
"""Epoch length, 4 h, at which durations given per hour or day apply as they are."""
LONGEST_PREPARATION_LEAD = timedelta(seconds=300)

_EPOCH_ID = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2})-([0-9]{2})-([0-9]{2})")


class MalformedEpochIdError(ValueError):
    """The text is no epoch id, or names no epoch of the calendar asked."""


def as_utc(instant: datetime) -> datetime:
    """The same instant in UTC. ValueError for a naive datetime, which names no instant."""
    if instant.tzinfo is UTC:  # nearly always, and asked of each of 42,000 zipcodes
        return instant
    if instant.utcoffset() is None:
        raise ValueError(f"a datetime needs a time zone, got the naive {instant.isoformat()}")
    return instant.astimezone(UTC)


def format_epoch_id(start_at: datetime) -> str:
    """The id of the epoch that starts at `start_at`: `YYYY-MM-DDTHH-MM-SS` in UTC.

    ValueError for a naive datetime and for one between two whole seconds.
    """
    start_at = as_utc(start_at)
    if start_at.microsecond:
        raise ValueError(f"an epoch starts on a whole second, got {start_at.isoformat()}")
    return start_at.replace(tzinfo=None).isoformat().replace(":", "-")


def parse_epoch_id(text: str) -> datetime:
    """The UTC start named by an epoch id; the inverse of `format_epoch_id`.

    MalformedEpochIdError for anything but ASCII digits in that shape and a real date and
    time. Ids come from strangers and go into object keys and policies: there is one
    spelling per instant.
    """
    match = _EPOCH_ID.fullmatch(text)
    if match is None:
        raise MalformedEpochIdError("an epoch id has the form YYYY-MM-DDTHH-MM-SS")
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise MalformedEpochIdError("an epoch id names a real date and time") from error


@dataclass(frozen=True, slots=True, order=True)
class EpochInterval:
    """The time of one epoch, `[start_at, end_at)`, kept in UTC and ordered by start.

    ValueError for naive datetimes and unless the start lies before the end.
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
        """The id of this epoch."""
        return format_epoch_id(self.start_at)

    def contains(self, instant: datetime) -> bool:
        """Return whether the epoch runs at `instant`: at its start it does, at its end no longer."""
        return self.start_at <= as_utc(instant) < self.end_at


@dataclass(frozen=True, slots=True)
class EpochCalendar:
    """Epochs of `epoch_seconds` each, counted from midnight UTC of every day.

    `epoch_seconds` is a divisor of 86,400, or ValueError: only then does every day begin
    with an epoch, and an id can be read without knowing any other epoch.
    """

    epoch_seconds: int

    def __post_init__(self) -> None:
        _require_divisor_of_a_day(self.epoch_seconds)

    def at(self, instant: datetime) -> EpochInterval:
        """The epoch that contains `instant`. ValueError for a naive datetime."""
        instant = as_utc(instant)
        into_day = instant.hour * 3600 + instant.minute * 60 + instant.second
        into_epoch = timedelta(seconds=into_day % self.epoch_seconds, microseconds=instant.microsecond)
        start_at = instant - into_epoch
        return EpochInterval(start_at, start_at + timedelta(seconds=self.epoch_seconds))

    def starting(self, epoch_id: str) -> EpochInterval:
        """The epoch named `epoch_id`.

        MalformedEpochIdError for a malformed id, and for a well-formed one at which no
        epoch of this calendar starts.
        """
        start_at = parse_epoch_id(epoch_id)
        try:
            interval = self.at(start_at)
        except OverflowError as error:  # its end lies beyond the year 9999
            raise MalformedEpochIdError("an epoch id names a real date and time") from error
        if interval.start_at != start_at:
            raise MalformedEpochIdError(f"no epoch of {self.epoch_seconds} seconds starts at {epoch_id}")
        return interval

    def after(self, interval: EpochInterval) -> EpochInterval:
        """The epoch that runs when `interval` ends; for an epoch of this calendar, the next one."""
        return self.at(interval.end_at)

    def first_from(self, instant: datetime) -> EpochInterval:
        """The first epoch that starts at `instant` or after it."""
        containing = self.at(instant)
        return containing if containing.start_at == as_utc(instant) else self.after(containing)

    def before(self, interval: EpochInterval) -> EpochInterval:
        """The epoch that runs just before `interval` starts."""
        return self.at(interval.start_at - timedelta.resolution)


def preparation_lead(epoch_seconds: int) -> timedelta:
    """Return how long before its start an epoch is prepared: 300 s, or half an epoch if that is less.

    ValueError unless `epoch_seconds` is a divisor of 86,400.
    """
    _require_divisor_of_a_day(epoch_seconds)
    return min(LONGEST_PREPARATION_LEAD, timedelta(seconds=epoch_seconds) // 2)


def scaled(duration: timedelta, epoch_seconds: int) -> timedelta:
    """`duration`, meant for epochs of 4 h, for epochs of `epoch_seconds`.

    Shorter epochs shrink it in proportion, so that it spans as many epochs as before;
    longer ones leave it alone. Rounded down to a microsecond. ValueError unless
    `epoch_seconds` is a divisor of 86,400.
    """
    _require_divisor_of_a_day(epoch_seconds)
    if epoch_seconds >= FULL_EPOCH_SECONDS:
        return duration
    return duration * epoch_seconds // FULL_EPOCH_SECONDS


def _require_divisor_of_a_day(epoch_seconds: int) -> None:
    if epoch_seconds < 1 or SECONDS_PER_DAY % epoch_seconds:
        raise ValueError(f"epoch_seconds must be a divisor of 86400, got {epoch_seconds}")
