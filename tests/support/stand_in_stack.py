"""Runs `run_up` with real servers, and with programs that only keep running in place of our own processes.

python -m tests.support.stand_in_stack STATE
"""

import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

from devstack.errors import StackError
from devstack.options import StackOptions
from devstack.part import Part
from devstack.services import Services
from devstack.stack import Report, Stack
from devstack.up import run_up
from zipcast.cli.console import open_console

STAY = """
import os, pathlib, signal
print("a stand-in", flush=True)
pathlib.Path(os.environ["READY_FILE"]).touch()
signal.sigwait([signal.SIGTERM])
"""


def stand_ins(services: Services) -> tuple[Part, ...]:
    return tuple(replace(part, argv=(sys.executable, "-c", STAY)) for part in services.parts())


def open_stack(options: StackOptions, report: Report) -> AbstractAsyncContextManager[Stack]:
    return Stack.running(options, report, make_parts=stand_ins)


if __name__ == "__main__":
    try:
        asyncio.run(run_up(StackOptions(state=Path(sys.argv[1])), open_console(), open_stack=open_stack))
    except StackError as error:
        sys.exit(str(error))
