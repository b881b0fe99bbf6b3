"""Runs `zipcast up`: the stack in the foreground, until Ctrl-C or another signal. It also works without a
terminal."""

import asyncio
import shlex
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

from rich.console import Console

from devstack.errors import PartFailedError, StackError
from devstack.kept_part import Event, PartDied, StepBegan
from devstack.options import DEFAULT_STATE, StackOptions
from devstack.stack import Stack
from zipcast.client.local_stack import Ready

OpenStack = Callable[[StackOptions, Callable[[Event], None]], AbstractAsyncContextManager[Stack]]
CurrentEpoch = Callable[[Ready], Awaitable[str]]
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NEXT = (
    ("watch", "", "show epochs as they start"),
    ("current", "", "show the running epoch's zipcodes"),
    ("upload", " FILE", "upload a file as a miner"),
    ("doctor", "", "check each step of a client"),
)


async def run_up(
    options: StackOptions,
    console: Console,
    current_epoch: CurrentEpoch | None = None,
    open_stack: OpenStack = Stack.running,
    *,
    on_ready: Callable[[Ready], None] | None = None,
) -> None:
    """Run the stack until a signal arrives. `current_epoch` describes the running epoch in one line.
    `on_ready` is called when all parts are up. Tests pass another `open_stack`.

    Raises StackError, after the end of the log of the part that failed was shown."""
    with _asked_to_stop() as asked:
        run = asyncio.create_task(_run(open_stack, options, console, current_epoch, on_ready))
        waiting = asyncio.create_task(asked.wait())
        try:
            await asyncio.wait({run, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not run.done():
                _say(console, "stopping ...")
        finally:
            waiting.cancel()
            run.cancel()
            await asyncio.wait({run})
        if not run.cancelled():
            _show_end(run, console)


async def _run(
    open_stack: OpenStack,
    options: StackOptions,
    console: Console,
    current_epoch: CurrentEpoch | None,
    on_ready: Callable[[Ready], None] | None,
) -> None:
    _say(console, f"starting in {_short(options.state)} ...")
    try:
        async with open_stack(options, lambda event: show_event(console, event)) as stack:
            show_parts(console, stack)
            if current_epoch is not None:
                _say(console, await current_epoch(stack.ready))
            show_next(console, stack.ready, options.state)
            if on_ready is not None:
                on_ready(stack.ready)
            await stack.servers.supervisor.watch()
    except asyncio.CancelledError:
        _say(console, "stopped; the state is kept")
        raise


def _show_end(run: "asyncio.Task[None]", console: Console) -> None:
    """Show the end of the log of the part that failed, and raise the error."""
    error = run.exception()
    if isinstance(error, PartFailedError):
        _show_tail(console, error.tail)
    run.result()


def show_parts(console: Console, stack: Stack) -> None:
    """Show the address of each part in one line, which fits into 80 columns, so that no address is broken."""
    rows = [(part.name, part.address, part.internal) for part in stack.parts]
    rows.append(("nats monitoring", stack.servers.monitoring_url, ""))
    if dashboard := stack.ready.dashboard:
        rows.append(("nats dashboard", dashboard, ""))
    width = max(len(name) for name, _, _ in rows)
    for name, address, internal in rows:
        metrics = f"  {internal}/metrics" if internal else ""
        _say(console, f"{name:<{width}}  {address}{metrics}")
    _say(console, f"logs: {_short(stack.servers.state.logs)}/PART.log")


def show_event(console: Console, event: Event) -> None:
    """Print a line about a step of the start, about a part that died, with the end of its log, or about a
    part that is ready for the first time or again."""
    if isinstance(event, StepBegan):
        _say(console, f"{event.text} ...")
    elif isinstance(event, PartDied):
        again = f"restarting it in {event.restart_in_seconds:g} s"
        show_failure(console, f"{event.name}: {event.status}; {again}", event.tail)
    else:
        how = f"runs again, process {event.pid}" if event.restarted else "ready"
        _say(console, f"{event.name}: {how}")


def show_stack_error(console: Console, error: StackError) -> None:
    """Print why the stack could not start, with the end of the log of the part that failed."""
    if isinstance(error, PartFailedError):
        show_failure(console, f"{error} - it did not start", error.tail)
    else:
        show_failure(console, str(error), ())


def show_failure(console: Console, headline: str, tail: tuple[str, ...]) -> None:
    _say(console, headline, style="bold red")
    _show_tail(console, tail)


def _show_tail(console: Console, tail: tuple[str, ...]) -> None:
    for line in tail:
        _say(console, f"  | {line}", style="dim")


def show_next(console: Console, ready: Ready, state: Path) -> None:
    """Show the pages to look at, and commands that find this stack from the present folder."""
    _say(console, f"pages: {ready.http}/ (for everyone)")
    _say(console, f"       {ready.http}/docs (API)")
    if bridge := ready.internal.get("http_bridge"):
        _say(console, f"       {bridge}/ops (operations)")
    _say(console, "all is up. Press Ctrl-C to stop. In another terminal you can run:")
    option = "" if state == DEFAULT_STATE else f" --ready {shlex.quote(_short(state / 'ready.json'))}"
    commands = [(f"{_program()} {name}{option}{rest}", meaning) for name, rest, meaning in _NEXT]
    width = max(len(command) for command, _ in commands)
    for command, meaning in commands:
        _say(console, f"  {command:<{width}}  {meaning}")


def _program() -> str:
    """Return how this command was called, so that the user can call it again."""
    called = Path(sys.argv[0])
    if called.name != "zipcast" or shutil.which("zipcast") == str(called):
        return "zipcast"
    return _short(called)


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
