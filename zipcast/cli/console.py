"""Prints for the commands. No text is read as markup: names of files and cities come from users."""

from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table

MAX_PIPED_WIDTH = 1_000


def open_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that prints text as it is: `[/old]` and `:house:` in it mean nothing."""
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


out, err = open_console(), open_console(stderr=True)


def fail(message: str, status: int = 1) -> NoReturn:
    """Print one line in red on stderr and end with that exit status."""
    err.print(message, style="red", soft_wrap=True)
    raise typer.Exit(status)


def show_table(table: Table) -> None:
    """Print a table with whole cells: folded on a terminal, elsewhere in lines as long as they must be."""
    console = open_console()
    if not console.is_terminal:
        console = open_console(width=MAX_PIPED_WIDTH)
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)
