"""Defines `zipcast config …`, which shows the settings that a process would read from this environment."""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from zipcast.cli.console import err, out

if TYPE_CHECKING:
    from service.settings import EnvironmentSettings

config_app = typer.Typer(no_args_is_help=True, help="Check and list the settings of the processes.")

# Each process and the name of its settings class. Only a checkout has the classes, so they are imported by
# name.
SETTINGS = {
    "schedulers": "schedulers.settings:SchedulerSettings",
    "responder": "broker_service.responder.settings:ResponderSettings",
    "callout": "broker_service.callout.settings:CalloutSettings",
    "bridge": "http_bridge.settings:BridgeSettings",
}

EnvFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--env-file",
        exists=True,
        dir_okay=False,
        help="File of settings; repeatable, the last wins. The environment wins over files.",
    ),
]


def read_env_files(paths: list[Path] | None) -> None:
    """Put the settings of these files into the environment, except variables that it already has."""
    stated: dict[str, str] = {}
    for path in paths or []:
        stated |= env_values(path)
    os.environ.update({name: value for name, value in stated.items() if name not in os.environ})


def env_values(path: Path) -> dict[str, str]:
    """Return the settings in a file. If the file cannot be read, print its name and exit."""
    from dotenv import dotenv_values

    try:
        return {name: value for name, value in dotenv_values(path).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        err.print(f"--env-file {path}: {error}", soft_wrap=True)
        raise typer.Exit(2) from None


def settings_classes() -> "dict[str, type[EnvironmentSettings]]":
    return {process: _settings_class(where) for process, where in SETTINGS.items()}


def known_settings() -> frozenset[str]:
    """Return the names of all variables that any process reads."""
    return frozenset(name.upper() for one in settings_classes().values() for name in one.model_fields)


def _settings_class(where: str) -> "type[EnvironmentSettings]":
    module, _, name = where.partition(":")
    found: type[EnvironmentSettings] = getattr(import_module(module), name)
    return found


@config_app.command("check")
def check(
    process: Annotated[str, typer.Argument(help=" | ".join(SETTINGS))],
    env_file: EnvFiles = None,
) -> None:
    """Show the settings that PROCESS would use, with secrets hidden. Exit status 2 if they are invalid."""
    if process not in SETTINGS:
        raise typer.BadParameter(f"must be one of {', '.join(SETTINGS)}", param_hint="PROCESS")
    from service.settings import load

    read_env_files(env_file)
    settings = load(settings_classes()[process])
    table = Table("variable", "value", "", box=None, pad_edge=False)
    for name, value in settings:
        table.add_row(name.upper(), _shown(value), "" if name in settings.model_fields_set else "default")
    out.print(table)


def _shown(value: object) -> str:
    return "" if value is None else str(value)  # a secret is shown as asterisks


@config_app.command("example")
def example() -> None:
    """Print the contents of `.env.example`: every variable of every process."""
    from service.env_example import render

    typer.echo(render(settings_classes()), nl=False)
