"""Defines tables whose rows serve as locks. Only one role has rights on each table.

PostgreSQL's advisory locks are not used: they require no rights, so any login could take them.
"""

from datetime import datetime

from sqlalchemy import SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from storage.database.tables.base import Base


class SchedulerLock(Base):
    """A lock of the scheduler. It is locked for one transaction, or leased to `holder` until `until` by
    PostgreSQL's clock."""

    __tablename__ = "scheduler_locks"
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str | None]
    until: Mapped[datetime | None]


class ReportLock(Base):
    """A lock that serialises one validator's reports on one epoch. Other reports may share the row."""

    __tablename__ = "report_locks"
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
