"""PostgreSQL: the engine, the tables, and one module per aggregate. Only a few SQL statements are elsewhere:
those of imports (`storage.zipcode_files.importing`), backups, health checks and the local stack."""
