"""Builds the command `zipcast`.

Other distributions add commands with an entry point of the group `zipcast.commands`, which names a function
that takes the application. `zipcast-server` adds the operator's commands this way.
"""

from importlib.metadata import entry_points

import typer

from zipcast.cli import client_commands, epochs

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Commands for a Zipcast subnet: receive, verify and upload for its epochs.",
)
app.command()(client_commands.watch)
app.command()(client_commands.current)
app.command()(client_commands.upload)
app.add_typer(epochs.epochs_app, name="epoch")
for _extension in entry_points(group="zipcast.commands"):
    _extension.load()(app)


def main() -> None:
    app()
