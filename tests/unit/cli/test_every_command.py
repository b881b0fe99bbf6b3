"""Tests rules for every command: help, an example, `--json`, and one line for every error of a user."""

import inspect
import json
import shlex
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from zipcast.cli.app import all_commands, app
from zipcast.cli.command_groups import Command, load
from zipcast.cli.errors import Status

LEAVES = tuple(command for command in all_commands() if command.where)
GROUPS = tuple(command for command in all_commands() if not command.where)
# These commands need no service and no file.
SUCCEED = {
    "profile list",
    "simulate",
    "s3 revoke-sessions",
    "config example",
    "keys init",
}
START_A_SYSTEM = {"up", "demo"}
USELESS_VALUES = ("", "/dev/null", "[/old]\n\udcff")
ENDING_IN_A_FILE = (".json", ".csv", ".env")
WITHOUT_A_SERVICE = {
    "HOME": "/nonexistent",
    "COLUMNS": "400",
    "HTTPS_PROXY": "http://127.0.0.1:1",  # no test sends requests to the internet
    **dict.fromkeys(("DATABASE_URL", "NATS_URL", "S3_BUCKET"), ""),
}

each_command = pytest.mark.parametrize("command", LEAVES, ids=lambda command: command.path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working folder, without profiles."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=WITHOUT_A_SERVICE)


def words(command: Command, folder: Path) -> list[str]:
    """Return the words of the example without --json. Create the files that it names, with useless
    content."""
    split = [word for word in shlex.split(command.example) if word != "--json"]
    for word in split:
        if word.endswith(ENDING_IN_A_FILE):
            (folder / word).write_text("nonsense\n")
    return split


@pytest.mark.parametrize(
    "words",
    [
        ("uploads", "yesterday"),
        ("download", "2026-13-01T00-00-00"),
        ("results", "show", "2026-12-01"),
        ("upload", "--epoch", "latest", __file__),
        ("epoch", "show", "2026-12-01T00:00:00"),
        ("epoch", "verify", "x"),
        ("admin", "epoch", "generate", "x"),
    ],
)
def test_a_malformed_epoch_id_is_found_before_any_service_is_needed(words: tuple[str, ...], folder: Path):
    result = invoke(*words)
    assert result.exit_code == Status.USAGE
    assert "an epoch id" in result.output


def test_commands_have_distinct_paths_and_their_groups_exist():
    paths = [command.path for command in all_commands()]
    assert len(paths) == len(set(paths))
    groups = {command.path for command in GROUPS}
    assert {path.rpartition(" ")[0] for path in paths if " " in path} <= groups


@each_command
def test_the_summary_begins_the_docstring(command: Command):
    function = load(command).callback
    assert function is not None
    doc = " ".join((inspect.getdoc(function) or "").split())
    assert doc.startswith(command.summary)


@each_command
def test_the_example_is_a_call_of_this_command_and_its_help_shows_it(command: Command, folder: Path):
    given = words(command, folder)
    assert " ".join(given).startswith(command.path)
    loaded = load(command)
    loaded.make_context(command.path, given[len(command.path.split()) :])
    for flag in ("-h", "--help"):
        shown = invoke(*command.path.split(), flag)
        assert shown.exit_code == Status.OK
        assert f"Example: zipcast {command.example}" in " ".join(shown.stdout.split())


@each_command
def test_every_command_has_json(command: Command):
    assert "--json" in [option for parameter in load(command).params for option in parameter.opts]


@each_command
def test_a_misspelt_option_is_one_line_or_one_object(command: Command, folder: Path):
    given = [*words(command, folder), "--no-such-option"]
    plain = invoke(*given)
    assert (plain.exit_code, plain.stdout) == (Status.USAGE, "")
    (line,) = plain.stderr.splitlines()
    assert "--no-such-option" in line
    assert f"zipcast {command.path} --help" in line.replace("root", "zipcast")
    as_json = invoke(*given, "--json")
    assert (as_json.exit_code, as_json.stderr) == (Status.USAGE, "")
    assert json.loads(as_json.stdout)["code"] == "usage"


@each_command
def test_without_a_service_an_error_is_one_line_and_says_what_to_do(command: Command, folder: Path):
    if command.path in SUCCEED | START_A_SYSTEM:
        assert command.example
        return
    given = words(command, folder)
    plain = invoke(*given)
    assert isinstance(plain.exception, SystemExit), plain.exception
    assert plain.exit_code in set(Status) - {Status.OK}, plain.output
    (line,) = plain.stderr.splitlines()
    assert plain.stdout == ""
    as_json = invoke(*given, "--json")
    assert as_json.exit_code == plain.exit_code
    told = json.loads(as_json.stdout)
    assert set(told) == {
        "success",
        "code",
        "message",
        "remedy",
        "requestId",
        "retryAfterSeconds",
        "exitStatus",
    }
    assert told["exitStatus"] == plain.exit_code
    assert told["message"] in line


@pytest.mark.long
@each_command
def test_no_value_of_an_option_ends_in_a_traceback(command: Command, folder: Path):
    if command.path in START_A_SYSTEM:
        return
    valued = [one for one in load(command).params if not getattr(one, "is_flag", False)]
    for parameter, value in product(valued, USELESS_VALUES):
        names = parameter.opts if parameter.opts[0].startswith("-") else []
        given = [*words(command, folder), names[-1], value] if names else [*command.path.split(), value]
        shown = invoke(*given)
        assert isinstance(shown.exception, SystemExit | None), (given, shown.exception)
        assert shown.exit_code in set(Status), given


def test_a_defect_is_one_line_or_one_object_and_asks_for_a_report(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of no use")

    monkeypatch.setattr("zipcast.cli.epochs.get_page", fail)
    monkeypatch.delenv("ZIPCAST_DEBUG")
    given = ("epoch", "list", "--http", "http://127.0.0.1:1")
    plain, as_json = invoke(*given), invoke(*given, "--json")
    (line,) = plain.stderr.splitlines()
    told = json.loads(as_json.stdout)
    assert (plain.exit_code, as_json.exit_code, as_json.stderr) == (Status.FAILED, Status.FAILED, "")
    assert told["code"] == "internal"
    assert "ZeroDivisionError" in told["message"]
    assert told["message"] in line
    assert "report" in told["remedy"]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.path)
def test_a_group_alone_shows_its_commands(group: Command):
    shown = invoke(*group.path.split())
    assert shown.exit_code == Status.USAGE
    own = [one for one in LEAVES if one.path.rpartition(" ")[0] == group.path]
    assert own
    assert all(one.path.rpartition(" ")[2] in shown.stderr for one in own)


def test_the_help_names_every_command_under_its_role():
    shown = invoke("--help").stdout
    roles = list(dict.fromkeys(one.role for one in all_commands() if " " not in one.path))
    assert [line.removesuffix(":") for line in shown.splitlines() if line.removesuffix(":") in roles] == roles


def test_a_misspelt_command_is_suggested():
    shown = invoke("uplod")
    assert shown.exit_code == Status.USAGE
    assert "'upload'" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_the_version_is_shown():
    shown = invoke("--version")
    assert shown.exit_code == Status.OK
    assert shown.stdout.startswith("zipcast ")
