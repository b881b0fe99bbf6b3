"""Groups commands by role, and imports a command only when it is used, so that `zipcast --help` starts fast.

A table of `Command` describes all commands. `zipcast.cli.commands` has the table of the commands of miners
and validators.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from zipcast.cli.errors import DEBUG_VARIABLE, CommandError, Status, asks_for_json, defect, show_error

CONTEXT = {"help_option_names": ["-h", "--help"]}


@dataclass(frozen=True, slots=True)
class Command:
    """A command. `path` is the name that the user types, such as `epoch list`; `where` is `module:function`,
    or empty for a group of commands. `role` is the heading in the help. `summary` is the first sentence of
    the function's docstring, and `example` a command line without `zipcast`."""

    path: str
    where: str
    role: str
    summary: str
    example: str = ""


class LazyGroup(TyperGroup):
    """A group of commands whose code is imported when they are used. The help is plain text, with a heading
    per role."""

    def __init__(self, *, table: Iterable[Command] = (), prefix: str = "", **attributes: Any) -> None:
        super().__init__(**{**attributes, "rich_markup_mode": None})
        self._table = tuple(table)
        self._prefix = prefix
        self._own = {
            one.path.removeprefix(prefix): one
            for one in self._table
            if one.path.startswith(prefix) and " " not in one.path.removeprefix(prefix)
        }
        # Click lists these names in the help and suggests them after a typing mistake. `get_command` returns
        # the commands themselves.
        self.commands = {name: TyperCommand(name, help=one.summary) for name, one in self._own.items()}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        one = self._own.get(cmd_name)
        if one is None:
            return None
        if not one.where:
            help_text = one.summary
            return LazyGroup(name=cmd_name, help=help_text, table=self._table, prefix=f"{one.path} ")
        return load(one)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(Status.USAGE)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        names = max(map(len, self._own), default=0)
        for role in dict.fromkeys(one.role for one in self._own.values()):
            with formatter.section(role):
                rows = [
                    (name.ljust(names), one.summary) for name, one in self._own.items() if one.role == role
                ]
                formatter.write_dl(rows)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        stubs = TyperGroup(name=self.name, commands=dict(self.commands), params=self.params)
        return stubs.shell_complete(ctx, incomplete)


class CommandLine(LazyGroup):
    """The command `zipcast` itself. It prints every error as one line, or as JSON."""

    def main(
        self,
        args: Any = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        try:
            status = super().main(
                given, prog_name, complete_var, standalone_mode=False, windows_expand_args=False, **extra
            )
        except typer.TyperException as error:
            status = show_error(error, as_json=asks_for_json(given))
        except typer.Abort:
            remedy = "If there is no terminal to ask on, give the answer as an option; see --help."
            unanswered = CommandError(
                "a question was not answered", Status.INTERRUPTED, code="interrupted", remedy=remedy
            )
            status = show_error(unanswered, as_json=asks_for_json(given))
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE):
                raise
            status = show_error(defect(error), as_json=asks_for_json(given))
        sys.exit(status if isinstance(status, int) else Status.OK)


def load(command: Command) -> TyperCommand:
    """Import the code of a command."""
    module, _, name = command.where.partition(":")
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    epilog = f"Example: zipcast {command.example}" if command.example else None
    app.command(command.path.rpartition(" ")[2], epilog=epilog)(getattr(import_module(module), name))
    found = typer.main.get_command(app)
    assert isinstance(found, TyperCommand)  # noqa: S101 - one command without a callback is never a group
    return found
