"""Creates a PostgreSQL login for each process that uses the database, as a member of the process's role.

The migrations define the rights of roles. The roles are created here, because the logins need them before the
first migration.
"""

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from devstack.postgres import quoted, superuser
from devstack.state import State
from storage.database.rights import OPERATOR_SETTINGS, SESSION_SETTINGS, assignment

# The largest number of connections of each login. Together these are fewer than `devstack.postgres` allows,
# so that no login can block the others.
MAX_CONNECTIONS = {"schedulers": 50, "responder": 60, "http_bridge": 40}
# The role of each process. The callout uses no database.
ROLES = {
    "schedulers": "zipcast_schedulers",
    "responder": "zipcast_responder",
    "http_bridge": "zipcast_bridge",
}


def login_url(state: State, url: str, process: str) -> str:
    """Return the superuser's `url` with the login of `process` instead."""
    parts = urlsplit(url)
    password = _passwords(state)[_variable(process)]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{_login(process)}:{password}@{host}"))


async def ensure_logins(state: State, url: str) -> None:
    """Create missing roles and logins. `url` is the superuser's."""
    passwords = _passwords(state)
    async with superuser(url) as connection:
        for process, role in ROLES.items():
            await _ensure(connection, role, "nologin")
            login = f"login in role {role} connection limit {MAX_CONNECTIONS[process]}"
            await _ensure(connection, _login(process), f"{login} password '{passwords[_variable(process)]}'")
            await _set(connection, _login(process), SESSION_SETTINGS)
        await _set(connection, unquote(urlsplit(url).username or ""), OPERATOR_SETTINGS)


async def _ensure(connection: Any, role: str, how: str) -> None:
    if await connection.fetchrow("select from pg_roles where rolname = $1", role) is None:
        await connection.execute(f"create role {role} {how}")


async def _set(connection: Any, login: str, settings: Mapping[str, str]) -> None:
    """Make the same settings for the login as deploy/logins.sql, but for every database, because each test
    creates one."""
    await connection.execute(f"alter role {quoted(login)} reset all")
    for name, value in settings.items():
        await connection.execute(f"alter role {quoted(login)} set {assignment(name, value)}")


def _passwords(state: State) -> dict[str, str]:
    return state.ensure_secrets("logins", {_variable(name): secrets.token_hex(24) for name in ROLES})


def _login(process: str) -> str:
    return f"local_{process}"


def _variable(process: str) -> str:
    return f"{process.upper()}_PASSWORD"
