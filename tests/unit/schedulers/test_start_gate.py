"""Tests waiting for an epoch's start: it is never early, and stays right if the wall clock is set
meanwhile."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import TracebackType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from schedulers.epochs.start_gate import (
    LAST_QUESTION,
    MAX_NAP_SECONDS,
    STAND_BACK_SECONDS,
    DatabaseClock,
    StartGate,
    sleep_until,
)
from tests.support.fakes import START_AT, FakeClock
from zipcast.protocol.calendar import EpochCalendar

SECOND = timedelta(seconds=1)


class FakeDatabase:
    """A PostgreSQL that only tells the time. It is `offset` ahead of the machine's true time."""

    def __init__(self, clock: FakeClock, offset: timedelta = timedelta(0)) -> None:
        self._clock, self._offset = clock, offset
        self._begun = clock.wall
        self._taken, self._asked = clock.monotonic(), False
        self.longest_held = 0.0
        """How long one connection was kept, in seconds."""

    def now(self) -> datetime:
        return self._begun + self._clock.elapsed + self._offset

    def connect(self) -> "FakeDatabase":
        return self

    async def __aenter__(self) -> "FakeDatabase":
        self._taken = self._clock.monotonic()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.longest_held = max(self.longest_held, self._clock.monotonic() - self._taken)

    async def execute(self, query: object) -> "FakeDatabase":
        if not self._asked:
            assert "clock_timestamp()" in str(query)
        self._asked = True
        return self

    def scalar_one(self) -> datetime:
        return self.now()


class AwayDatabase(FakeDatabase):
    """A PostgreSQL that is away from the start of the test on, or after its first reply."""

    def __init__(self, clock: FakeClock, offset: timedelta = timedelta(0), answers: int = 0) -> None:
        super().__init__(clock, offset)
        self._answers = answers

    def connect(self) -> "AwayDatabase":
        if self._answers <= 0:
            raise OperationalError("", {}, OSError("away"))
        self._answers -= 1
        return self


class StallingDatabase(FakeDatabase):
    """A PostgreSQL whose replies take `stalls` seconds, one after the other. Then there are no more
    replies."""

    def __init__(self, clock: FakeClock, offset: timedelta = timedelta(0), *stalls: float) -> None:
        super().__init__(clock, offset)
        self._stalls, self._told = list(stalls), clock.wall

    async def execute(self, query: object) -> "StallingDatabase":
        self._told = self.now()
        if self._stalls and (stall := self._stalls.pop(0)):
            await self._clock.sleep(stall)
        return self

    def scalar_one(self) -> datetime:
        return self._told


async def test_an_instant_that_has_passed_is_not_waited_for() -> None:
    clock = FakeClock(START_AT)
    await sleep_until(clock, START_AT)
    await sleep_until(clock, START_AT - SECOND)
    assert clock.naps == []


@settings(max_examples=50)
@given(st.timedeltas(timedelta(microseconds=1), timedelta(hours=4)))
async def test_an_undisturbed_wait_ends_at_the_instant_exactly(ahead: timedelta) -> None:
    clock = FakeClock(START_AT - ahead)
    await sleep_until(clock, START_AT)
    assert timedelta(0) <= clock.wall - START_AT <= timedelta(microseconds=5)


@settings(max_examples=100)
@given(
    st.timedeltas(timedelta(microseconds=1), timedelta(minutes=3)),
    st.lists(st.timedeltas(timedelta(seconds=-100), timedelta(seconds=100)), max_size=12),
)
async def test_however_the_wall_clock_is_set_it_is_never_early_and_notices_within_one_nap(
    ahead: timedelta, steps: list[timedelta]
) -> None:
    clock = FakeClock(START_AT - ahead, steps)
    await sleep_until(clock, START_AT)
    assert clock.wall >= START_AT
    assert max(clock.naps) <= MAX_NAP_SECONDS


async def test_a_wall_clock_set_back_an_hour_is_waited_for_again() -> None:
    clock = FakeClock(START_AT - timedelta(seconds=5), [timedelta(hours=-1)])
    await sleep_until(clock, START_AT)
    assert clock.elapsed >= timedelta(hours=1)
    assert clock.wall >= START_AT


async def test_a_wall_clock_set_forward_ends_the_wait_at_the_next_look() -> None:
    clock = FakeClock(START_AT - timedelta(hours=1), [timedelta(0), timedelta(hours=2)])
    await sleep_until(clock, START_AT)
    assert clock.elapsed == 2 * timedelta(seconds=MAX_NAP_SECONDS)


async def test_a_step_back_during_the_last_exact_sleep_is_waited_for_too() -> None:
    clock = FakeClock(START_AT - timedelta(milliseconds=400), [timedelta(milliseconds=-300)])
    await sleep_until(clock, START_AT)
    assert clock.elapsed == timedelta(milliseconds=700)


