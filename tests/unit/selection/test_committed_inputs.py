"""Tests the inputs to which an epoch is committed: the same bytes always lead to the same selection."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes import EPOCH_ID
from zipcast.protocol.beacon import BeaconRounds
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import MarketTier, SelectionSettings

INPUTS = SelectionInputs(
    epoch_id=EPOCH_ID,
    import_id=7,
    secret_id="2026-a",
    history_epoch_ids=("2026-11-21T20-00-00", "2026-11-22T00-00-00"),
    settings=SelectionSettings(),
    honeypots=HoneypotSettings(),
    beacon=BeaconRounds("quicknet", 34295085, 34292715, timedelta(seconds=90), "down"),
    zipcodes_sha256="6b" * 32,
)
STORED = (
    b'{"algorithmVersion":"zipcast-selection/1","epochId":"2026-11-22T04-00-00","importId":7,'
    b'"secretId":"2026-a","historyEpochIds":["2026-11-21T20-00-00","2026-11-22T00-00-00"],'
    b'"settings":{"target_listings":10000,"tolerance_percent":10,"min_zipcode_listings":200,'
    b'"max_zipcode_listings":3000,"cooldown":86400,"max_data_age":2592000,'
    b'"state_priorities":[["PA",1],["NJ",2],["NY",3],["DE",4],["MD",5]],'
    b'"tier_weights":[["PREMIUM",1.5],["STANDARD",1.0],["EMERGING",0.8]],'
    b'"selection_randomness":0.25,"geographic_spread_factor":0.15,"strict_priorities":false},'
    b'"honeypots":{"probability":0.3,"threshold":50},'
    b'"beacon":{"chain":"quicknet","round":34295085,"fallbackRound":34292715,"leadMilliseconds":90000,'
    b'"rounding":"down"},'
    b'"zipcodesSha256":"6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"}'
)

weights = st.floats(1e-6, 1e6)
fractions = st.floats(0, 1)
seconds = st.integers(1, 10**7).map(lambda n: timedelta(seconds=n))
selection_settings = st.builds(
    SelectionSettings,
    target_listings=st.integers(1, 10**6),
    tolerance_percent=st.integers(0, 50),
    min_zipcode_listings=st.integers(2, 100),
    max_zipcode_listings=st.integers(100, 10**4),
    cooldown=seconds,
    max_data_age=seconds,
    state_priorities=st.dictionaries(st.sampled_from(["PA", "NJ", "TX"]), st.integers(1, 99), min_size=1).map(
        lambda priorities: tuple(priorities.items())
    ),
    tier_weights=st.tuples(*(st.tuples(st.just(tier), weights) for tier in MarketTier)),
    selection_randomness=fractions,
    geographic_spread_factor=fractions,
    strict_priorities=st.booleans(),
)


def test_the_stored_document_is_byte_for_byte_this() -> None:
    assert INPUTS.to_bytes() == STORED


def test_stored_inputs_read_back_as_what_was_committed_to() -> None:
    assert SelectionInputs.from_bytes(STORED) == INPUTS


@pytest.mark.parametrize(
    "stored",
    [
        STORED.replace(b"6b6b6b6b", b"6b6b6b"),
        STORED.replace(b"selection/1", b"selection/2"),
    ],
    ids=["hash too short", "unknown version"],
)
def test_inputs_that_do_not_fit_are_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r"zipcast-selection/|^zipcodes_sha256 must"):
        SelectionInputs.from_bytes(stored)


@settings(max_examples=20)
@given(selection_settings, st.integers(1, 2**63 - 1))
def test_any_settings_survive_the_round_trip_exactly(chosen: SelectionSettings, import_id: int) -> None:
    honeypots = HoneypotSettings(chosen.selection_randomness, import_id % 99 + 1)
    rounds = BeaconRounds("local", import_id, None, timedelta(milliseconds=import_id % 99), "up")
    inputs = SelectionInputs(EPOCH_ID, import_id, "1", (), chosen, honeypots, rounds, "1e" * 32)
    read = SelectionInputs.from_bytes(inputs.to_bytes())
    assert read == inputs
    assert read.to_bytes() == inputs.to_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"epoch_id": "2026-11-22T08-00-00"},
        {"import_id": 8},
        {"secret_id": "2026-b"},
        {"history_epoch_ids": ("2026-11-21T20-00-00",)},
        {"settings": SelectionSettings(tolerance_percent=9)},
        {"honeypots": HoneypotSettings(threshold=49)},
        {"honeypots": HoneypotSettings(probability=0.25)},
        {"beacon": replace(INPUTS.beacon, chain="local")},
        {"beacon": replace(INPUTS.beacon, draw_round=34295086)},
        {"beacon": replace(INPUTS.beacon, fallback_round=None)},
        {"beacon": replace(INPUTS.beacon, lead=timedelta(seconds=91))},
        {"beacon": replace(INPUTS.beacon, rounding="up")},
        {"zipcodes_sha256": "6c" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_the_inputs_is_committed_to(change: dict[str, object]) -> None:
    parts = {name: getattr(INPUTS, name) for name in INPUTS.__slots__}
    changed = SelectionInputs(**parts | change)
    assert changed.to_bytes() != STORED
    assert SelectionInputs.from_bytes(changed.to_bytes()) == changed


def test_a_setting_this_program_does_not_know_is_refused_rather_than_ignored() -> None:
    document = json.loads(STORED)
    document["settings"]["honeypot_probability"] = 0.1
    with pytest.raises(TypeError, match="honeypot_probability"):
        SelectionInputs.from_bytes(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("cooldown", "86400", TypeError),
        ("cooldown", 0.5, TypeError),
        ("max_data_age", None, TypeError),
        ("tier_weights", {"PREMIUM": 1}, TypeError),
        ("tier_weights", [["GOLD", 1]], ValueError),
        ("state_priorities", "PA:1", TypeError),
        ("state_priorities", [], ValueError),
        ("tolerance_percent", 100, ValueError),
    ],
)
def test_stored_settings_that_break_a_rule_are_refused(
    name: str, value: object, error: type[Exception]
) -> None:
    document = json.loads(STORED)
    document["settings"][name] = value
    with pytest.raises(error):
        SelectionInputs.from_bytes(json.dumps(document).encode())


@pytest.mark.parametrize(
    "part", ["epochId", "importId", "secretId", "historyEpochIds", "algorithmVersion", "beacon"]
)
def test_a_missing_part_is_named(part: str) -> None:
    document = json.loads(STORED)
    del document[part]
    with pytest.raises(KeyError, match=part):
        SelectionInputs.from_bytes(json.dumps(document).encode())
