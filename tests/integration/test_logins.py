"""Tests `deploy/logins.sql` as an operator runs it: before or after the migrations, and again for new
passwords."""

import asyncio
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from devstack.postgres import create_database
from devstack.programs import postgres_programs
from devstack.servers import Servers
from storage.database.migrate import migrate

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "logins.sql"
PROCESSES = ("schedulers", "responder", "bridge")


def run_script(url: str, suffix: str) -> None:
    passwords = {f"PASSWORD_{name.upper()}": f"{name}-{suffix}" for name in PROCESSES}
    psql = str(postgres_programs() / "psql")
    done = subprocess.run([psql, url, "-f", str(SCRIPT)], env=passwords, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


async def may(url: str, process: str, suffix: str, query: str) -> bool:
    host = urlsplit(url).netloc.rpartition("@")[2]
    login = f"postgresql://{process}:{process}-{suffix}@{host}/{urlsplit(url).path[1:]}"
    async with await psycopg.AsyncConnection.connect(login) as connection:
        try:
            await connection.execute(query)
        except psycopg.errors.InsufficientPrivilege:
            return False
    return True


@pytest.mark.parametrize("migrated_first", [True, False])
async def test_each_login_has_the_rights_of_its_process_alone(servers: Servers, migrated_first: bool):
    name = f"logins_{migrated_first}".lower()
    await create_database(servers.admin_url, name)
    url = servers.admin_url.removesuffix("/postgres") + f"/{name}"
    steps = [lambda: migrate(url), lambda: run_script(url, "first")]
    for step in steps if migrated_first else reversed(steps):
        await asyncio.to_thread(step)
    await asyncio.to_thread(run_script, url, "second")
    assert await may(url, "schedulers", "second", "select seed from epochs")
    for process in ("responder", "bridge"):
        assert not await may(url, process, "second", "select seed from epochs")
        assert await may(url, process, "second", "select epoch_id from epochs")
    assert not await may(url, "bridge", "second", "select * from credential_issuances")
    for process in PROCESSES:
        # The login itself sets the search path to the schema.
        assert not await may(url, process, "second", "create temporary table mine (id int)")
        assert not await may(url, process, "second", "create schema mine")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await may(url, "bridge", "first", "select 1")
