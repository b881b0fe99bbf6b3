"""The `zipcast` command."""

import typer

from zipcast.cli import (
    admin,
    client_commands,
    config,
    epochs,
    issuances,
    keys,
    operator,
    s3,
    simulate,
    zipcodes,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Commands for miners, validators and operators of a Zipcast subnet.",
)
app.command()(client_commands.watch)
app.command()(client_commands.current)
app.command()(client_commands.upload)
app.command()(operator.up)
app.command()(operator.demo)
app.command("import")(zipcodes.import_file)
app.command("migrate")(operator.migrate_database)
app.command("simulate")(simulate.simulate_epochs)
app.command("issuances")(issuances.list_issuances)
app.add_typer(s3.s3_app, name="s3")
app.add_typer(epochs.epochs_app, name="epoch")
# Operators look for commands about epochs under `epoch`, so two commands of `admin` are also available there.
epochs.epochs_app.command("regenerate")(admin.regenerate)
epochs.epochs_app.command("override-target")(admin.override)
app.add_typer(zipcodes.zipcodes_app, name="zipcodes")
app.add_typer(config.config_app, name="config")
app.add_typer(keys.keys_app, name="keys")
app.add_typer(zipcodes.imports_app, name="imports")
app.add_typer(admin.admin_app, name="admin")


def main() -> None:
    app()
