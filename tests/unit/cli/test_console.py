"""What commands print is text: nothing in it is a command to the terminal."""

import pytest
import typer
from rich.table import Table

from zipcast.cli.console import echo, fail, legible, open_console

HOSTILE = "a\x1b]0;owned\x07\x1b[31mb\x9b2J\u202ec\r"
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
    with pytest.raises(typer.Exit):
        fail(f"the server says: {HOSTILE}\nepoch holds")
    assert capsys.readouterr().err == f"the server says: {SHOWN} epoch holds\n"