async def test_the_gate_opens_at_the_start_when_both_clocks_agree() -> None:
    clock = FakeClock(START_AT - timedelta(minutes=5))
    await StartGate(FakeDatabase(clock), clock).wait(START_AT)
    assert timedelta(0) <= clock.wall - START_AT <= timedelta(milliseconds=1)


@settings(max_examples=50)
@given(
    st.timedeltas(timedelta(seconds=-30), timedelta(seconds=30)),
    st.lists(st.timedeltas(timedelta(seconds=-20), timedelta(seconds=20)), max_size=8),
)
async def test_the_gate_never_opens_before_postgresqls_clock_has_passed_the_start(
    offset: timedelta, steps: list[timedelta]
) -> None:
    clock = FakeClock(START_AT - timedelta(minutes=1), steps)
    database = FakeDatabase(clock, offset)
    await StartGate(database, clock).wait(START_AT)
    assert database.now() >= START_AT
    assert clock.wall >= START_AT or any(step < timedelta(0) for step in steps)


@pytest.mark.parametrize("milliseconds", [-250, 0, 250])
async def test_a_replica_within_a_quarter_second_publishes_at_once(milliseconds: int) -> None:
    clock = FakeClock(START_AT - timedelta(minutes=1))
    database = FakeDatabase(clock, timedelta(milliseconds=milliseconds))
    await StartGate(database, clock).wait(START_AT)
    late = max(database.now(), clock.wall) - START_AT
    assert late <= timedelta(milliseconds=251)
    assert STAND_BACK_SECONDS not in clock.naps


@pytest.mark.parametrize("milliseconds", [-30_000, -251, 251, 30_000])
async def test_a_replica_with_a_wrong_clock_leaves_the_start_to_the_others(milliseconds: int) -> None:
    clock = FakeClock(START_AT - timedelta(minutes=1))
    database = FakeDatabase(clock, timedelta(milliseconds=milliseconds))
    await StartGate(database, clock).wait(START_AT)
    assert database.now() >= START_AT + timedelta(seconds=STAND_BACK_SECONDS)


@pytest.mark.parametrize("hours", [1, 3])
async def test_a_clock_that_is_hours_ahead_opens_nothing_early_and_holds_no_connection_so_long(
    hours: int,
) -> None:
    clock = FakeClock(START_AT - timedelta(minutes=1))
    database = FakeDatabase(clock, -timedelta(hours=hours))
    await StartGate(database, clock).wait(START_AT)
    after = database.now() - START_AT
    assert timedelta(seconds=STAND_BACK_SECONDS) <= after <= timedelta(seconds=STAND_BACK_SECONDS + 1)
    assert database.longest_held < 10


@pytest.mark.parametrize("hours", [1, 3, 30])
async def test_a_clock_that_is_hours_behind_waits_for_itself_too(hours: int) -> None:
    clock = FakeClock(START_AT - timedelta(minutes=1))
    database = FakeDatabase(clock, timedelta(hours=hours))
    await StartGate(database, clock).wait(START_AT)
    assert clock.wall >= START_AT
    assert database.now() - START_AT >= timedelta(hours=hours) - SECOND


@pytest.mark.parametrize("hours", [-48, -5, -1, 1, 5, 48])
@pytest.mark.parametrize("nap", range(4))
async def test_a_leap_of_hours_in_any_nap_is_never_early_and_late_only_until_the_next_look(
    nap: int, hours: int
) -> None:
    """A suspended machine also sees a leap forwards, because its monotonic clock stood still."""
    steps = [timedelta(0)] * nap + [timedelta(hours=hours)]
    clock = FakeClock(START_AT - timedelta(seconds=35), steps)
    await sleep_until(clock, START_AT)
    assert clock.wall >= START_AT
    if hours > 0:
        assert clock.elapsed <= timedelta(seconds=35)
    else:
        assert clock.elapsed >= timedelta(hours=-hours)


@pytest.mark.parametrize("hours", [1, 6])
async def test_a_machine_suspended_over_the_start_publishes_when_it_wakes(hours: int) -> None:
    clock = FakeClock(START_AT - timedelta(minutes=1), [timedelta(0)] * 2 + [timedelta(hours=hours)])
    database = SuspendedWith(clock)
    await StartGate(database, clock).wait(START_AT)
    assert database.now() == clock.wall
    assert clock.elapsed <= timedelta(minutes=1)


class SuspendedWith(FakeDatabase):
    """A PostgreSQL on a machine that was not suspended. Its clock is right when ours is."""

    def now(self) -> datetime:
        return self._clock.wall


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a local time zone with summer and winter time."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("change", [datetime(2026, 11, 1, tzinfo=UTC), datetime(2027, 3, 14, tzinfo=UTC)])
@pytest.mark.usefixtures("new_york")
async def test_where_local_time_is_changed_epochs_are_as_long_as_ever(change: datetime) -> None:
    calendar = EpochCalendar(4 * 3600)
    clock = FakeClock(change)
    interval = calendar.at(change)
    for _ in range(12):
        following = calendar.after(interval)
        await sleep_until(clock, following.start_at)
        assert following.start_at - interval.start_at == timedelta(hours=4)
        assert calendar.starting(following.epoch_id) == following
        interval = following
    assert clock.elapsed == timedelta(hours=48)


