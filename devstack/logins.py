"""A PostgreSQL login for each process that uses the database, member of that process's role.

Owns the logins and their passwords. What a role may do is the migrations'; they find it made here, where
the logins need it before the first migration has run.
"""

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from devstack.postgres import quoted, superuser
from devstack.state import State
from storage.database.rights import OPERATOR_SETTINGS, SESSION_SETTINGS, assignment

# Together less than what `devstack.postgres` allows: none of them keeps the others out.
MOST_CONNECTIONS = {"schedulers": 50, "responder": 60, "http_bridge": 40}
# {process: the role whose rights it has}. The callout uses no database.
ROLES = {
    "schedulers": "zipcast_schedulers",
    "responder": "zipcast_responder",
    "http_bridge": "zipcast_bridge",
}


def login_url(state: State, url: str, process: str) -> str:
    """The superuser's `url` with the login of `process` in its place."""
    parts = urlsplit(url)
    password = _passwords(state)[_variable(process)]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{_login(process)}:{password}@{host}"))


async def ensure_logins(state: State, url: str) -> None:
    """Make roles and logins that are missing; `url` is the superuser's."""
    passwords = _passwords(state)
    async with superuser(url) as connection:
        for process, role in ROLES.items():
            await _ensure(connection, role, "nologin")
            login = f"login in role {role} connection limit {MOST_CONNECTIONS[process]}"
            await _ensure(connection, _login(process), f"{login} password '{passwords[_variable(process)]}'")
            await _set(connection, _login(process), SESSION_SETTINGS)
        await _set(connection, unquote(urlsplit(url).username or ""), OPERATOR_SETTINGS)


async def _ensure(connection: Any, role: str, how: str) -> None:
    if await connection.fetchrow("select from pg_roles where rolname = $1", role) is None:
        await connection.execute(f"create role {role} {how}")


async def _set(connection: Any, login: str, settings: Mapping[str, str]) -> None:
    """Set up the logins as deploy/logins.sql does, but for every database, since each test makes one."""
    await connection.execute(f"alter role {quoted(login)} reset all")
    for name, value in settings.items():
        await connection.execute(f"alter role {quoted(login)} set {assignment(name, value)}")


def _passwords(state: State) -> dict[str, str]:
    return state.ensure_secrets("logins", {_variable(name): secrets.token_hex(24) for name in ROLES})


def _login(process: str) -> str:
    return f"local_{process}"


def _variable(process: str) -> str:
    return f"{process.upper()}_PASSWORD"
