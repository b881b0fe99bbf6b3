"""Builds the command `zipcast`.

Other distributions add commands with an entry point of the group `zipcast.commands`, which names a table of
`zipcast.cli.command_groups.Command`. `zipcast-server` adds the operator's commands this way.
"""

from importlib.metadata import entry_points, version
from typing import Annotated, Any

import typer

from zipcast.cli.command_groups import CONTEXT, Command, CommandLine
from zipcast.cli.commands import COMMANDS


def all_commands() -> tuple[Command, ...]:
    """Return the table of all commands that are installed."""
    added = (command for one in entry_points(group="zipcast.commands") for command in one.load())
    return (*COMMANDS, *added)


class Zipcast(CommandLine):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes, table=all_commands())


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zipcast {version('zipcast')}")
        raise typer.Exit


app = typer.Typer(
    cls=Zipcast,
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 unavailable, 5 not verified. Errors "
    "go to standard error; with --json they are one JSON object on standard output.",
)


@app.callback()
def zipcast(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Receive and verify the epochs of a Zipcast subnet, and upload files for them."""


def main() -> None:
    app()
