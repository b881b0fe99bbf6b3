"""Finds the database of an operator's command, and turns each of its faults into one line.

Packages of the services are imported when a command runs, so that `zipcast --help` starts fast.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from zipcast.cli.console import fail
from zipcast.client.local_stack import NotReadyError, Ready

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


DatabaseOption = Annotated[
    str | None,
    typer.Option("--database-url", envvar="DATABASE_URL", help="PostgreSQL; default: the local stack's."),
]
Result = TypeVar("Result")


@contextmanager
def local_stack_packages() -> Iterator[None]:
    """Turn a missing package of the local stack into one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed: pip install 'zipcast-server[devstack]'")


def chosen_database(database_url: str | None, ready: Path) -> str:
    """The option's, else the local stack's."""
    try:
        return database_url or Ready.read(ready).postgres
    except NotReadyError as error:
        fail(f"{error}, or give --database-url")


@contextmanager
def database_faults() -> Iterator[None]:
    """Turns what PostgreSQL says into one line. None of it repeats the URL, which has a password."""
    import asyncpg
    from sqlalchemy.exc import DBAPIError

    from storage.database.engine import DATABASE_ERRORS, DatabaseUrlError
    from storage.database.migrate import ForeignSchemaError

    try:
        yield
    except ForeignSchemaError as error:
        fail(str(error))
    except DatabaseUrlError as error:
        fail(f"--database-url {error}")
    except (*DATABASE_ERRORS, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        cause: BaseException = error
        if isinstance(error, DBAPIError) and error.orig is not None:
            cause = error.orig.__cause__ or error.orig
        if isinstance(cause, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
            fail("the database has no tables yet: run `zipcast migrate`")
        fail(f"the database failed: {str(cause).partition(chr(10))[0] or type(cause).__name__}")


def run_on_database(url: str, work: Callable[["AsyncEngine"], Coroutine[Any, Any, Result]]) -> Result:
    """Return what `work` returns, given an engine that is closed afterwards."""

    async def run() -> Result:
        engine = open_engine(url, application_name="zipcast-operator", pool_size=2)
        try:
            async with engine.connect() as connection:
                wrong = await old_pooler(connection) or await wrong_setting(connection, OPERATOR_SETTINGS)
            if wrong is not None:
                fail(f"--database-url: {wrong}")
            return await work(engine)
        finally:
            await engine.dispose()

    with database_faults():
        from storage.database.engine import open_engine
        from storage.database.rights import OPERATOR_SETTINGS, old_pooler, wrong_setting

        return asyncio.run(run())
