"""Adds the operator's commands to `zipcast`."""

import typer

from operator_cli import admin, config, issuances, keys, preview, s3, simulate, stack, zipcodes
from zipcast.cli.epochs import epochs_app


def add_commands(app: typer.Typer) -> None:
    """Add every command of the operator. Called through the entry point `operator` of `zipcast.commands`."""
    app.command()(stack.up)
    app.command()(stack.demo)
    app.command("import")(zipcodes.import_file)
    app.command("migrate")(stack.migrate_database)
    app.command("simulate")(simulate.simulate_epochs)
    app.command("issuances")(issuances.list_issuances)
    app.add_typer(s3.s3_app, name="s3")
    app.add_typer(zipcodes.zipcodes_app, name="zipcodes")
    app.add_typer(zipcodes.imports_app, name="imports")
    app.add_typer(config.config_app, name="config")
    app.add_typer(keys.keys_app, name="keys")
    app.add_typer(admin.admin_app, name="admin")
    # Operators look for commands about epochs under `epoch`; two of these are also under `admin`.
    epochs_app.command("preview")(preview.show_preview)
    epochs_app.command("regenerate")(admin.regenerate)
    epochs_app.command("override-target")(admin.override)
