"""Defines `zipcast config …`, which shows the settings that a process would read from this environment."""

import difflib
import os
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from zipcast.cli.console import echo_json, fail, out
from zipcast.cli.errors import Status

if TYPE_CHECKING:
    from service.settings import EnvironmentSettings

Settings = TypeVar("Settings", bound="EnvironmentSettings")


# Each process and its settings class, which is imported only when a command needs it.
SETTINGS = {
    "schedulers": "schedulers.settings:SchedulerSettings",
    "responder": "broker_service.responder.settings:ResponderSettings",
    "callout": "broker_service.callout.settings:CalloutSettings",
    "bridge": "http_bridge.settings:BridgeSettings",
}

SIMILAR = 0.87
"""A name that is at least this similar to the name of a setting (0 to 1) counts as a typing error. A missing
letter in a name of eight gives 0.93."""
MIN_NAME_LENGTH = 6
"""Shorter names, such as PORT, resemble too many variables of other programs."""

EnvFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--env-file",
        exists=True,
        dir_okay=False,
        help="File of settings; repeatable. Later files take precedence over earlier ones, and the "
        "environment over all files.",
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
        fail(f"--env-file {path}: {error}", Status.USAGE, code="settings")


def settings_classes() -> "dict[str, type[EnvironmentSettings]]":
    return {process: _settings_class(where) for process, where in SETTINGS.items()}


def known_settings() -> frozenset[str]:
    """Return the names of all variables that any process reads."""
    return frozenset(name.upper() for one in settings_classes().values() for name in one.model_fields)


def _settings_class(where: str) -> "type[EnvironmentSettings]":
    module, _, name = where.partition(":")
    found: type[EnvironmentSettings] = getattr(import_module(module), name)
    return found


def check(
    process: Annotated[str, typer.Argument(help=" | ".join(SETTINGS))],
    env_file: EnvFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the settings that PROCESS would use, with secrets hidden. Exit status 2 if they are invalid.

    A name in a file or in the environment that resembles the name of a setting is an error."""
    if process not in SETTINGS:
        raise typer.BadParameter(f"must be one of {', '.join(SETTINGS)}", param_hint="PROCESS")
    read_env_files(env_file)
    if (slip := misspelt(os.environ)) is not None:
        fail(slip, Status.USAGE, code="settings")
    settings = read_settings(settings_classes()[process])
    if as_json:
        echo_json({name.upper(): _shown(value) for name, value in settings})
        return
    table = Table("variable", "value", "", box=None, pad_edge=False)
    for name, value in settings:
        table.add_row(name.upper(), _shown(value), "" if name in settings.model_fields_set else "default")
    out.print(table)


def read_settings(settings_class: "type[Settings]", env_files: list[Path] | None = None) -> "Settings":
    """Return a process's settings from the environment and these files. If they are invalid, end the command
    with one line that names the variable and the rule."""
    from service.settings import SettingsError, read

    read_env_files(env_files)
    try:
        return read(settings_class)
    except SettingsError as error:
        fail(str(error), Status.USAGE, code="settings")


def misspelt(names: Iterable[str]) -> str | None:
    """Return an error about the first name that is no setting but resembles one, or None."""
    known = known_settings()
    for name in sorted(set(names) - known):
        if len(name) >= MIN_NAME_LENGTH and (close := difflib.get_close_matches(name, known, 1, SIMILAR)):
            return f"{name}: is not a setting; did you mean {close[0]}?"
    return None


def _shown(value: object) -> str:
    return "" if value is None else str(value)  # a secret is shown as asterisks


def example(
    purpose: Annotated[str | None, typer.Option("--for", help="For production, testnet or test.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print {variable: default} as JSON.")] = False,
) -> None:
    """Print the contents of `.env.example`, `.env.production` and so on: every variable of every process."""
    from service.env_example import VALUES, render

    if purpose is not None and purpose not in VALUES:
        raise typer.BadParameter(f"must be one of {', '.join(VALUES)}", param_hint="--for")
    if as_json:
        fields = {
            name: field for one in settings_classes().values() for name, field in one.model_fields.items()
        }
        defaults = {name.upper(): _shown(field.get_default()) for name, field in fields.items()}
        echo_json({name: defaults[name] for name in sorted(defaults)})
        return
    typer.echo(render(settings_classes(), purpose), nl=False)
