"""Defines the operator's commands `up`, `down`, `demo` and `migrate`."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from operator_cli.config import known_settings
from operator_cli.database import DatabaseOption, chosen_database, database_faults, local_stack_packages
from zipcast.cli.console import echo_json, err, fail, out
from zipcast.cli.current_epoch import describe_current
from zipcast.cli.errors import Status
from zipcast.cli.session import DEFAULT_READY, ReadyOption

StateOption = Annotated[Path, typer.Option(help="Folder for all state.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
    state: StateOption = DEFAULT_READY.parent,
    port_base: Annotated[
        int | None, typer.Option(help="Use ports from this number on. Default: free ports.")
    ] = None,
    network: Annotated[
        str,
        typer.Option(help="On test and finney, hotkeys are read from the chain; use another --state."),
    ] = "local",
    netuid: Annotated[int, typer.Option(help="Number of the subnet.")] = 46,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any setting of any process; repeatable."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="When all is up, print the contents of ready.json in one line.")
    ] = False,
) -> None:
    """Run the whole system on this machine until you press Ctrl-C."""
    with local_stack_packages():
        from devstack.errors import InvalidOptionError, StackError
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
            network=network,
            netuid=netuid,
        )
    except InvalidOptionError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        if as_json:
            asyncio.run(run_up(options, err, on_ready=lambda ready: echo_json(asdict(ready))))
        else:
            asyncio.run(run_up(options, out, describe_current))
    except StackError as error:
        fail(str(error), code="stack")


def down(
    state: StateOption = DEFAULT_READY.parent,
    as_json: JsonOption = False,
) -> None:
    """Stop the system that `zipcast up` runs, and keep its state."""
    with local_stack_packages():
        from devstack.down import NotRunningError, StillRunningError, stop
    try:
        pid = stop(state)
    except NotRunningError as error:
        fail(str(error), Status.UNAVAILABLE, code="not_running", remedy="Name its folder with --state.")
    except StillRunningError as error:
        fail(str(error), code="still_running", remedy="Try again; its terminal shows what it waits for.")
    if as_json:
        echo_json({"stopped": pid})
    else:
        out.print("stopped; the state is kept")


def demo(as_json: JsonOption = False) -> None:
    """Run three short epochs with miners and validators. Exit status 0 only if nothing was missing."""
    with local_stack_packages():
        from devstack.demo import run_demo
    status = asyncio.run(run_demo(err if as_json else out))
    if as_json:
        echo_json({"passed": status == Status.OK})
    raise typer.Exit(status)


def migrate_database(
    database_url: DatabaseOption = None, ready: ReadyOption = DEFAULT_READY, as_json: JsonOption = False
) -> None:
    """Upgrade the database to the newest schema."""
    from storage.database.migrate import migrate

    url = chosen_database(database_url, ready)
    with database_faults():
        migrate(url)
    if as_json:
        echo_json({"upToDate": True})
        return
    out.print("the schema is up to date")
