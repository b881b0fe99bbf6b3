"""Tests the scheduler's settings: the range of each variable, and the error of a process that refuses one."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from schedulers.settings import SchedulerSettings
from service.settings import SignerSettings, load
from storage.database.retention import Retention
from tests.support.fakes import MINER_HOTKEY, SIGNER_HOTKEY, ZERO_KEY
from zipcast.protocol.calendar import EpochCalendar
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import MarketTier, SelectionSettings

SEED = "0123456789abcdef" * 4
LEAST = {
    "NATS_URL": "nats://127.0.0.1:4222",
    "DATABASE_URL": "postgresql://zipcast:hunter2-hunter2@127.0.0.1/zipcast",
    "SCHEDULERS_NATS_SEED": "SUAhunter2",
    "SCHEDULERS_SYS_NATS_SEED": "SUAhunter3",
    "SCHEDULERS_SIGNER_SEED": SEED,
    "ZIPCODE_SECRET_KEY": "hunter2-" * 4,
}


DEFAULTS = {
    "target_listings": 10_000,
    "tolerance_percent": 10,
    "cooldown_hours": 24,
    "min_zipcode_listings": 200,
    "max_zipcode_listings": 3_000,
    "max_data_age_days": 30,
    "premium_weight": 1.5,
    "standard_weight": 1.0,
    "emerging_weight": 0.8,
    "selection_randomness": 0.25,
    "geographic_spread_factor": 0.15,
    "state_priorities": "PA:1,NJ:2,NY:3,DE:4,MD:5",
    "epoch_retention_days": 30,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set only the required variables, and none of the machine that runs the tests."""
    for name in SchedulerSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in LEAST.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_least_environment_gives_the_documented_defaults() -> None:
    settings = load(SchedulerSettings)
    assert settings.calendar == EpochCalendar(14_400)
    assert settings.selection == SelectionSettings()
    assert settings.honeypots == HoneypotSettings()
    assert (settings.bt_network, settings.net_uid) == ("finney", 46)
    assert settings.zipcast_environment == "production"
    assert (settings.schedulers_registry_file, settings.chain_endpoints) == (None, ())
    assert (settings.registry_read_seconds, settings.registry_deadline_seconds) == (300, 120)


def test_every_rule_of_selection_is_set_by_its_variable(environment: pytest.MonkeyPatch) -> None:
    for name, value in {
        "EPOCH_DURATION_SECONDS": "60",
        "TARGET_LISTINGS": "500",
        "TOLERANCE_PERCENT": "5",
        "COOLDOWN_HOURS": "12",
        "MIN_ZIPCODE_LISTINGS": "20",
        "MAX_ZIPCODE_LISTINGS": "300",
        "MAX_DATA_AGE_DAYS": "10",
        "STATE_PRIORITIES": "TX:2,CA:1",
        "PREMIUM_WEIGHT": "3",
        "STANDARD_WEIGHT": "2",
        "EMERGING_WEIGHT": "0.5",
        "SELECTION_RANDOMNESS": "1",
        "GEOGRAPHIC_SPREAD_FACTOR": "0",
        "STATE_PRIORITY_MODE": "strict",
        "HONEYPOT_PROBABILITY": "0.5",
        "HONEYPOT_THRESHOLD": "19",
    }.items():
        environment.setenv(name, value)
    settings = load(SchedulerSettings)
    assert settings.calendar == EpochCalendar(60)
    assert settings.selection == SelectionSettings(
        target_listings=500,
        tolerance_percent=5,
        min_zipcode_listings=20,
        max_zipcode_listings=300,
        max_data_age=timedelta(days=10),
        cooldown=timedelta(minutes=3),  # with 4 h per epoch, 12 h are 3 epochs
        state_priorities=(("TX", 2), ("CA", 1)),
        tier_weights=((MarketTier.PREMIUM, 3), (MarketTier.STANDARD, 2), (MarketTier.EMERGING, 0.5)),
        selection_randomness=1,
        geographic_spread_factor=0,
        strict_priorities=True,
    )
    assert settings.honeypots == HoneypotSettings(0.5, 19)


@pytest.mark.parametrize("given", ["PA,NJ", '["PA","NJ"]', '["PA", "NJ"]'])
def test_regions_are_a_list_in_either_spelling(environment: pytest.MonkeyPatch, given: str) -> None:
    environment.setenv("GEOGRAPHIC_REGIONS", given)
    rules = SchedulerSettings().selection_rules(14_400)
    assert [state for state, _ in rules.state_priorities] == ["PA", "NJ"]


