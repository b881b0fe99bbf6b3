"""Defines `zipcast config`, which shows the settings that processes would read from this environment."""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from zipcast.cli.console import err, out

if TYPE_CHECKING:
    from service.settings import EnvironmentSettings

config_app = typer.Typer(no_args_is_help=True, help="Settings of the processes.")

# {process: the class of its settings}, by name: only a checkout has them.
SETTINGS = {
    "schedulers": "schedulers.settings:SchedulerSettings",
    "responder": "broker_service.responder.settings:ResponderSettings",
    "callout": "broker_service.callout.settings:CalloutSettings",
    "bridge": "http_bridge.settings:BridgeSettings",
}

EnvFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--env-file", exists=True, dir_okay=False, help="Read before the environment; later ones win."
    ),
]


def read_env_files(paths: list[Path] | None) -> None:
    """Put the settings of these files into the environment, which wins over them."""
    stated: dict[str, str] = {}
    for path in paths or []:
        stated |= env_values(path)
    os.environ.update({name: value for name, value in stated.items() if name not in os.environ})


def env_values(path: Path) -> dict[str, str]:
    """Return the settings in a file. Exits naming a file that cannot be read."""
    from dotenv import dotenv_values

    try:
        return {name: value for name, value in dotenv_values(path).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        err.print(f"--env-file {path}: {error}", soft_wrap=True)
        raise typer.Exit(2) from None


def settings_classes() -> "dict[str, type[EnvironmentSettings]]":
    return {process: _settings_class(where) for process, where in SETTINGS.items()}


def known_settings() -> frozenset[str]:
    """The variables that some process reads."""
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
    """Show what PROCESS would run with, secrets hidden; exit status 2 if its settings stop it."""
    if process not in SETTINGS:
        raise typer.BadParameter(f"one of {', '.join(SETTINGS)}", param_hint="PROCESS")
    from service.settings import load

    read_env_files(env_file)
    settings = load(settings_classes()[process])
    table = Table("variable", "value", "", box=None, pad_edge=False)
    for name, value in settings:
        table.add_row(name.upper(), _shown(value), "" if name in settings.model_fields_set else "default")
    out.print(table)


def _shown(value: object) -> str:
    return "" if value is None else str(value)  # a secret shows itself as asterisks


@config_app.command("example")
def example() -> None:
    """Print `.env.example`: every variable of every process."""
    from service.env_example import render

    typer.echo(render(settings_classes()), nl=False)
