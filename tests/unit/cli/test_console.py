"""Tests that no output of a command can control the terminal."""

import json
from pathlib import Path

import pytest
from rich.table import Table

import operator_cli
from zipcast import cli
from zipcast.cli.console import echo, echo_json, fail, legible, open_console
from zipcast.cli.errors import CommandError, Status, show_error

OWN_TEXTS = {
    "console.py",
    "app.py",  # the version
    "command_groups.py",  # help
    "config.py",  # .env.example
    "s3.py",  # a policy
}
HOSTILE = "a\x1b]0;owned\x07\x1b[31mb\x9b2J\u202ec\r"
CARRIAGE = "\\r"
SHOWN = "a\\x1b]0;owned\\x07\\x1b[31mb\\x9b2J\\u202ec\\r"


def test_what_does_not_print_is_escaped_and_lines_stay() -> None:
    assert legible(HOSTILE) == SHOWN
    assert legible("Zürich\t100\n[/old] :house:") == "Zürich\t100\n[/old] :house:"


def test_texts_and_cells_of_tables_are_printed_legibly(capsys: pytest.CaptureFixture[str]) -> None:
    console = open_console(width=200)
    table = Table("city")
    table.add_row(HOSTILE)
    console.print(HOSTILE)
    console.print(table)
    echo(HOSTILE)
    printed = capsys.readouterr().out
    assert printed.count(SHOWN) == 3
    assert "\x1b" not in printed


def test_an_error_is_one_line_whatever_a_server_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError) as ended:
        fail(f"the server says: {HOSTILE}\nepoch holds")
    assert show_error(ended.value, as_json=False) == Status.FAILED
    assert capsys.readouterr().err == f"the server says: {SHOWN.removesuffix(CARRIAGE)} epoch holds\n"


def test_an_error_in_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    error = CommandError(
        HOSTILE, Status.REFUSED, code="rate_limited", remedy="Wait.", request_id="r1", retry_after_seconds=3
    )
    assert show_error(error, as_json=True) == Status.REFUSED
    printed = capsys.readouterr()
    assert printed.err == ""
    document = json.loads(printed.out)
    assert document["code"] == "rate_limited"
    assert (document["remedy"], document["requestId"]) == ("Wait.", "r1")
    assert (document["retryAfterSeconds"], document["exitStatus"]) == (3, 3)


def test_json_is_printed_with_all_escaped_that_commands_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = {"a": HOSTILE + "\x7f\u00fc\U0001f600", "b": ["x"]}
    echo_json(document)
    echo_json(json.dumps(document, ensure_ascii=False).encode())
    printed = capsys.readouterr().out
    assert [json.loads(line) for line in printed.splitlines()] == [document, document]
    assert all(one == "\n" or " " <= one <= "~" for one in printed)


def test_commands_print_what_servers_say_by_the_console_alone() -> None:
    """`typer.echo` prints any text unchanged, so only our own constant texts may use it."""
    folders = (Path(cli.__file__).parent, Path(operator_cli.__file__).parent)
    sources = [path for folder in folders for path in folder.glob("*.py") if path.name not in OWN_TEXTS]
    assert [path.name for path in sources if "typer.echo(" in path.read_text()] == []
