"""Starts a program of the stack: it ensures that the program dies with the stack, drops privileges, and
executes the program.

It is run by path with `python -I -S` and uses only the standard library, because nothing else is safe between
fork and exec of a threaded process. PostgreSQL refuses to run as root, so it runs as another user. This user
keeps one right, which is to enter closed folders, because the state or the virtual environment may be below
one (`/root`, a test's folder).

    child_launcher.py PARENT_PID DEATH_SIGNAL [UID:GID] -- PROGRAM ARGUMENT...
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1


def main(arguments: list[str]) -> None:
    split = arguments.index("--")
    parent, death_signal, *user = arguments[:split]
    program = arguments[split + 1 :]
    if user:
        _become(*map(int, user[0].split(":")))
        _require_reach(program[0], str(Path.cwd()))
    _die_with(int(parent), int(death_signal))
    os.execv(program[0], program)  # noqa: S606 - devstack located the program itself


def _die_with(parent: int, death_signal: int) -> None:
    """Make the kernel send `death_signal` when the parent dies. Call it last, because changing the user
    undoes it."""
    if sys.platform != "linux":
        return
    _libc().prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _become(uid: int, gid: int) -> None:
    """Become another user permanently, with CAP_DAC_OVERRIDE if the kernel grants it."""
    linux = sys.platform == "linux"
    if linux:
        _libc().prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        # initdb uses access(2) to check whether it can run its programs. Without this flag, access(2) ignores
        # capabilities.
        _libc().prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if linux:
        _keep_only(_CAP_DAC_OVERRIDE)


def _keep_only(capability: int) -> None:
    """Drop every capability except one, which is kept across the exec. If that fails, `_require_reach` checks
    the folders."""
    word = 1 << capability
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    for kept in (word, 0):
        data = (ctypes.c_uint32 * 6)(kept, kept, kept, 0, 0, 0)
        if _libc().capset(ctypes.byref(header), ctypes.byref(data)) == 0:
            break
    _libc().prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def _require_reach(program: str, folder: str) -> None:
    """Check that the program and the folder are accessible, and report an obstacle in one line."""
    try:
        Path(program).open("rb").close()
        next(Path(folder).iterdir(), None)
    except PermissionError as error:
        sys.exit(
            f"user {os.getuid()} cannot reach {error.filename}. PostgreSQL cannot run as root: start as "
            "another user, or move the state and the virtual environment out of folders that are closed to "
            "others"
        )


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    main(sys.argv[1:])
