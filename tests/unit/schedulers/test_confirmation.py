"""Tests which changes of the registry count after one reading, and which after two."""

from hypothesis import given
from hypothesis import strategies as st

from schedulers.registry.confirmation import Neurons, judge
from tests.support.fakes import neuron
from zipcast.protocol.messages.registry import RegisteredNeuron

# The rule compares hotkeys and never parses them.
NAMES = [f"hotkey-{number}" for number in range(12)]
NEURONS = [
    neuron(name, permit=permit, rao=rao) for name in NAMES for permit in (False, True) for rao in (0, 9)
]


def readings() -> st.SearchStrategy[Neurons]:
    return st.lists(st.sampled_from(NEURONS), unique_by=lambda n: n.hotkey).map(tuple)


PERCENT = st.integers(0, 100)
MAYBE = st.none() | readings()


def hotkeys(neurons: Neurons | None) -> set[str]:
    return {n.hotkey for n in neurons or ()}


def permitted(neurons: Neurons | None) -> set[str]:
    return {n.hotkey for n in neurons or () if n.validator_permit}


def without_permits(neurons: Neurons) -> list[RegisteredNeuron]:
    return [n.model_copy(update={"validator_permit": False}) for n in neurons]


@given(published=MAYBE, previous=MAYBE, read=readings(), percent=PERCENT)
def test_what_is_published_is_what_was_read_but_for_permits(published, previous, read, percent) -> None:
    verdict = judge(published, previous, read, percent)
    if verdict.neurons is not None:
        assert without_permits(verdict.neurons) == without_permits(read)
        assert permitted(verdict.neurons) <= permitted(read)
    assert verdict.is_final == (verdict.neurons == read)


@given(published=MAYBE, previous=MAYBE, read=readings(), percent=PERCENT)
def test_no_permit_is_published_that_only_one_reading_shows(published, previous, read, percent) -> None:
    verdict = judge(published, previous, read, percent)
    known = permitted(published) | permitted(previous)
    assert permitted(verdict.neurons) == (permitted(read) & known if verdict.neurons is not None else set())


def weak(published: Neurons | None, read: Neurons | None) -> set[str]:
    """Return validators that are still registered, without their permit or without any stake."""
    then = {n.hotkey: n.alpha_stake_rao for n in published or () if n.validator_permit}
    now = {n.hotkey: n for n in read or () if n.hotkey in then}
    return {name for name, n in now.items() if not n.validator_permit or n.alpha_stake_rao < then[name]}


def too_weak(published: Neurons | None, previous: Neurons | None, read: Neurons, percent: int) -> bool:
    fresh = weak(published, read) - weak(published, previous)
    return len(fresh) > 1 and len(fresh) * 100 > percent * len(permitted(published))


@given(published=MAYBE, previous=MAYBE, read=readings(), percent=PERCENT)
def test_no_more_than_the_share_vanishes_by_one_readings_word(published, previous, read, percent) -> None:
    verdict = judge(published, previous, read, percent)
    gone = hotkeys(published) - hotkeys(read)
    confirmed = gone - hotkeys(previous) if previous is not None else set()
    too_many = len(gone - confirmed) * 100 > percent * len(hotkeys(published))
    assert (verdict.neurons is None) == (too_many or too_weak(published, previous, read, percent))


@given(published=MAYBE, read=readings(), percent=PERCENT)
def test_the_same_read_twice_is_published_whole(published, read, percent) -> None:
    first = judge(published, None, read, percent)
    in_force = published if first.neurons is None else first.neurons
    second = judge(in_force, read, read, percent)
    assert second.neurons == read
    assert second.is_final


@given(published=readings(), previous=MAYBE, percent=PERCENT)
def test_what_is_in_force_already_needs_no_second_reading(published, previous, percent) -> None:
    verdict = judge(published, previous, published, percent)
    assert verdict.neurons == published
    assert verdict.is_final


def test_a_lost_permit_counts_at_once() -> None:
    published, read = (neuron("a", permit=True),), (neuron("a"),)
    assert judge(published, published, read, 20).neurons == read


def test_not_all_validators_lose_their_standing_by_one_readings_word() -> None:
    published = tuple(neuron(name, permit=True, rao=1000) for name in NAMES[:4])
    for read in (
        tuple(neuron(name, permit=False, rao=1000) for name in NAMES[:4]),
        tuple(neuron(name, permit=True, rao=499) for name in NAMES[:4]),
    ):
        refused = judge(published, published, read, 20)
        assert (refused.neurons, refused.losses, refused.is_final) == (None, 4, False)
        assert judge(published, read, read, 20).neurons == read
    slightly = tuple(neuron(name, permit=True, rao=500) for name in NAMES[:4])
    assert judge(published, published, slightly, 20).neurons == slightly


def test_exactly_the_share_may_leave_and_one_more_may_not() -> None:
    published = tuple(neuron(name) for name in NAMES[:10])
    assert judge(published, published, published[2:], 20).neurons == published[2:]
    refused = judge(published, published, published[3:], 20)
    assert (refused.neurons, refused.departures) == (None, 3)


def test_two_readings_that_lack_different_hotkeys_confirm_nothing() -> None:
    published = tuple(neuron(name) for name in NAMES)
    assert judge(published, published[:6], published[6:], 20).neurons is None
