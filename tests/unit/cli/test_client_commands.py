"""Tests the commands of miners and validators before they connect."""

import re
from pathlib import Path

import pytest
from rich.table import Table
from typer.testing import CliRunner, Result

from zipcast.cli import console
from zipcast.cli.app import app
from zipcast.cli.console import open_console, show_table
from zipcast.cli.errors import Status

SHARED = (
    "ready",
    "profile",
    "nats",
    "signers",
    "network",
    "netuid",
    "wallet-path",
    "wallet",
    "hotkey",
    "password-file",
)
COMMANDS = ("watch", "current", "upload")
ADMIN_COMMANDS = (
    ("epoch", "generate"),
    ("epoch", "regenerate"),
    ("target", "override"),
    ("connections",),
    ("kick",),
    ("commands",),
)
# The last two are the same commands, in the group where an operator looks for them.
IN_SESSION = (
    *((name,) for name in COMMANDS),
    *(("admin", *command) for command in ADMIN_COMMANDS),
    ("epoch", "regenerate"),
    ("epoch", "override-target"),
)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})


@pytest.mark.parametrize("command", IN_SESSION)
def test_every_command_takes_the_session_options_after_its_name_and_shows_no_other(command: tuple[str, ...]):
    shown = re.findall(r"--([a-z-]+)", invoke(*command, "--help").output)
    assert [name for name in dict.fromkeys(shown) if name in SHARED] == list(SHARED)
    assert "session" not in invoke(*command, "--help").output.lower()


@pytest.mark.parametrize("content", ["{", "[]", '{"nats": 1}', '{"s3": {}}'])
def test_a_broken_ready_file_is_one_line(tmp_path, content: str):
    path = tmp_path / "ready.json"
    path.write_text(content)
    result = invoke("current", "--ready", str(path))
    assert result.exit_code == Status.UNAVAILABLE
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{path} ")
    assert "zipcast up" in line


def test_a_ready_file_with_a_field_of_another_kind_is_one_line(tmp_path):
    fields = '"monitoring": "", "http": "", "postgres": "", "audience": "", "epoch_seconds": 1, "pids": {}'
    stores = '"s3": {"endpoint": "", "miner_bucket": "", "validator_bucket": ""}'
    path = tmp_path / "ready.json"
    path.write_text(
        f'{{{fields}, {stores}, "nats": "", "signer": "", "netuid": 1, "network": "", "wallets": 7}}'
    )
    result = invoke("watch", "--ready", str(path))
    assert result.exit_code == Status.UNAVAILABLE
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{path} ")
    assert "zipcast up" in line


def test_without_any_service_the_missing_option_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("watch")
    assert result.exit_code == Status.USAGE
    assert "--signers" in result.stderr


def test_no_text_of_a_user_is_read_as_markup(capsys: pytest.CaptureFixture[str]):
    """Names of cities and files may contain brackets and colons, which rich would read as styles and
    emoji."""
    texts = ("Winston [/old]", "Lower [merion]", "Upper [red]Darby", "Camp :house: Hill", "zips[pa].json")
    table = Table("city", title=texts[0], caption=texts[1])
    for text in texts:
        table.add_row(text)
        open_console(width=200).print(text, style="red")
    show_table(table)
    printed = capsys.readouterr().out
    assert all(printed.count(text) >= 2 for text in texts)


def test_every_console_of_the_commands_prints_text_as_it_is():
    repository = Path(console.__file__).parents[2]
    folders = ("zipcast", "operator_cli", "devstack", "storage", "service")
    paths = [path for folder in folders for path in (repository / folder).rglob("*.py")]
    sources = {path: path.read_text() for path in paths if path != Path(console.__file__)}
    interprets = re.compile(
        r"\bConsole\(|\bfrom rich import print\b|\brich\.print\b|from_markup\(|markup=True"
    )
    assert [path for path, source in sources.items() if interprets.search(source)] == []
