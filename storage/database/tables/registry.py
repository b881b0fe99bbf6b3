"""Defines the table of registry snapshots."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from storage.database.tables.base import Base


class RegistrySnapshot(Base):
    """One reading of the metagraph: the registered hotkeys with their coldkeys, permits and stake (rao)."""

    __tablename__ = "registry_snapshots"
    network: Mapped[str] = mapped_column(primary_key=True)
    netuid: Mapped[int] = mapped_column(primary_key=True)
    block_number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    taken_at: Mapped[datetime]
    snapshot: Mapped[dict[str, Any]]
