"""Prints the output of commands. Texts from files and servers are never interpreted as markup, and control
characters in them never reach the terminal."""

import json
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zipcast.cli.errors import CommandError, Status

MAX_PIPED_WIDTH = 1_000


def legible(text: str) -> str:
    """Return the text with unprintable characters escaped, because terminals interpret some of them. Line
    ends and tabs are kept."""
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text
    )


class LegibleConsole(Console):
    """A console that escapes unprintable characters, also in tables."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(legible(text), **options)


def open_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that prints text as it is, without interpreting `[/old]` or `:house:`."""
    return LegibleConsole(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


out, err = open_console(), open_console(stderr=True)


def echo(text: str, *, to_stderr: bool = False) -> None:
    """Print text without wrapping its lines."""
    typer.echo(legible(text), err=to_stderr)


def echo_json(document: bytes | object) -> None:
    """Print JSON text, or an object as JSON. Unprintable and non-ASCII characters are escaped, because they
    may come from a server. The meaning of the JSON stays the same."""
    text = document.decode() if isinstance(document, bytes) else json.dumps(document)
    typer.echo("".join(one if " " <= one <= "~" or one in "\r\n\t" else _escaped(one) for one in text))


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}" if character.isascii() else json.dumps(character)[1:-1]


def fail(message: str, status: int = Status.FAILED, *, code: str = "failed", remedy: str = "") -> NoReturn:
    """End the command with one line on stderr, or with one JSON object if it was called with --json."""
    raise CommandError(message, status, code=code, remedy=remedy)


def show_table(table: Table) -> None:
    """Print a table without cutting cells. On a terminal, long cells are wrapped; elsewhere, lines may be
    long."""
    console = open_console()
    if not console.is_terminal:
        console = open_console(width=MAX_PIPED_WIDTH)
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)
