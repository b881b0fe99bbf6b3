"""Defines the tables of epochs: pending epochs, started epochs with assignments and signed bytes, inputs,
honeypots.

Responder and bridge read `epochs`, `epoch_assignments` and `epoch_messages`, which have only started epochs.
Only the scheduler has rights on the other tables. Row-level security would not be enough, because it does not
hide how many rows match a condition.
"""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.database.tables.base import SHA256_RULE, ZIPCODE_RULE, Base

# The condition of the index `ix_epochs_in_detail`, and of the queries that use it.
IN_DETAIL = "status in ('pending', 'active', 'completed')"


class PendingEpoch(Base):
    """An epoch that is prepared and not opened yet. `content` has everything that follows from its selection
    (`storage.database.pending_epochs`), padded and never compressed, so that its size reveals nothing."""

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
    """One epoch, from its start on. `start_at` and `end_at` are its half-open interval. The status `pending`
    means that it is not published yet."""

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
    beacon: Mapped[str | None]
    """The kind of the round used for the draw: `round`, `fallback` or `none`; null for missed epochs."""
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
        # Epochs must not overlap, even if their length was changed.
        ExcludeConstraint((text("tstzrange(start_at, end_at)"), "&&"), name="ex_epochs_overlap"),
        # A published epoch has everything that readers need; a missed epoch has no message.
        CheckConstraint("(status = 'missed') = (message_sha256 is null)", name="message"),
        CheckConstraint("published_at is not null or status in ('pending', 'missed')", name="published"),
        CheckConstraint("beacon in ('round', 'fallback', 'none')", name="beacon"),
        Index(None, "end_at"),
        Index("ix_epochs_unfinished", "start_at", postgresql_where=text("status in ('pending', 'active')")),
        # For queries of the few epochs that are not archived, among years of archived ones.
        Index("ix_epochs_in_detail", "epoch_id", postgresql_where=text(IN_DETAIL)),
    )


class EpochAssignment(Base):
    """One zipcode of one epoch, as in the signed message."""

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
    """The honeypots of one epoch, written when it is prepared. `content` is a JSON list with padding, so that
    neither rows nor sizes reveal their number. Other roles read them with the function `revealed_honeypots`.
    `compared_at` is when the reports were compared with them."""

    __tablename__ = "epoch_honeypots"
    epoch_id: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str]
    compared_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_epoch_honeypots_uncompared", "epoch_id", postgresql_where=text("compared_at is null")),
    )


class EpochMessage(Base):
    """The signed bytes of an epoch, append-only. `epochs.message_sha256` names the row that is used.

    An epoch has several rows if it was signed again before its start, or if the stream had other bytes than
    the database. Then the stream's bytes are used, because subscribers have them."""

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
    """The exact bytes of an epoch's inputs, to which it is committed one epoch ahead. Other roles read those
    of started epochs with the function `started_inputs`."""

    __tablename__ = "epoch_inputs"
    epoch_id: Mapped[str] = mapped_column(primary_key=True)
    inputs: Mapped[bytes]
    inputs_sha256: Mapped[str]
    committed_at: Mapped[datetime]
    __table_args__ = (CheckConstraint("inputs_sha256 = encode(sha256(inputs), 'hex')", name="inputs_hash"),)


class EpochDraft(Base):
    """The signed commitment to an epoch that no message promised. `sent_at` is null unless the draft was sent
    before its round was published."""

    __tablename__ = "epoch_drafts"
    epoch_id: Mapped[str] = mapped_column(primary_key=True)
    inputs: Mapped[bytes]
    payload: Mapped[bytes]
    signer: Mapped[str]
    signature: Mapped[str]
    sent_at: Mapped[datetime | None]


class BeaconRound(Base):
    """A verified signature of the beacon. Rows are never changed."""

    __tablename__ = "beacon_rounds"
    chain: Mapped[str] = mapped_column(primary_key=True)
    round: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    signature: Mapped[str]
    stored_at: Mapped[datetime]
    __table_args__ = (CheckConstraint("signature ~ '^[0-9a-f]{96}$'", name="signature"),)
