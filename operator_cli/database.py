"""Connects an operator's command to its database, and prints each database error as one line.

Packages of the services are imported when a command runs, so that `zipcast --help` starts fast.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from zipcast.cli.console import fail
from zipcast.cli.errors import Status
from zipcast.client.local_stack import NotReadyError, Ready

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


DatabaseOption = Annotated[
    str | None,
    typer.Option("--database-url", envvar="DATABASE_URL", help="PostgreSQL URL. Default: the local stack's."),
]
Result = TypeVar("Result")


@contextmanager
def local_stack_packages() -> Iterator[None]:
    """Print one line and exit if a package of the local stack is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        fail(
            f"{error.name} is not installed",
            code="not_installed",
            remedy="Run `pip install 'zipcast-server[devstack]'`.",
        )


def chosen_database(database_url: str | None, ready: Path) -> str:
    """Return the URL given as an option, otherwise the local stack's."""
    try:
        return database_url or Ready.read(ready).postgres
    except NotReadyError as error:
        fail(f"{error}, or pass --database-url", Status.UNAVAILABLE, code="no_local_stack")


@contextmanager
def database_faults() -> Iterator[None]:
    """Print an error of PostgreSQL as one line and exit. The line never contains the URL with its
    password."""
    import asyncpg
    from sqlalchemy.exc import DBAPIError

    from storage.database.engine import DATABASE_ERRORS, DatabaseUrlError
    from storage.database.migrate import ForeignSchemaError, MissingRightError

    try:
        yield
    except (ForeignSchemaError, MissingRightError) as error:
        fail(str(error))
    except DatabaseUrlError as error:
        fail(f"--database-url {error}", Status.USAGE, code="usage")
    except (*DATABASE_ERRORS, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        cause: BaseException = error
        if isinstance(error, DBAPIError) and error.orig is not None:
            cause = error.orig.__cause__ or error.orig
        if isinstance(cause, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
            fail("the database has no tables yet", code="no_tables", remedy="Run `zipcast migrate`.")
        fail(
            f"the database failed: {str(cause).partition(chr(10))[0] or type(cause).__name__}",
            Status.UNAVAILABLE,
            code="database",
            remedy="Check --database-url, and that the database runs.",
        )


def run_on_database(url: str, work: Callable[["AsyncEngine"], Coroutine[Any, Any, Result]]) -> Result:
    """Call `work` with an engine, close the engine, and return the result of `work`."""

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