@settings(max_examples=50)
@given(
    st.timedeltas(timedelta(seconds=-30), timedelta(seconds=30)),
    st.timedeltas(timedelta(microseconds=1), timedelta(minutes=10)),
)
async def test_without_postgresql_its_last_answer_opens_the_gate_and_never_early(
    offset: timedelta, ago: timedelta
) -> None:
    clock = FakeClock(START_AT - timedelta(minutes=1) - ago)
    database = AwayDatabase(clock, offset)
    gate = StartGate(database, clock)
    await gate.ask(database)  # type: ignore[arg-type]
    await clock.sleep(ago.total_seconds())
    await gate.wait(START_AT)
    assert database.now() >= START_AT
    # A thousandth is subtracted for drift. With a wrong clock, other schedulers must publish.
    most = timedelta(seconds=STAND_BACK_SECONDS + 0.5) + (timedelta(minutes=2) + ago) * 0.0011
    assert max(database.now(), clock.wall) - START_AT <= most + abs(offset)


async def test_at_the_start_itself_postgresql_is_not_asked() -> None:
    clock = FakeClock(START_AT - timedelta(minutes=1))
    database = FakeDatabase(clock)
    gate, asked = StartGate(database, clock), []
    answer = database.now
    database.now = lambda: asked.append(clock.wall) or answer()  # type: ignore[method-assign]
    await gate.wait(START_AT)
    assert 2 <= len(asked) <= 3
    assert START_AT - 2 * SECOND <= max(asked) <= START_AT - LAST_QUESTION + timedelta(milliseconds=1)
    assert timedelta(0) <= answer() - START_AT <= timedelta(milliseconds=1)


async def test_an_answer_just_before_the_start_is_enough() -> None:
    clock = FakeClock(START_AT - timedelta(minutes=1))
    database = AwayDatabase(clock, answers=1)
    await StartGate(database, clock).wait(START_AT)
    assert timedelta(0) <= database.now() - START_AT <= timedelta(milliseconds=10)


async def test_without_any_answer_of_postgresql_the_gate_stays_shut() -> None:
    clock = FakeClock(START_AT - timedelta(minutes=1))
    with pytest.raises(OperationalError):
        await StartGate(AwayDatabase(clock), clock).wait(START_AT)


async def test_an_answer_that_was_long_on_its_way_is_no_difference_of_the_clocks() -> None:
    clock = FakeClock(START_AT - timedelta(seconds=10))
    database = StallingDatabase(clock, timedelta(0), 0, 0.9)
    gate = StartGate(database, clock)
    await gate.ask(database)  # type: ignore[arg-type]
    assert await gate.near(START_AT) == timedelta(0)
    await gate.open(START_AT, timedelta(0))
    assert timedelta(0) <= database.now() - START_AT <= timedelta(milliseconds=20)


@settings(max_examples=50)
@given(
    st.timedeltas(timedelta(milliseconds=-250), timedelta(milliseconds=250)),
    st.timedeltas(timedelta(0), timedelta(minutes=1)),
    st.lists(st.floats(0.001, 30), max_size=6),
)
async def test_answers_that_come_late_make_no_epoch_early_or_late(
    offset: timedelta, ago: timedelta, stalls: list[float]
) -> None:
    clock = FakeClock(START_AT - timedelta(minutes=6) - ago)
    database = StallingDatabase(clock, offset, 0, *stalls)
    gate = StartGate(database, clock)
    await gate.ask(database)  # type: ignore[arg-type]
    for _ in stalls:
        await gate.ask(database)  # type: ignore[arg-type]
    await clock.sleep((START_AT - timedelta(minutes=1) - clock.wall).total_seconds())
    await gate.wait(START_AT)
    assert database.now() >= START_AT
    assert database.now() - START_AT <= abs(offset) + timedelta(milliseconds=10)


def test_an_answer_to_an_earlier_question_takes_nothing_back() -> None:
    clock = FakeClock(START_AT)
    record, asked = DatabaseClock(clock), clock.monotonic()
    clock.elapsed += 5 * SECOND
    record.note(START_AT + 5 * SECOND, clock.monotonic())
    clock.elapsed += SECOND
    record.note(START_AT, asked)
    assert record.at_least() >= START_AT + 5.9 * SECOND


def test_a_clock_that_was_set_back_is_believed() -> None:
    clock = FakeClock(START_AT)
    record = DatabaseClock(clock)
    record.note(START_AT, clock.monotonic())
    clock.elapsed += 5 * SECOND
    record.note(START_AT + 4 * SECOND, clock.monotonic())
    assert record.at_least() == START_AT + 4 * SECOND
