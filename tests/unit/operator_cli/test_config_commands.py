"""Tests `zipcast config` and `zipcast keys`, which operators use before they start anything."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from operator_cli.config import misspelt, settings_classes
from service.deployment_keys import read_keys
from zipcast.cli.app import app

REPOSITORY = Path(__file__).resolve().parents[3]
EXAMPLE = REPOSITORY / ".env.example"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    for settings in settings_classes().values():
        for name in settings.model_fields:
            # Set and unset the variables, so that changes by the command are undone.
            monkeypatch.setenv(name.upper(), "")
            monkeypatch.delenv(name.upper())
    return lambda *arguments: CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})


@pytest.fixture
def keys(run, tmp_path: Path) -> Path:
    assert run("keys", "init", "--folder", str(tmp_path / "keys")).exit_code == 0
    return tmp_path / "keys"


def test_the_example_is_what_the_classes_say(run) -> None:
    assert run("config", "example").stdout == EXAMPLE.read_text()


@pytest.mark.parametrize("name", ["production", "testnet", "test"])
def test_each_other_example_is_what_the_classes_say(run, name: str) -> None:
    printed = run("config", "example", "--for", name).stdout
    assert printed == (EXAMPLE.parent / f".env.{name}").read_text()
    assert ("ZIPCAST_ENVIRONMENT=production" in printed) == (name != "test")


def test_an_unknown_example_is_refused(run) -> None:
    assert run("config", "example", "--for", "staging").exit_code == 2


def test_every_variable_stands_in_the_example_once() -> None:
    lines = EXAMPLE.read_text().splitlines()
    stated = [
        line.removeprefix("# ").partition("=")[0] for line in lines if "=" in line and "====" not in line
    ]
    known = {name.upper() for settings in settings_classes().values() for name in settings.model_fields}
    assert sorted(name for name in stated if name.isupper()) == sorted(known)


@pytest.mark.parametrize("process", ["schedulers", "responder", "callout", "bridge"])
def test_the_example_with_fresh_keys_starts_every_process(
    run, keys: Path, tmp_path: Path, process: str
) -> None:
    rest = tmp_path / "rest.env"
    rest.write_text(
        "DATABASE_URL=postgresql://u:s3cret-Word@h/d\nAWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=secretword\n"
    )
    files = [EXAMPLE, keys / f"{process}.env", rest]
    options = [part for path in files for part in ("--env-file", str(path))]
    shown = run("config", "check", process, *options)
    assert shown.exit_code == 0, shown.output
    for secret in ("s3cret-Word", "secretword", *read_keys(keys)[process].values()):
        if secret != read_keys(keys)["bridge"]["ZIPCAST_SIGNERS"]:
            assert secret not in shown.output


def test_a_process_that_would_not_start_is_told_why_in_one_line(run) -> None:
    refused = run("config", "check", "bridge")
    assert refused.exit_code == 2
    assert refused.stderr.endswith(": must be set\n")
    assert refused.stderr.count("\n") == 1


def test_an_unknown_process_is_named(run) -> None:
    assert "schedulers, responder, callout, bridge" in run("config", "check", "broker").output


def test_keys_are_readable_by_their_owner_alone_and_never_overwritten(run, keys: Path) -> None:
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in keys.iterdir()} == {
        f"{name}.env": "0o600"
        for name in (
            "nats",
            "schedulers",
            "responder",
            "callout",
            "bridge",
            "operator",
            "owner",
            "postgres",
            "valkey",
            "grafana",
        )
    }
    before = read_keys(keys)
    again = run("keys", "init", "--folder", str(keys))
    assert again.exit_code == 1
    assert "never overwritten" in again.output
    assert read_keys(keys) == before


def test_no_secret_is_printed_when_keys_are_made(run, tmp_path: Path) -> None:
    printed = run("keys", "init", "--folder", str(tmp_path / "fresh")).output
    for process, values in read_keys(tmp_path / "fresh").items():
        for name, value in values.items():
            assert value not in printed or name == "ZIPCAST_SIGNERS", (process, name)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("TARGET_LISTNGS", "TARGET_LISTINGS"),
        ("CALLOUT_AUDIENCE", "CALLOUT_AUDIENCES"),
        ("LIMIT_UPLOADS_PER_HOUR", "LIMIT_UPLOAD_PER_HOUR"),
        ("EPOCH_DURATION_HOUR", "EPOCH_DURATION_HOURS"),
    ],
)
def test_a_misspelt_name_is_told_the_nearest(
    run, tmp_path: Path, monkeypatch, written: str, meant: str
) -> None:
    monkeypatch.setenv(written, "")
    monkeypatch.delenv(written)
    file = tmp_path / "settings.env"
    file.write_text(f"{written}=5\n")
    refused = run("config", "check", "schedulers", "--env-file", str(file))
    assert refused.exit_code == 2
    assert f"did you mean {meant}?" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "POSTGRES_PASSWORD", "AWS_PROFILE", "REDIS_HOST", "PORTS", "PS1"]
)
def test_variables_of_other_programs_are_no_misspelt_settings(name: str) -> None:
    assert misspelt([name]) is None


def test_each_login_gets_a_password_of_its_own_in_the_url_of_the_owner(run, tmp_path: Path) -> None:
    url = "postgresql://doadmin:s%40cret@db.example.org:25060/defaultdb?sslmode=require"
    assert run("keys", "init", "--folder", str(tmp_path / "keys"), "--owner-url", url).exit_code == 0
    keys = read_keys(tmp_path / "keys")
    assert keys["owner"]["DATABASE_URL"] == url
    for login in ("schedulers", "responder", "bridge"):
        password = keys["postgres"][f"PASSWORD_{login.upper()}"]
        expected = url.replace("doadmin:s%40cret", f"{login}:{password}")
        assert keys[login]["DATABASE_URL"] == expected
    assert "DATABASE_URL" not in keys["callout"]


def test_another_url_of_the_owner_is_refused(run, tmp_path: Path) -> None:
    refused = run("keys", "init", "--folder", str(tmp_path / "keys"), "--owner-url", "mysql://a@b/c")
    assert refused.exit_code == 2
    assert not (tmp_path / "keys").exists()
