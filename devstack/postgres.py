"""Runs PostgreSQL as a part of the stack: a separate cluster, over TCP only, with one superuser and one
database.

It creates the cluster, runs it as another user if the stack runs as root, and cleans up after a run that was
killed.
"""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from devstack.errors import PartFailedError
from devstack.part import Part, launch_command, log_tail
from devstack.ports import HOST, Ports
from devstack.programs import inherited_environment, postgres_programs
from devstack.state import State

ROLE = DATABASE = "zipcast"
_PROC = Path("/proc")
# fsync and synchronous_commit stay on, so that committed data survives a kill -9.
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def postgres_part(state: State, ports: Ports) -> Part:
    """Return the cluster in `state.postgres`, which is created before its first start."""
    data = state.postgres / "data"
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    url = database_url(state, ports, "postgres")

    async def before_start() -> None:
        await _create_cluster(state)
        await asyncio.to_thread(clear_leftovers, data)

    async def is_ready() -> bool:
        return await accepts_connections(url)

    return Part(
        name="postgres",
        address=f"postgresql://{HOST}:{ports.postgres}/{DATABASE}",
        argv=(str(postgres_programs() / "postgres"), "-D", str(data), "-p", str(ports.postgres), *settings),
        environment=inherited_environment(),
        log=state.logs / "postgres.log",
        folder=state.postgres,
        is_ready=is_ready,
        before_start=before_start,
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGQUIT,
        user=server_user(),
    )


def database_url(state: State, ports: Ports, database: str = DATABASE) -> str:
    """Return the superuser's URL of `database`."""
    password = state.ensure_secrets("postgres", {"PASSWORD": secrets.token_hex(24)})["PASSWORD"]
    return f"postgresql://{ROLE}:{password}@{HOST}:{ports.postgres}/{database}"


def server_user() -> tuple[int, int] | None:
    """Return the user for PostgreSQL: (uid, gid) of `nobody` if this process is root, otherwise None."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


async def _create_cluster(state: State) -> None:
    """Run initdb, unless there is a cluster. Raises PartFailedError."""
    await asyncio.to_thread(_own, state.postgres)
    data, partial = state.postgres / "data", state.postgres / "data.partial"
    if data.exists():
        return
    await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
    password = state.keys_of("postgres")["PASSWORD"]
    password_file = state.postgres / "password"
    try:
        _write_owned(password_file, password)
        await _initdb(state, partial, password_file)
    finally:
        password_file.unlink(missing_ok=True)
    partial.rename(data)


async def _initdb(state: State, data: Path, password_file: Path) -> None:
    argv = (
        *(str(postgres_programs() / "initdb"), "-D", str(data), "-U", ROLE, "-A", "scram-sha-256"),
        *(f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-instructions"),
    )
    log = state.logs / "initdb.log"
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *launch_command(argv, signal.SIGKILL, server_user()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stream,
            stderr=asyncio.subprocess.STDOUT,
            env=inherited_environment(),
            cwd=state.postgres,
            start_new_session=True,
        )
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status != 0:
        raise PartFailedError("postgres", f"initdb: exit status {status}", log_tail(log))


async def create_database(url: str, name: str, *, template: str = "template1") -> None:
    """Create the database `name` from `template`, unless it exists. `url` is the superuser's."""
    async with superuser(url) as connection:
        if await connection.fetchrow("select from pg_database where datname = $1", name) is None:
            await connection.execute(f"create database {quoted(name)} template {quoted(template)}")


async def drop_database(url: str, name: str) -> None:
    """Drop the database `name` and close its connections."""
    async with superuser(url) as connection:
        await connection.execute(f"drop database if exists {quoted(name)} with (force)")


async def accepts_connections(url: str) -> bool:
    """Return whether a login works within 2 s."""
    try:
        async with asyncio.timeout(2), superuser(url):
            return True
    except (OSError, asyncpg.PostgresError):
        return False


@asynccontextmanager
async def superuser(url: str) -> AsyncIterator[Any]:
    """Open a connection of asyncpg in which each statement is a separate transaction."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def quoted(name: str) -> str:
    """Return a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def clear_leftovers(data: Path) -> None:
    """End processes that a killed run left working on `data`, then delete its pid file. With the file,
    PostgreSQL would not start if another process has the same process id now. Raises PartFailedError after 5
    s."""
    if not _PROC.is_dir():
        return
    deadline = time.monotonic() + 5
    while leftovers := _working_in(data):
        if time.monotonic() > deadline:
            raise PartFailedError(
                "postgres", f"processes of a killed run do not end, kill them: {leftovers}", ()
            )
        for pid in leftovers:
            _kill(pid)
        time.sleep(0.02)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _working_in(data: Path) -> list[int]:
    """Return the processes whose working folder is `data`, which are those of the cluster."""
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit() and _cwd(entry) == data]


def _cwd(process: Path) -> Path | None:
    try:
        return (process / "cwd").readlink()
    except (
        PermissionError,
        FileNotFoundError,
        ProcessLookupError,
    ):  # a process of another user, or one that has just ended
        return None


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _own(folder: Path) -> None:
    """Make the server's user the owner of the folder and its contents."""
    user = server_user()
    if user is None or folder.stat().st_uid == user[0]:
        return
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, *user, follow_symlinks=False)


def _write_owned(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    _own(path.parent)
    if (user := server_user()) is not None:
        os.chown(path, *user)
