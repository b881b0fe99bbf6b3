"""Tests the services behind a connection pooler in transaction mode, where the next transaction may use
another session."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import pytest_asyncio

from devstack.logins import login_url
from devstack.servers import Servers
from service.database_rights import unfit
from storage.database.engine import DATABASE_ERRORS, open_engine
from tests.support.operator_view import until

pytestmark = pytest.mark.long


@pytest_asyncio.fixture(loop_scope="session")
async def through_old_pooler(servers: Servers, database_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """Return the responder's URL through Debian's PgBouncer 1.18, which keeps no prepared statements."""
    url = login_url(servers.state, database_url, "responder")
    parts = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "users.txt").write_text(f'"{parts.username}" "{parts.password}"\n')
    settings = [
        *("[databases]", f"* = host={parts.hostname} port={parts.port}", "[pgbouncer]"),
        *("listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir =", "pool_mode = transaction"),
        *("auth_type = scram-sha-256", f"auth_file = {tmp_path / 'users.txt'}"),
    ]
    configuration = tmp_path / "pgbouncer.ini"
    configuration.write_text("\n".join(settings) + "\n")
    program = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin")
    assert program is not None, "apt-get install pgbouncer"
    for path in (tmp_path, *tmp_path.parents[:2]):  # PgBouncer does not run as root
        path.chmod(0o755)
    as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
    pooler = await asyncio.create_subprocess_exec(program, *as_nobody, str(configuration))
    pooled = urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}"))
    try:
        await until(lambda: _answers(pooled))
        yield pooled
    finally:
        pooler.terminate()
        await pooler.wait()


async def _answers(url: str) -> bool:
    engine = open_engine(url, application_name="test")
    try:
        async with engine.connect():
            return True
    except DATABASE_ERRORS:
        return False
    finally:
        await engine.dispose()


async def test_a_pooler_that_loses_prepared_statements_is_refused_by_name(through_old_pooler: str):
    engine = open_engine(through_old_pooler, application_name="test")
    refusal = await unfit(engine, reader_of="zipcast_responder")
    await engine.dispose()
    assert refusal is not None
    assert "use PgBouncer 1.21 or newer with max_prepared_statements above 0" in refusal


async def test_without_a_pooler_the_same_login_is_welcome(servers: Servers, database_url: str):
    engine = open_engine(login_url(servers.state, database_url, "responder"), application_name="test")
    assert await unfit(engine, reader_of="zipcast_responder") is None
    await engine.dispose()
