"""Opening PostgreSQL: the one place that turns DATABASE_URL into an engine.

Accepts what managed providers print (`postgres://…`, `postgresql://…?sslmode=require`):
psycopg understands libpq's parameters, so only the scheme is rewritten.
"""

import re

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_SCHEME = re.compile(r"^postgres(ql)?(\+[a-z0-9]+)?://")


class DatabaseUrlError(ValueError):
    """DATABASE_URL is not a PostgreSQL URL. The message never repeats the URL: it holds a password."""


def sqlalchemy_url(database_url: str) -> str:
    """The same URL for SQLAlchemy's psycopg dialect. Raises DatabaseUrlError."""
    if not _SCHEME.match(database_url):
        raise DatabaseUrlError("must start with postgresql://")
    url = _SCHEME.sub("postgresql+psycopg://", database_url, count=1)
    try:
        make_url(url)
    except (ValueError, ArgumentError):
        raise DatabaseUrlError("must be a URL whose port, if any, is a number") from None
    return url


def open_engine(database_url: str, *, application_name: str, pool_size: int = 10) -> AsyncEngine:
    """An engine of at most `pool_size` connections, which name themselves, give up after 5 s, and hide
    parameters in errors."""
    return create_async_engine(
        sqlalchemy_url(database_url),
        pool_size=pool_size,
        # What overflows is closed again after one use: connecting costs more than waiting for a turn.
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "application_name": application_name,
            "connect_timeout": 5,
            # A server that vanished without a word is noticed within 10 s, not by TCP's own patience.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "options": "-c timezone=UTC -c statement_timeout=10s -c idle_in_transaction_session_timeout=30s",
        },
    )
