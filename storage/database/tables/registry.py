"""The metagraph as it was read."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from storage.database.tables.base import Base


class RegistrySnapshot(Base):
    """One reading of the metagraph: who is registered, as whom, with how much stake (rao)."""

    __tablename__ = "registry_snapshots"
    network: Mapped[str] = mapped_column(primary_key=True)
    netuid: Mapped[int] = mapped_column(primary_key=True)
    block_number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    taken_at: Mapped[datetime]
    snapshot: Mapped[dict[str, Any]]
