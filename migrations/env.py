"""Configures Alembic. `storage.database.migrate` passes the connection; nothing is read from the
environment."""

from alembic import context

from storage.database.tables import SCHEMA, Base

if context.is_offline_mode():
    raise SystemExit("offline migrations are not supported: run `zipcast migrate` against the database")
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_type=True,
    compare_server_default=True,
    include_schemas=True,
    version_table_schema=SCHEMA,
)
with context.begin_transaction():
    context.run_migrations()
