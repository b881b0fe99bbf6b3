"""Tests what all settings have in common: mistakes and unsafe values are refused, with the name and without
the value."""

import os
from pathlib import Path

import pytest

from broker_service.callout.settings import CalloutSettings
from broker_service.responder.settings import ResponderSettings
from devstack.state import State
from http_bridge.settings import BridgeSettings
from schedulers.settings import SchedulerSettings
from service.nkeys import Kind, SigningNkey
from service.placeholder_values import objection
from service.settings import EnvironmentSettings, load
from tests.support.fakes import SIGNER_HOTKEY

SECRET = "Qv3z-8sLm2Rt_9Wc4Yx7Kd1Np6Hb5Gf0"
COMMON = {"NATS_URL": "nats://127.0.0.1:4222", "DATABASE_URL": f"postgresql://z:{SECRET}@127.0.0.1/z"}
SIGNED = COMMON | {"ZIPCAST_SIGNERS": SIGNER_HOTKEY}
LEAST: dict[type[EnvironmentSettings], dict[str, str]] = {
    SchedulerSettings: COMMON
    | {
        "SCHEDULERS_NATS_SEED": SECRET,
        "SCHEDULERS_SYS_NATS_SEED": SECRET,
        "SCHEDULERS_SIGNER_SEED": "0123456789abcdef" * 4,
        "ZIPCODE_SECRET_KEY": SECRET,
    },
    ResponderSettings: SIGNED
    | {
        "RESPONDER_NATS_SEED": SECRET,
        "RESPONDER_FOLLOW_NATS_SEED": SECRET,
        "S3_BUCKET": "miners",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    },
    CalloutSettings: {
        "NATS_URL": "nats://127.0.0.1:4222",
        "CALLOUT_NATS_SEED": SECRET,
        "CALLOUT_FOLLOW_NATS_SEED": SECRET,
        "CALLOUT_SYS_NATS_SEED": SECRET,
        "CALLOUT_ISSUER_SEED": SECRET,
        "CALLOUT_XKEY_SEED": SECRET,
        "CALLOUT_AUDIENCES": "nats.zipcast.io",
    },
    BridgeSettings: SIGNED | {"BRIDGE_NATS_SEED": SECRET, "BRIDGE_FOLLOW_NATS_SEED": SECRET},
}
CLASSES = list(LEAST)


@pytest.fixture(params=CLASSES, ids=lambda one: one.__name__)
def process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[EnvironmentSettings]:
    """Return each process's settings in turn, with only the required variables."""
    set_least(monkeypatch, request.param)
    return request.param


def set_least(monkeypatch: pytest.MonkeyPatch, process: type[EnvironmentSettings]) -> None:
    for name in process.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in LEAST[process].items():
        monkeypatch.setenv(name, value)


