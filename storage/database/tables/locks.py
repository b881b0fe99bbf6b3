"""Rows that are locked instead of things that have no row. Each table is granted to one role alone.

PostgreSQL's advisory locks need no right, so any login could hold them.
"""

from datetime import datetime

from sqlalchemy import SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from storage.database.tables.base import Base


class SchedulerLock(Base):
    """`name` is locked for one transaction, or leased: to `holder`, until `until` by PostgreSQL's clock."""

    __tablename__ = "scheduler_locks"
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str | None]
    until: Mapped[datetime | None]


class ReportLock(Base):
    """Validators' reports of one epoch and hotkey take turns under one of these rows."""

    __tablename__ = "report_locks"
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
