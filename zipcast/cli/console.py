"""Prints for the commands. Texts come from files and servers: none is read as markup, and none reaches the
terminal as a command to it."""

import json
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

MAX_PIPED_WIDTH = 1_000


def legible(text: str) -> str:
    """The text, with each character escaped that does not print: terminals obey some of them. Line ends and
    tabs stay."""
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text
    )


class LegibleConsole(Console):
    """Shows legible text alone, in tables too."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(legible(text), **options)


def open_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that prints text as it is: `[/old]` and `:house:` in it mean nothing."""
    return LegibleConsole(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


out, err = open_console(), open_console(stderr=True)


def echo(text: str, *, to_stderr: bool = False) -> None:
    """Print lines as they are, however long."""
    typer.echo(legible(text), err=to_stderr)


def echo_json(document: bytes | object) -> None:
    """Print JSON as it is, or of an object, with each character escaped that does not print or is not ASCII:
    it may come from a server. It says the same then."""
    text = document.decode() if isinstance(document, bytes) else json.dumps(document)
    typer.echo("".join(one if " " <= one <= "~" or one in "\r\n\t" else _escaped(one) for one in text))


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}" if character.isascii() else json.dumps(character)[1:-1]


def fail(message: str, status: int = 1) -> NoReturn:
    """Print one line in red on stderr and end with that exit status."""
    err.print(" ".join(message.split("\n")), style="red", soft_wrap=True)
    raise typer.Exit(status)


def show_table(table: Table) -> None:
    """Print a table with whole cells: folded on a terminal, elsewhere in lines as long as they must be."""
    console = open_console()
    if not console.is_terminal:
        console = open_console(width=MAX_PIPED_WIDTH)
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)