@pytest.mark.parametrize("given", ["[PA]", '["PA"', '["PA",7]', '["pa"]', '["PA","XX"]', "[]"])
def test_a_malformed_list_of_regions_is_refused(environment: pytest.MonkeyPatch, given: str) -> None:
    environment.setenv("GEOGRAPHIC_REGIONS", given)
    with pytest.raises(ValidationError):
        SchedulerSettings()


def test_the_defaults_are_those_of_the_design():
    settings = load(SchedulerSettings)
    assert settings.epoch_duration_hours == 4
    stated = {name: getattr(settings, name) for name in DEFAULTS}
    assert stated == DEFAULTS


def test_how_long_things_are_kept_is_set_by_their_variables(environment: pytest.MonkeyPatch):
    assert load(SchedulerSettings).retention == Retention(
        epochs=timedelta(days=30), audit=timedelta(days=365), refusals=timedelta(days=30)
    )
    environment.setenv("EPOCH_RETENTION_DAYS", "7")
    environment.setenv("COOLDOWN_HOURS", "144")
    assert load(SchedulerSettings).retention.epochs == timedelta(days=7)


def test_a_length_in_seconds_wins_over_one_in_hours(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EPOCH_DURATION_HOURS", "6")
    assert load(SchedulerSettings).epoch_seconds == 21_600
    environment.setenv("EPOCH_DURATION_SECONDS", "30")
    assert load(SchedulerSettings).epoch_seconds == 30


BAD = [
    ("NATS_URL", ""),
    ("BT_NETWORK", "Finney:46"),
    ("NET_UID", "-1"),
    ("NET_UID", "65536"),
    ("LOG_LEVEL", "LOUD"),
    ("ZIPCAST_ENVIRONMENT", "staging!"),
    ("DATABASE_URL", ""),
    ("EPOCH_DURATION_HOURS", "0"),
    ("EPOCH_DURATION_HOURS", "5"),
    ("EPOCH_DURATION_HOURS", "25"),
    ("EPOCH_DURATION_SECONDS", "7"),
    ("EPOCH_DURATION_SECONDS", "86401"),
    ("SCHEDULERS_NATS_SEED", ""),
    ("SCHEDULERS_SIGNER_SEED", "ab" * 31),
    ("SCHEDULERS_SIGNER_SEED", "hunter2" * 8),
    ("SCHEDULERS_SIGNER_SEED", "zz" * 32),
    ("SCHEDULERS_SIGNER_SEED", "ab " * 32),
    ("SCHEDULERS_SIGNER_SEED", "0x" + SEED),
    ("ZIPCODE_SECRET_KEY", "hunter2"),
    ("ZIPCODE_SECRET_ID", "a:b"),
    ("SCHEDULERS_NEXT_SIGNER", "5hunter2"),
    ("BT_CHAIN_ENDPOINTS", "https://hunter2.example.org"),
    ("BT_CHAIN_ENDPOINTS", "wss://hunter2.example.org,"),
    ("BT_CHAIN_ENDPOINTS", "wss://hunter2.example.org, wss://b.example.org"),
    ("REGISTRY_READ_SECONDS", "0"),
    ("REGISTRY_READ_SECONDS", "29"),
    ("REGISTRY_CONFIRM_SECONDS", "301"),
    ("REGISTRY_DEADLINE_SECONDS", "601"),
    ("REGISTRY_MAX_DROP_PERCENT", "101"),
    ("TARGET_LISTINGS", "0"),
    ("TARGET_LISTINGS", "1000001"),
    ("TARGET_LISTINGS", "many"),
    ("TOLERANCE_PERCENT", "-1"),
    ("TOLERANCE_PERCENT", "51"),
    ("COOLDOWN_HOURS", "-1"),
    ("COOLDOWN_HOURS", "721"),
    ("COOLDOWN_HOURS", "697"),  # the last of 30 days with details
    ("MIN_ZIPCODE_LISTINGS", "1"),
    ("MIN_ZIPCODE_LISTINGS", "3001"),
    ("MIN_ZIPCODE_LISTINGS", "1000001"),
    ("MAX_ZIPCODE_LISTINGS", "199"),
    ("MAX_ZIPCODE_LISTINGS", "1000001"),
    ("MAX_DATA_AGE_DAYS", "0"),
    ("MAX_DATA_AGE_DAYS", "366"),
    ("STATE_PRIORITIES", "pa:1"),
    ("STATE_PRIORITIES", "PA:0"),
    ("STATE_PRIORITIES", "PA:1,PA:2"),
    ("STATE_PRIORITIES", "PA:1,"),
    ("STATE_PRIORITIES", "PA:1000"),
    ("PREMIUM_WEIGHT", "0"),
    ("PREMIUM_WEIGHT", "nan"),
    ("PREMIUM_WEIGHT", "101"),
    ("STANDARD_WEIGHT", "0"),
    ("STANDARD_WEIGHT", "101"),
    ("EMERGING_WEIGHT", "1e-7"),
    ("EMERGING_WEIGHT", "101"),
    ("SELECTION_RANDOMNESS", "-0.01"),
    ("SELECTION_RANDOMNESS", "1.01"),
    ("GEOGRAPHIC_SPREAD_FACTOR", "-0.1"),
    ("HONEYPOT_PROBABILITY", "1.1"),
    ("HONEYPOT_THRESHOLD", "0"),
    ("HONEYPOT_THRESHOLD", "200"),
    ("GEOGRAPHIC_SPREAD_FACTOR", "1.1"),
    ("EPOCH_RETENTION_DAYS", "6"),
    ("EPOCH_RETENTION_DAYS", "31"),
    ("AUDIT_RETENTION_DAYS", "29"),
    ("AUDIT_RETENTION_DAYS", "3651"),
    ("REFUSAL_RETENTION_DAYS", "0"),
    ("REFUSAL_RETENTION_DAYS", "366"),
    ("REGISTRY_RETENTION_DAYS", "0"),
    ("REGISTRY_RETENTION_DAYS", "366"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_ends_the_process_with_one_line_that_names_the_variable_and_never_the_value(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        load(SchedulerSettings)
    assert stopped.value.code == 2
    out, told = capsys.readouterr()
    assert out == ""
    assert told.count("\n") == 1
    assert name in told
    assert "hunter2" not in told
    assert len(value) < 6 or value not in told


def test_the_registry_comes_from_a_file_or_from_the_chain(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("BT_CHAIN_ENDPOINTS", "wss://a.example.org/hunter2,ws://127.0.0.1:9944")
    settings = load(SchedulerSettings)
    assert settings.chain_endpoints == ("wss://a.example.org/hunter2", "ws://127.0.0.1:9944")
    assert "hunter2" not in repr(settings)
    environment.setenv("SCHEDULERS_REGISTRY_FILE", "registry.json")
    with pytest.raises(SystemExit):
        load(SchedulerSettings)
    told = capsys.readouterr().err
    assert "SCHEDULERS_REGISTRY_FILE" in told
    assert "BT_CHAIN_ENDPOINTS" in told


@pytest.mark.parametrize("name", sorted(LEAST))
def test_each_missing_variable_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    environment.delenv(name)
    with pytest.raises(SystemExit) as stopped:
        load(SchedulerSettings)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"{name}: must be set\n"


def test_an_unknown_setting_is_refused_and_a_known_one_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        SchedulerSettings(tolerance=10)
    with pytest.raises(ValidationError, match="frozen"):
        load(SchedulerSettings).target_listings = 1


def test_no_secret_shows_when_settings_are_printed() -> None:
    printed = repr(load(SchedulerSettings))
    assert "target_listings=10000" in printed
    for secret in ("hunter2", SEED):
        assert secret not in printed


def test_signers_are_addresses_separated_by_commas(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ZIPCAST_SIGNERS", f"{SIGNER_HOTKEY},{MINER_HOTKEY}")
    assert load(SignerSettings).signers == {SIGNER_HOTKEY, MINER_HOTKEY}


@pytest.mark.parametrize("signers", ["x", f"{SIGNER_HOTKEY},", f"{SIGNER_HOTKEY}, {MINER_HOTKEY}", ZERO_KEY])
def test_a_malformed_signer_is_refused_by_name(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signers: str
) -> None:
    environment.setenv("ZIPCAST_SIGNERS", signers)
    with pytest.raises(SystemExit):
        load(SignerSettings)
    assert capsys.readouterr().err.startswith("ZIPCAST_SIGNERS: ")