def refusal(process: type[EnvironmentSettings], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        load(process)
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert SECRET not in told
    return told


def test_the_least_environment_is_enough(process: type[EnvironmentSettings]) -> None:
    assert load(process).model_dump()


def test_each_least_variable_is_needed_and_named(process, monkeypatch, capsys) -> None:
    for name, value in LEAST[process].items():
        monkeypatch.delenv(name)
        assert refusal(process, capsys) == f"{name}: must be set\n"
        monkeypatch.setenv(name, value)


def test_the_documented_names_have_the_documented_defaults() -> None:
    fields = {name.upper(): field for cls in CLASSES for name, field in cls.model_fields.items()}
    documented = {
        "REDIS_URL": None,
        "S3_VALIDATOR_BUCKET": "resi-validated-data",
        "BT_NETWORK": "finney",
        "NET_UID": 46,
        "VALIDATOR_MIN_STAKE": 1000,
        "TARGET_LISTINGS": 10_000,
        "TOLERANCE_PERCENT": 10,
        "EPOCH_DURATION_HOURS": 4,
        "COOLDOWN_HOURS": 24,
        "MIN_ZIPCODE_LISTINGS": 200,
        "MAX_ZIPCODE_LISTINGS": 3000,
        "DAILY_LIMIT_PER_MINER": 20,
        "DAILY_LIMIT_PER_VALIDATOR": 10_000,
        "TOTAL_DAILY_LIMIT": 200_000,
    }
    assert {name: fields[name].default for name in documented} == documented
    needed = {
        "DATABASE_URL",
        "S3_BUCKET",
        "S3_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "ZIPCODE_SECRET_KEY",
        "STATE_PRIORITIES",
        "GEOGRAPHIC_REGIONS",
        "PORT",
        "LOG_LEVEL",
    }
    assert needed <= fields.keys()


def test_every_variable_is_described(process: type[EnvironmentSettings]) -> None:
    assert [name for name, field in process.model_fields.items() if not field.description] == []


def test_an_unknown_name_in_the_process_s_own_prefix_is_refused_with_the_nearest(
    process, monkeypatch, capsys
) -> None:
    prefix = process.own_prefix
    monkeypatch.setenv(f"{prefix}NATS_SEAD", "x")
    assert (
        refusal(process, capsys) == f"{prefix}NATS_SEAD: is not a setting; did you mean {prefix}NATS_SEED?\n"
    )
    monkeypatch.delenv(f"{prefix}NATS_SEAD")
    monkeypatch.setenv("OTHER_NATS_SEAD", "x")
    assert load(process)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:{}@db-postgresql-nyc1-1-do-user-1.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
        "postgresql://doadmin:{}@host:25060/defaultdb?sslmode=require",
        "postgresql+asyncpg://u:{}@h/d",
    ],
)
def test_a_database_url_is_accepted_as_providers_print_it(monkeypatch, url) -> None:
    set_least(monkeypatch, BridgeSettings)
    monkeypatch.setenv("DATABASE_URL", url.format(SECRET))
    assert load(BridgeSettings).database_url.get_secret_value() == url.format(SECRET)
    assert SECRET not in repr(load(BridgeSettings))


def test_another_database_is_refused(monkeypatch, capsys) -> None:
    set_least(monkeypatch, BridgeSettings)
    monkeypatch.setenv("DATABASE_URL", f"mysql://u:{SECRET}@h/d")
    assert refusal(BridgeSettings, capsys) == "DATABASE_URL: must start with postgresql://\n"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("E5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a", "published"),
        ("0x398f0c28f98885e046333d4a41c19cee4c37368a9832c6502f6cfd182e2aef89", "published"),
        ("please-change-me-please-change-me-1", "placeholder"),
        ("development-0123456789abcdef0123456789", "placeholder"),
        ("a" * 64, "different characters"),
        ("0101010101010101010101010101010101", "different characters"),
    ],
)
def test_what_is_known_to_be_unsafe_is_objected_to(secret: str, why: str) -> None:
    assert why in (objection(secret) or "")
    assert secret not in (objection(secret) or "")


def test_nothing_is_said_against_chance() -> None:
    assert objection(SECRET) is None


