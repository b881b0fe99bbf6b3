"""Connects to PostgreSQL with DATABASE_URL.

It accepts libpq URLs as providers show them (`postgres://…`, `…?sslmode=require`, two hosts). It works
through PgBouncer 1.21 or newer in transaction mode: no settings are made per session, because the next
transaction may be in another session. deploy/logins.sql makes them for the login.
"""

import json
import re
import socket
import ssl
from asyncio import AbstractEventLoop, Transport
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

# The errors of connecting, and of statements through SQLAlchemy. If the server has just closed the
# connection, asyncpg raises InternalClientError, which SQLAlchemy does not convert.
DATABASE_ERRORS = (SQLAlchemyError, asyncpg.InternalClientError, OSError)
_FailedConnect: Any = AsyncAdapt_asyncpg_dbapi.OperationalError  # the library has no types for it
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# The errors that show that the server has closed the connection.
CLOSED_ERRORS = (
    *(asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError),
    *(asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError),
)
CONNECT_SECONDS = STATEMENT_SECONDS = 5

_SCHEME = re.compile(r"^postgres(ql)?(\+[a-z0-9]+)?://")
# The connection parameters that the driver supports, of those listed at
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS.
_UNDERSTOOD = {
    *("host", "port", "dbname", "user", "password", "passfile", "options", "target_session_attrs"),
    *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
}
# Parameters that are ignored, because they have no effect here or because this module sets them itself.
_LEFT_OUT = {
    *("application_name", "channel_binding", "client_encoding", "connect_timeout", "gssencmode"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    *("sslcompression", "tcp_user_timeout"),
}


class DatabaseUrlError(ValueError):
    """DATABASE_URL is not a usable PostgreSQL URL. The message never contains the URL, which has a
    password."""


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg is untyped
    """A connection that notices within 10 s that the server has silently disappeared; TCP alone would take
    much longer."""

    def __init__(self, protocol: Any, transport: Transport, loop: AbstractEventLoop, *rest: Any) -> None:
        super().__init__(protocol, transport, loop, *rest)
        raw = transport.get_extra_info("socket")
        if raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):  # the options differ between systems
                    raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}


def driver_arguments(database_url: str) -> dict[str, Any]:
    """Return the arguments of `asyncpg.connect` for the URL. Raises DatabaseUrlError."""
    if not _SCHEME.match(database_url):
        raise DatabaseUrlError("must start with postgresql://")
    try:
        parts = urlsplit(_SCHEME.sub("postgresql://", database_url, count=1))
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port  # raises ValueError if the port is not a number
    except ValueError:
        raise DatabaseUrlError("must be a URL whose port, if any, is a number") from None
    unknown = sorted(query.keys() - _UNDERSTOOD - _LEFT_OUT)
    if unknown:
        raise DatabaseUrlError(f"has an unknown parameter: {unknown[0]}")
    arguments: dict[str, Any] = {}
    root = query.get("sslrootcert")
    verified = root == "system" or query.get("sslmode", "").startswith("verify-")
    if query.get("channel_binding") == "require" and not verified:
        raise DatabaseUrlError(
            "has channel_binding=require, which is not supported: use sslmode=verify-full and sslrootcert"
        )
    if root == "system":
        del query["sslrootcert"]
        arguments["ssl"] = ssl.create_default_context()
    elif root is not None and not Path(root).is_file():
        raise DatabaseUrlError(f"names a file that does not exist: sslrootcert={root}")
    kept = {name: value for name, value in query.items() if name in _UNDERSTOOD}
    return {"dsn": urlunsplit(parts._replace(query=urlencode(kept))), **arguments}


def open_engine(database_url: str, *, application_name: str, pool_size: int = 10) -> AsyncEngine:
    """Return an engine with at most `pool_size` connections. They have `application_name`, give up after 5 s,
    and hide parameters in errors. Statements raise DATABASE_ERRORS. Raises DatabaseUrlError."""
    arguments = driver_arguments(database_url)
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(_connect, arguments, application_name),
        pool_size=pool_size,
        # Open no connections beyond the pool: each would be closed after one use, and connecting takes longer
        # than waiting for a free connection.
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        hide_parameters=True,
        json_deserializer=_decoded,
    )


class UnreadableJsonError(SQLAlchemyError):
    """A column has JSON that Python does not decode, such as a number of 5,000 digits."""


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableJsonError(type(error).__name__) from None


async def open_pool(database_url: str, *, application_name: str, size: int) -> "asyncpg.Pool":
    """Return a pool of at most `size` connections for fixed statements, which would be several times as slow
    through SQLAlchemy. It connects at the first use. Statements raise DRIVER_ERRORS. Raises
    DatabaseUrlError."""
    return await asyncpg.create_pool(
        **driver_arguments(database_url),
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        command_timeout=STATEMENT_SECONDS,
        server_settings={"application_name": application_name},
        connection_class=_Connection,
        reset=_keep,
    )


async def _keep(_connection: asyncpg.Connection) -> None:
    """Reset nothing when a connection is returned to the pool, because no settings are made per session."""


async def _connect(arguments: dict[str, Any], application_name: str) -> asyncpg.Connection:
    """Connect, and raise all failures as one type. SQLAlchemy turns it into OperationalError, and the metrics
    count that."""
    try:
        return await asyncpg.connect(
            **arguments,
            timeout=CONNECT_SECONDS,
            server_settings={"application_name": application_name},
            connection_class=_Connection,
        )
    except DRIVER_ERRORS as error:
        raise _FailedConnect(str(error) or type(error).__name__, error) from error


def refuses_row(error: Exception) -> bool:
    """Return whether the row itself caused the error, so that writing it again would fail again."""
    # The first two characters of the code mean invalid data (22), a broken constraint (23) or a missing right
    # (42): https://www.postgresql.org/docs/current/errcodes-appendix.html. asyncpg itself raises DataError
    # for some data.
    cause = getattr(error, "orig", error)
    state = str(getattr(cause, "sqlstate", None) or "")
    return state[:2] in {"22", "23", "42"} or any(
        isinstance(one, asyncpg.DataError) for one in (cause, cause.__cause__)
    )


async def driver_of(connection: AsyncConnection) -> Any:
    """Return the underlying asyncpg connection."""
    return (await connection.get_raw_connection()).driver_connection
