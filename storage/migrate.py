"""Bringing a database to the current shape, under an advisory lock so that replicas may all try."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from storage.database import sqlalchemy_url

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
# Any constant will do; this one spells "zipcast" on a telephone keypad.
MIGRATION_LOCK = 9472278


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def migrate(database_url: str, revision: str = "head", *, down: bool = False) -> None:
    """Upgrade (or downgrade) to `revision`. A lock that is not had within 5 s stops the migration
    rather than the service: whoever holds the table finishes first, and the operator tries again."""
    engine = create_engine(sqlalchemy_url(database_url), hide_parameters=True)
    try:
        with engine.connect() as connection:
            connection.execute(text("select pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
            connection.execute(text("set lock_timeout = '5s'"))
            connection.execute(text("set statement_timeout = '10min'"))
            connection.commit()
            run = command.downgrade if down else command.upgrade
            run(alembic_config(connection), revision)
            connection.commit()
    finally:
        engine.dispose()
