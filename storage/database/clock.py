"""Defines PostgreSQL's clock for queries that compare a column with it.

`clock_timestamp()` alone is evaluated for every row, so that no index can be used. As a subquery, it is
evaluated once per query.
"""

from sqlalchemy import func, select

RECORD_NOW = select(func.clock_timestamp()).scalar_subquery()