UNSAFE = [
    (SchedulerSettings, "ZIPCODE_SECRET_KEY", "development-" + SECRET),
    (SchedulerSettings, "SCHEDULERS_SIGNER_SEED", "00" * 32),
    (SchedulerSettings, "DATABASE_URL", "postgresql://postgres:postgres@127.0.0.1/z"),
    (ResponderSettings, "AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    (ResponderSettings, "S3_ENDPOINT_URL", "http://10.0.0.7:9000"),
    (CalloutSettings, "CALLOUT_ISSUER_SEED", "change-me"),
    (BridgeSettings, "DATABASE_URL", "postgresql://z:password@127.0.0.1/z"),
    (BridgeSettings, "NATS_URL", "tls://nats.zipcast.io,nats://10.0.0.7:4222"),
    (CalloutSettings, "NATS_URL", "ws://nats.zipcast.io"),
    (CalloutSettings, "CALLOUT_AUDIENCES", "nats.zipcast.io,loopback"),
]


@pytest.mark.parametrize(("process_", "name", "value"), UNSAFE)
def test_production_refuses_it_and_development_does_not(monkeypatch, capsys, process_, name, value) -> None:
    set_least(monkeypatch, process_)
    monkeypatch.setenv(name, value)
    told = refusal(process_, capsys)
    assert told.startswith(name)
    assert value not in told
    monkeypatch.setenv("ZIPCAST_ENVIRONMENT", "development")
    assert load(process_)


def test_the_local_stack_s_own_secret_is_refused_in_production(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.create()
    state.ensure_keys()
    assert objection(state.keys_of("schedulers")["ZIPCODE_SECRET_KEY"]) is not None


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379", "redis.local:6379"])
def test_a_rate_limit_store_is_redis_or_valkey(monkeypatch, capsys, url) -> None:
    set_least(monkeypatch, BridgeSettings)
    monkeypatch.setenv("REDIS_URL", url)
    assert refusal(BridgeSettings, capsys).startswith("REDIS_URL: must start with")


def test_regions_narrow_the_states_that_are_drawn_from(monkeypatch, capsys) -> None:
    set_least(monkeypatch, SchedulerSettings)
    monkeypatch.setenv("GEOGRAPHIC_REGIONS", "NY,PA")
    assert load(SchedulerSettings).selection.state_priorities == (("PA", 1), ("NY", 3))
    monkeypatch.setenv("GEOGRAPHIC_REGIONS", "PA,TX")
    assert "STATE_PRIORITIES" in refusal(SchedulerSettings, capsys)


def test_a_state_of_an_earlier_version_gets_the_keys_it_lacks_and_keeps_the_others(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.create()
    state.ensure_keys()
    before = {process: state.keys_of(process) for process in ("nats", "callout", "responder", "schedulers")}
    for process, name in (("nats", "NATS_USER_CALLOUT_SYS"), ("callout", "CALLOUT_SYS_NATS_SEED")):
        path = state.keys / f"{process}.env"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith(name)))
    state.ensure_keys()
    after = {process: state.keys_of(process) for process in before}
    seed = SigningNkey(after["callout"]["CALLOUT_SYS_NATS_SEED"], Kind.USER)
    assert seed.public == after["nats"]["NATS_USER_CALLOUT_SYS"]
    assert after["callout"].keys() == before["callout"].keys()
    assert after["schedulers"] == before["schedulers"]
    assert after["responder"] == before["responder"]


def test_a_file_adds_variables_and_the_environment_wins(process, monkeypatch, tmp_path: Path) -> None:
    names = dict(LEAST[process])
    monkeypatch.setattr(os, "environ", {"NATS_URL": "nats://127.0.0.1:1"})
    file = tmp_path / "secrets.env"
    file.write_text("# keys\n" + "".join(f"{name}={value}\n" for name, value in names.items()))
    os.environ["SECRETS_FILE"] = str(file)
    settings = load(process)
    assert settings.nats_url == "nats://127.0.0.1:1"  # type: ignore[attr-defined]
    assert {name.lower() for name in names} <= settings.model_fields_set


def test_a_file_of_secrets_that_is_missing_is_named(process, monkeypatch, capsys) -> None:
    monkeypatch.setenv("SECRETS_FILE", "/nowhere/secrets.env")
    assert refusal(process, capsys).startswith("SECRETS_FILE: cannot read /nowhere/secrets.env")


@pytest.mark.parametrize("network", ["finny", "Finney", "mainnet"])
def test_an_unknown_network_is_refused(process, monkeypatch, capsys, network) -> None:
    monkeypatch.setenv("BT_NETWORK", network)
    assert refusal(process, capsys).startswith("BT_NETWORK: ")
