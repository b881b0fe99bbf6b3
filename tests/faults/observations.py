"""Contains the observations of a run of the fault driver, as plain data that `invariants` judges."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zipcast.protocol.calendar import EpochCalendar
from zipcast.protocol.envelope import Trust, UnverifiedEnvelope


@dataclass(frozen=True, slots=True)
class Arrival:
    """An epoch as a client received it. `sequence` is the stream's, or None if the client requested it."""

    envelope: UnverifiedEnvelope
    at: datetime
    sequence: int | None

    @property
    def epoch_id(self) -> str:
        return self.envelope.epoch_id


@dataclass(frozen=True, slots=True)
class Session:
    """One NATS connection. Everything that is stored after `subscribed_at` must reach it until `lost_at`,
    which is None if the connection was open at the end of the run."""

    subscribed_at: datetime
    lost_at: datetime | None
    heard: Sequence[Arrival]
    asked: Sequence[Arrival]


@dataclass(frozen=True, slots=True)
class Subscriber:
    name: str
    sessions: Sequence[Session]

    @property
    def heard(self) -> list[Arrival]:
        return [arrival for session in self.sessions for arrival in session.heard]

    @property
    def asked(self) -> list[Arrival]:
        return [arrival for session in self.sessions for arrival in session.asked]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The reply to one GET of `current`. Without a reply, `status` is 0. `error` is the error of the reply,
    or the reason why there was none."""

    asked_at: datetime
    answered_at: datetime
    status: int
    error: str
    envelope: UnverifiedEnvelope | None


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One message of the stream. `stored_at` is the time of nats-server's clock."""

    sequence: int
    stored_at: datetime
    envelope: UnverifiedEnvelope


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A row of `epochs`, with all signed messages stored for it, and those of them in force."""

    epoch_id: str
    status: str
    stream_sequence: int | None
    stored: Sequence[UnverifiedEnvelope]
    in_force: UnverifiedEnvelope | None


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything that was observed. The epochs from `first_id` to `last_id` are judged, although more may
    have been observed. `sdk` has what one client of the SDK returned."""

    calendar: EpochCalendar
    trust: Trust
    first_id: str
    last_id: str
    subscribers: Sequence[Subscriber]
    sdk: Sequence[Arrival]
    answers: Sequence[HttpAnswer]
    stream: Sequence[StreamEntry]
    record: Sequence[RecordRow]
    sealed: Sequence[UnverifiedEnvelope] = ()
    """The content of the sealed epochs that clients can open."""

    @property
    def epoch_ids(self) -> list[str]:
        """The epochs that the calendar requires, in order."""
        interval, found = self.calendar.starting(self.first_id), []
        while interval.epoch_id <= self.last_id:
            found.append(interval.epoch_id)
            interval = self.calendar.after(interval)
        return found

    @property
    def judged_stream(self) -> list[StreamEntry]:
        return [entry for entry in self.stream if self.is_judged(entry.envelope.epoch_id)]

    def is_judged(self, epoch_id: str) -> bool:
        return self.first_id <= epoch_id <= self.last_id

    def start_of(self, epoch_id: str) -> datetime:
        return self.calendar.starting(epoch_id).start_at

    def lateness(self, entry: StreamEntry) -> timedelta:
        return entry.stored_at - self.start_of(entry.envelope.epoch_id)
