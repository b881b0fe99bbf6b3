"""A PostgreSQL login for each process that uses the database, member of that process's role.

Owns the logins and their passwords. What a role may do is the migrations'; they find it made here, where
the logins need it before the first migration has run.
"""

import secrets
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from devstack.state import State
from storage.tables import SEARCH_PATH

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
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for process, role in ROLES.items():
            await _ensure(connection, role, sql.SQL("nologin"))
            login = sql.SQL("login in role {} password {} connection limit {}").format(
                sql.Identifier(role),
                sql.Literal(passwords[_variable(process)]),
                sql.Literal(MOST_CONNECTIONS[process]),
            )
            await _ensure(connection, _login(process), login)
            await _fix_search_path(connection, _login(process))
        await _fix_search_path(connection, unquote(urlsplit(url).username or ""))


async def _ensure(
    connection: psycopg.AsyncConnection[tuple[object, ...]], role: str, how: sql.Composable
) -> None:
    found = await connection.execute("select 1 from pg_roles where rolname = %s", (role,))
    if await found.fetchone() is None:
        await connection.execute(sql.SQL("create role {} {}").format(sql.Identifier(role), how))


async def _fix_search_path(connection: psycopg.AsyncConnection[tuple[object, ...]], login: str) -> None:
    """Set it as deploy/logins.sql does, but for every database, since each test makes one."""
    for command in ("alter role {} reset all", f"alter role {{}} set search_path = {SEARCH_PATH}"):
        await connection.execute(sql.SQL(command).format(sql.Identifier(login)))


def _passwords(state: State) -> dict[str, str]:
    return state.ensure_secrets("logins", {_variable(name): secrets.token_hex(24) for name in ROLES})


def _login(process: str) -> str:
    return f"local_{process}"


def _variable(process: str) -> str:
    return f"{process.upper()}_PASSWORD"
