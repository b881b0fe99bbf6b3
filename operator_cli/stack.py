"""Defines the operator's commands `up`, `demo` and `migrate`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from operator_cli.config import known_settings
from operator_cli.database import DatabaseOption, chosen_database, database_faults, local_stack_packages
from zipcast.cli.console import out
from zipcast.cli.current_epoch import describe_current
from zipcast.cli.session import DEFAULT_READY, ReadyOption


def up(
    epoch_length: Annotated[str, typer.Option(help="For example 20s, 2m or 4h; must divide 24 h.")] = "60s",
    registry: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="JSON list of neurons, used instead of the chain."),
    ] = None,
    zipcodes: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Zipcodes to import at the start, CSV or JSON."),
    ] = None,
    state: Annotated[Path, typer.Option(help="Folder for all state.")] = DEFAULT_READY.parent,
    port_base: Annotated[
        int | None, typer.Option(help="Use ports from this number on. Default: free ports.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any setting of any process; repeatable."),
    ] = None,
) -> None:
    """Run the whole system on this machine until you press Ctrl-C."""
    with local_stack_packages():
        from devstack.errors import InvalidOptionError
        from devstack.options import StackOptions, parse_epoch_length, parse_settings
        from devstack.up import run_up
    try:
        options = StackOptions(
            epoch_seconds=parse_epoch_length(epoch_length),
            registry=registry,
            zipcodes=zipcodes,
            state=state,
            port_base=port_base,
            settings=parse_settings(settings or [], known_settings()),
        )
    except InvalidOptionError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(asyncio.run(run_up(options, out, describe_current)))


def demo() -> None:
    """Run three short epochs with miners and validators. Exit status 0 only if nothing was missing."""
    with local_stack_packages():
        from devstack.demo import run_demo
    raise typer.Exit(asyncio.run(run_demo(out)))


def migrate_database(database_url: DatabaseOption = None, ready: ReadyOption = DEFAULT_READY) -> None:
    """Upgrade the database to the newest schema."""
    from storage.database.migrate import migrate

    url = chosen_database(database_url, ready)
    with database_faults():
        migrate(url)
    out.print("the schema is up to date")
