"""Tests which signed epochs a client accepts."""

from datetime import datetime, timedelta

import pytest

from tests.contract.documents import epoch_message
from tests.support.fakes import MINER, SIGNER, SIGNER_HOTKEY, START_AT
from zipcast.client.received_epochs import Arrivals
from zipcast.protocol.calendar import format_epoch_id
from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope, VerifiedEpoch, seal
from zipcast.protocol.hotkeys import Keypair

LENGTH = timedelta(hours=4)


def sealed(number: int, signer: Keypair = SIGNER) -> UnverifiedEnvelope:
    """Return epoch `number` after the first one."""
    start_at = START_AT + number * LENGTH
    changes = {
        "epoch_id": format_epoch_id(start_at),
        "epoch_start": start_at,
        "epoch_end": start_at + LENGTH,
    }
    return seal(epoch_message().model_copy(update=changes), signer)


@pytest.fixture
def arrivals() -> Arrivals:
    return Arrivals(Trust(frozenset({SIGNER_HOTKEY}), "test", 46))


def accept(arrivals: Arrivals, envelope: UnverifiedEnvelope, now: datetime = START_AT) -> VerifiedEpoch:
    return arrivals.accept(envelope, "push", now=now, received_at=now)


def taken(arrivals: Arrivals) -> list[str]:
    ids = []
    while (received := arrivals.take()) is not None:
        ids.append(received.epoch.message.epoch_id)
    return ids


def test_each_epoch_is_taken_once_in_order(arrivals: Arrivals):
    for number in (0, 0, 1, 1):
        accept(arrivals, sealed(number))
    assert taken(arrivals) == [sealed(0).epoch_id, sealed(1).epoch_id]
    assert taken(arrivals) == []


def test_an_older_one_than_the_newest_is_refused_whether_that_was_taken_or_not(arrivals: Arrivals):
    accept(arrivals, sealed(1))
    with pytest.raises(EnvelopeError, match="older than one received before"):
        accept(arrivals, sealed(0))
    assert taken(arrivals) == [sealed(1).epoch_id]
    with pytest.raises(EnvelopeError, match="older than one received before"):
        accept(arrivals, sealed(0))


def test_the_first_one_may_have_ended_one_epoch_ago_and_no_longer(arrivals: Arrivals):
    latest = START_AT + 2 * LENGTH
    with pytest.raises(EnvelopeError, match="ended more than one epoch ago"):
        accept(arrivals, sealed(0), latest + timedelta.resolution)
    assert arrivals.newest is None
    assert accept(arrivals, sealed(0), latest).message.epoch_start == START_AT


def test_one_that_does_not_verify_does_not_count_as_seen(arrivals: Arrivals):
    with pytest.raises(EnvelopeError, match="the signer is not trusted"):
        accept(arrivals, sealed(5, MINER))
    accept(arrivals, sealed(0))
    assert taken(arrivals) == [sealed(0).epoch_id]


def test_one_that_was_published_after_its_own_end_counts_as_seen_and_is_not_handed_out(arrivals: Arrivals):
    for number, late in ((0, LENGTH), (1, LENGTH - timedelta.resolution)):
        at = START_AT + number * LENGTH + late
        arrivals.accept(sealed(number), "push", now=at, received_at=at, published_at=at)
    assert taken(arrivals) == [sealed(1).epoch_id]


def test_a_clock_of_ours_that_is_ahead_keeps_no_epoch_back(arrivals: Arrivals):
    ahead = START_AT + 50 * LENGTH
    accept(arrivals, sealed(49), ahead)
    arrivals.accept(
        sealed(50), "push", now=ahead + 9 * LENGTH, received_at=ahead + 9 * LENGTH, published_at=ahead
    )
    assert taken(arrivals) == [sealed(49).epoch_id, sealed(50).epoch_id]


def test_one_that_was_skipped_by_a_wrong_clock_is_handed_out_when_it_turns_out_to_run(arrivals: Arrivals):
    ahead = START_AT + 3 * LENGTH
    accept(arrivals, sealed(-1))
    for via, published_at in (("seal", ahead), ("push", START_AT), ("request", None)):
        arrivals.accept(sealed(0), via, now=ahead, received_at=ahead, published_at=published_at)
    assert taken(arrivals) == [sealed(-1).epoch_id, sealed(0).epoch_id]
