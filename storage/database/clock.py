"""PostgreSQL's clock where a query compares a column with it.

Owns one expression. `clock_timestamp()` by itself is asked anew for every row, so that no index can be used;
as a subquery it is asked once, when the query begins.
"""

from sqlalchemy import func, select

RECORD_NOW = select(func.clock_timestamp()).scalar_subquery()
