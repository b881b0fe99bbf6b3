"""Epochs: what is pending, then their rows, assignments and signed bytes; committed inputs and honeypots.

Responder and bridge read `epochs`, `epoch_assignments` and `epoch_messages`, which hold started epochs only.
The other tables are the scheduler's alone: rights decide that, not row-level security, which does not hide
how many rows a condition matches.
"""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.database.tables.base import SHA256_RULE, ZIPCODE_RULE, Base

# Ids sort by time. The condition of an index and of the queries that go along it.
IN_DETAIL = "status in ('pending', 'active', 'completed')"


class PendingEpoch(Base):
    """An epoch that is prepared and not opened yet. `content` holds everything that follows from its
    selection (`storage.database.pending_epochs`), padded and never compressed, so that its size shows
    nothing."""

    __tablename__ = "pending_epochs"
    epoch_id: Mapped[str] = mapped_column(primary_key=True)
    start_at: Mapped[datetime] = mapped_column(unique=True)
    end_at: Mapped[datetime]
    content: Mapped[bytes]
    __table_args__ = (
        CheckConstraint("start_at < end_at", name="interval"),
        ExcludeConstraint((text("tstzrange(start_at, end_at)"), "&&"), name="ex_pending_epochs_overlap"),
    )


class Epoch(Base):
    """One epoch from its start on. `start_at`/`end_at` are the half-open interval; `pending` is one that the
    stream does not hold yet."""

    __tablename__ = "epochs"
    epoch_id: Mapped[str] = mapped_column(primary_key=True)
    start_at: Mapped[datetime] = mapped_column(unique=True)
    end_at: Mapped[datetime]
    status: Mapped[str]
    target_listings: Mapped[int | None]
    tolerance_percent: Mapped[int | None]
    total_expected_listings: Mapped[int | None]
    algorithm_version: Mapped[str | None]
    nonce: Mapped[str | None]
    seed: Mapped[str | None]
    seed_commitment: Mapped[str]
    secret_id: Mapped[str]
    candidate_pool_hash: Mapped[str | None]
    relaxed_cooldown: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    relaxed_age_days: Mapped[int] = mapped_column(server_default=text("0"))
    import_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"))
    message_sha256: Mapped[str | None]
    prepared_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    stream_sequence: Mapped[int | None] = mapped_column(BigInteger)
    completed_at: Mapped[datetime | None]
    signals_computed_at: Mapped[datetime | None]
    __table_args__ = (
        CheckConstraint("status in ('pending', 'active', 'completed', 'archived', 'missed')", name="status"),
        CheckConstraint("start_at < end_at", name="interval"),
        # One epoch at a time, whatever length epochs had when each was prepared.
        ExcludeConstraint((text("tstzrange(start_at, end_at)"), "&&"), name="ex_epochs_overlap"),
        # A published epoch has all that a reader needs; for a missed epoch nothing is invented.
        CheckConstraint("(status = 'missed') = (message_sha256 is null)", name="message"),
        CheckConstraint("published_at is not null or status in ('pending', 'missed')", name="published"),
        Index(None, "end_at"),
        Index("ix_epochs_unfinished", "start_at", postgresql_where=text("status in ('pending', 'active')")),
        # Years of archived epochs stand before the few that are not.
        Index("ix_epochs_in_detail", "epoch_id", postgresql_where=text(IN_DETAIL)),
    )


class EpochAssignment(Base):
    """One zipcode of one epoch, as it stood in the signed message."""

    __tablename__ = "epoch_assignments"
    epoch_id: Mapped[str] = mapped_column(ForeignKey("epochs.epoch_id"), primary_key=True)
    zipcode: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    expected_listings: Mapped[int]
    __table_args__ = (
        CheckConstraint(ZIPCODE_RULE, name="zipcode"),
        CheckConstraint("expected_listings >= 0", name="listings"),
        Index(None, "zipcode"),
    )


class EpochHoneypots(Base):
    """The honeypots of one epoch, written when it is prepared. `content` is a JSON list padded to a fixed
    size, so that neither rows nor sizes tell how many there are. Other roles read them by the function
    `revealed_honeypots`. `compared_at`: when the reports were looked through."""

    __tablename__ = "epoch_honeypots"
    epoch_id: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str]
    compared_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_epoch_honeypots_uncompared", "epoch_id", postgresql_where=text("compared_at is null")),
    )


class EpochMessage(Base):
    """The signed bytes, append-only; `epochs.message_sha256` names the one in force.

    A second row for one epoch exists only if the stream turned out to hold other bytes than this database:
    subscribers have the stream's bytes, so they come into force."""

    __tablename__ = "epoch_messages"
    epoch_id: Mapped[str] = mapped_column(ForeignKey("epochs.epoch_id"), primary_key=True)
    message_sha256: Mapped[str] = mapped_column(primary_key=True)
    payload: Mapped[bytes]
    signer: Mapped[str]
    signature: Mapped[str]
    stored_at: Mapped[datetime]
    __table_args__ = (
        CheckConstraint(f"message_sha256 ~ '{SHA256_RULE}'", name="message_sha256"),
        CheckConstraint("message_sha256 = encode(sha256(payload), 'hex')", name="payload_hash"),
        CheckConstraint("signature ~ '^[0-9a-f]{128}$'", name="signature"),
    )


class EpochInputs(Base):
    """The exact hashed bytes of an epoch's inputs, to which it is committed one epoch ahead. Other roles read
    those of started epochs by the function `started_inputs`."""

    __tablename__ = "epoch_inputs"
    epoch_id: Mapped[str] = mapped_column(primary_key=True)
    inputs: Mapped[bytes]
    inputs_sha256: Mapped[str]
    committed_at: Mapped[datetime]
    __table_args__ = (CheckConstraint("inputs_sha256 = encode(sha256(inputs), 'hex')", name="inputs_hash"),)
