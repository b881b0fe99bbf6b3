"""PostgreSQL: the engine, the tables, and one module per aggregate. Every SQL statement of Zipcast is
here."""
