"""What the operator runs: `up`, `demo`, `import`, `migrate`. They need the server's packages, which the
wheel that miners install does not bring; without them each says what is missing."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from zipcast.cli.current_line import describe_current
from zipcast.cli.session import DEFAULT_READY, ReadyOption
from zipcast.ready import Ready

out = Console()
err = Console(stderr=True)

DatabaseOption = Annotated[
    str | None,
    typer.Option("--database-url", envvar="DATABASE_URL", help="PostgreSQL; default: the local stack's."),
]


@contextmanager
def server_packages() -> Iterator[None]:
    """Turns a missing package into one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        err.print(f"this command needs a checkout of Zipcast with `make env` ({error.name} is missing)")
        raise typer.Exit(1) from None


def up(
    epoch_length: Annotated[str, typer.Option(help="For example 20s, 2m, 4h; divides 24 h.")] = "60s",
    registry: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Stands in for the chain.")
    ] = None,
    zipcodes: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV to import at the start.")
    ] = None,
    state: Annotated[Path, typer.Option(help="Where everything is kept.")] = DEFAULT_READY.parent,
    port_base: Annotated[int | None, typer.Option(help="Ports from here on; default: free ones.")] = None,
) -> None:
    """Run the whole system on this machine, until Ctrl-C."""
    with server_packages():
        from devstack.errors import InvalidOptionError
        from devstack.options import StackOptions, parse_epoch_length
        from devstack.up import run_up
    try:
        options = StackOptions(
            epoch_seconds=parse_epoch_length(epoch_length),
            registry=registry,
            zipcodes=zipcodes,
            state=state,
            port_base=port_base,
        )
    except InvalidOptionError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(asyncio.run(run_up(options, out, describe_current)))


def demo() -> None:
    """Three short epochs with miners and validators, live; exit 0 only if nothing was missing."""
    with server_packages():
        from devstack.demo import run_demo
    raise typer.Exit(asyncio.run(run_demo(out)))


def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV of zipcodes.")],
    database_url: DatabaseOption = None,
    ready: ReadyOption = DEFAULT_READY,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Import zipcodes: one transaction, one version; rejected rows are named."""
    with server_packages():
        from storage.database import open_engine
        from storage.zipcode_import import ImportReport, import_zipcodes
        from storage.zipcode_rows import ImportFileError
    url = _database(database_url, ready)

    async def run() -> ImportReport:
        engine = open_engine(url, application_name="zipcast-import", pool_size=1)
        try:
            return await import_zipcodes(engine, file, now=datetime.now(UTC))
        finally:
            await engine.dispose()

    try:
        report = asyncio.run(run())
    except ImportFileError as error:
        err.print(f"[red]{error}[/red]", highlight=False)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(report.as_json()))
        return
    for rejection in report.rejected:
        err.print(f"line {rejection.line}: {rejection.field} {rejection.rule}", highlight=False)
    out.print(
        f"version {report.import_id}: {report.added} added, {report.changed} changed, "
        f"{report.unchanged} unchanged, {len(report.rejected)} rejected",
        highlight=False,
    )


def migrate_database(database_url: DatabaseOption = None, ready: ReadyOption = DEFAULT_READY) -> None:
    """Bring the database to the newest schema."""
    with server_packages():
        from storage.migrate import migrate
    migrate(_database(database_url, ready))
    out.print("the schema is up to date")


def _database(database_url: str | None, ready: Path) -> str:
    return database_url or Ready.read(ready).postgres
