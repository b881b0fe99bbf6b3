"""Defines PostgreSQL's clock for queries that compare a column with it.

PostgreSQL evaluates a plain `clock_timestamp()` for every row and can use no index. It evaluates a subquery
only once per query.
"""

from sqlalchemy import func, select

RECORD_NOW = select(func.clock_timestamp()).scalar_subquery()
