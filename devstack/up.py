"""Runs `zipcast up`: the stack in the foreground, until Ctrl-C or another signal. It also works without a
terminal."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from devstack.errors import PartFailedError, StackError
from devstack.kept_part import Event, PartDied
from devstack.options import StackOptions
from devstack.stack import Stack
from zipcast.client.local_stack import Ready

OpenStack = Callable[[StackOptions, Callable[[Event], None]], AbstractAsyncContextManager[Stack]]
CurrentEpoch = Callable[[Ready], Awaitable[str]]
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NEXT = (
    (".venv/bin/zipcast watch", "show epochs as they start"),
    (".venv/bin/zipcast current", "show the running epoch's zipcodes"),
    (".venv/bin/zipcast upload FILE", "upload a file as a miner"),
)


async def run_up(
    options: StackOptions,
    console: Console,
    current_epoch: CurrentEpoch | None = None,
    open_stack: OpenStack = Stack.running,
) -> int:
    """Run the stack until a signal arrives. Return the exit status: 0 after a signal, 1 after a failure.
    `current_epoch` describes the running epoch in one line. Tests pass another `open_stack`."""
    with _asked_to_stop() as asked:
        run = asyncio.create_task(_run(open_stack, options, console, current_epoch))
        waiting = asyncio.create_task(asked.wait())
        try:
            await asyncio.wait({run, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not run.done():
                _say(console, "stopping ...")
        finally:
            waiting.cancel()
            run.cancel()
            await asyncio.wait({run})
        return _exit_code(run, console)


async def _run(
    open_stack: OpenStack, options: StackOptions, console: Console, current_epoch: CurrentEpoch | None
) -> None:
    _say(console, f"starting in {_short(options.state)} ...")
    try:
        async with open_stack(options, lambda event: show_event(console, event)) as stack:
            show_parts(console, stack)
            if current_epoch is not None:
                _say(console, await current_epoch(stack.ready))
            _show_next(console)
            await stack.servers.supervisor.watch()
    except asyncio.CancelledError:
        _say(console, "stopped; the state is kept")
        raise


def _exit_code(run: "asyncio.Task[None]", console: Console) -> int:
    if run.cancelled():
        return 0
    error = run.exception()
    if not isinstance(error, StackError):
        run.result()
    else:
        show_stack_error(console, error)
    return 1


def show_parts(console: Console, stack: Stack) -> None:
    """Show the address of each part: as a table on a terminal, otherwise as plain lines."""
    rows = [(part.name, part.address, part.internal, _short(part.log)) for part in stack.parts]
    rows.append(("nats monitoring", stack.servers.monitoring_url, "", ""))
    if not console.is_terminal:
        for row in rows:
            _say(console, "  ".join(cell for cell in row if cell))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("part", "address", "metrics, health", "log"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show_event(console: Console, event: Event) -> None:
    """Print a line about a part that died, with the end of its log, or that runs again. First starts are not
    shown."""
    if isinstance(event, PartDied):
        again = f"restarting it in {event.restart_in_seconds:g} s"
        show_failure(console, f"{event.name}: {event.status}; {again}", event.tail)
    elif event.restarted:
        _say(console, f"{event.name}: runs again, process {event.pid}")


def show_stack_error(console: Console, error: StackError) -> None:
    """Print why the stack could not start, with the end of the log of the part that failed."""
    if isinstance(error, PartFailedError):
        show_failure(console, f"{error} - it did not start", error.tail)
    else:
        show_failure(console, str(error), ())


def show_failure(console: Console, headline: str, tail: tuple[str, ...]) -> None:
    _say(console, headline, style="bold red")
    for line in tail:
        _say(console, f"  | {line}", style="dim")


def _show_next(console: Console) -> None:
    _say(console, "all is up. Press Ctrl-C to stop. In another terminal you can run:")
    width = max(len(command) for command, _ in _NEXT)
    for command, meaning in _NEXT:
        _say(console, f"  {command:<{width}}  {meaning}")


def _say(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, style=style, soft_wrap=True)


def _short(path: Path) -> str:
    """Return the path, relative to the working folder if it is in it."""
    here = Path.cwd()
    absolute = path.absolute()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


@contextmanager
def _asked_to_stop() -> Iterator[asyncio.Event]:
    """Yield an event that is set by Ctrl-C, SIGTERM or a closed terminal, even if the shell ignores
    SIGINT."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in _STOPPING:
        loop.add_signal_handler(number, asked.set)
    try:
        yield asked
    finally:
        for number in _STOPPING:
            loop.remove_signal_handler(number)
