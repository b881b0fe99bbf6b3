"""Tests who is registered and who is a validator, by the newest snapshot."""

from datetime import timedelta

import pytest

from service.registry import RAO_PER_ALPHA, RegistryView
from tests.support.fakes import (
    MINER_HOTKEY,
    START_AT,
    STRANGER_HOTKEY,
    VALIDATOR_HOTKEY,
    neuron,
    registry,
    snapshot,
)
from zipcast.protocol.errors import ErrorCode, ServiceError

LEAST = 1000 * RAO_PER_ALPHA


def code_of(view: RegistryView, hotkey=MINER_HOTKEY) -> ErrorCode:
    with pytest.raises(ServiceError) as refused:
        view.require_validator(hotkey)
    return refused.value.code


@pytest.mark.parametrize(
    ("permit", "rao", "validator"),
    [
        (True, LEAST, True),
        (True, LEAST + 1, True),
        (True, LEAST - 1, False),  # one rao short: 999.999999999 alpha, which a float rounds up
        (True, 0, False),
        (False, LEAST, False),
        (False, 10 * LEAST, False),
        (False, 0, False),
    ],
)
def test_a_validator_has_a_permit_and_at_least_the_stake_to_the_rao(
    permit: bool, rao: int, validator: bool
) -> None:
    view = RegistryView("test", 46, min_stake_alpha=1000)
    view.adopt(snapshot([neuron(MINER_HOTKEY, permit=permit, rao=rao)]))
    assert view.is_validator(view.require_registered(MINER_HOTKEY)) == validator
    if validator:
        assert view.require_validator(MINER_HOTKEY).alpha_stake_rao == rao
    else:
        assert code_of(view) is ErrorCode.VALIDATOR_REQUIRED


def test_without_a_minimum_the_permit_decides() -> None:
    view = RegistryView("test", 46, min_stake_alpha=0)
    view.adopt(snapshot([neuron(MINER_HOTKEY, permit=True), neuron(VALIDATOR_HOTKEY, uid=1)]))
    assert view.is_validator(view.require_registered(MINER_HOTKEY))
    assert not view.is_validator(view.require_registered(VALIDATOR_HOTKEY))


def test_the_refusal_names_the_stake_that_is_needed() -> None:
    with pytest.raises(ServiceError, match="at least 1000 alpha"):
        registry().require_validator(MINER_HOTKEY)


def test_before_the_first_snapshot_nobody_is_refused_as_unregistered() -> None:
    view = RegistryView("test", 46, 1000)
    assert code_of(view) is ErrorCode.REGISTRY_UNAVAILABLE
    assert view.age(START_AT) is None


def test_a_stranger_is_not_registered() -> None:
    assert code_of(registry(), STRANGER_HOTKEY) is ErrorCode.NOT_REGISTERED
    assert registry().find(STRANGER_HOTKEY) is None


@pytest.mark.parametrize(
    "foreign",
    [snapshot([], network="finney", block=200), snapshot([], netuid=1, block=200)],
    ids=["network", "netuid"],
)
def test_the_snapshot_of_another_subnet_is_refused(foreign) -> None:
    view = registry()
    assert not view.adopt(foreign)
    assert view.find(MINER_HOTKEY) is not None
    assert not RegistryView("test", 46, 1000).adopt(foreign)


@pytest.mark.parametrize("block", [0, 99, 100])
def test_the_snapshot_of_an_older_or_the_same_block_is_refused(block: int) -> None:
    view = registry()
    assert not view.adopt(snapshot([], block=block))
    assert view.find(MINER_HOTKEY) is not None


def test_a_newer_snapshot_takes_the_place_of_the_whole_older_one() -> None:
    view = registry()
    assert view.adopt(snapshot([neuron(STRANGER_HOTKEY)], block=101))
    assert view.require_registered(STRANGER_HOTKEY).hotkey == STRANGER_HOTKEY
    assert code_of(view, VALIDATOR_HOTKEY) is ErrorCode.NOT_REGISTERED


def test_age_counts_from_when_the_chain_was_read() -> None:
    assert registry().age(START_AT + timedelta(hours=3)) == timedelta(hours=3)
