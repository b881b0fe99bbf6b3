"""Tests which targets an admin may set for an epoch: those whose message can be published."""

import pytest

from schedulers.epochs.target_override import TargetUnreachableError, require_publishable
from tests.support.candidates import candidate
from zipcast.selection.model import SelectionSettings

POOL = [candidate(f"{10000 + number}", 200 + number % 50) for number in range(5_000)]


@pytest.mark.parametrize("target", [1_000, 10_000, 100_000])
def test_a_target_whose_zipcodes_fit_a_message_is_taken(target: int) -> None:
    require_publishable(POOL, SelectionSettings(target_listings=target))


@pytest.mark.parametrize("target", [400_000, 1_000_000])
def test_a_target_that_may_need_a_larger_message_is_refused(target: int) -> None:
    with pytest.raises(TargetUnreachableError, match="would not fit one message"):
        require_publishable(POOL, SelectionSettings(target_listings=target))
