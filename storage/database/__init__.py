"""PostgreSQL: the engine, the tables, and one module per aggregate. Imports of zipcodes and
`operator_cli.backup` have their own SQL statements."""
