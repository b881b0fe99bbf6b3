"""Defines the tables of results: miners' reports and uploads, signals, and validators' reports."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Double, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.database.tables.base import SHA256_RULE, ZIPCODE_RULE, Base, readable_sizes, readable_times


class MinerSubmission(Base):
    """The status report on one epoch that a miner signed last. When a newer report replaces an older one, the
    time of the first report of completion is kept, and so is the largest count that any report claimed for a
    zipcode."""

    __tablename__ = "miner_submissions"
    epoch_id: Mapped[str] = mapped_column(ForeignKey("epochs.epoch_id"), primary_key=True)
    hotkey: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    reported_at: Mapped[datetime]
    received_at: Mapped[datetime]
    is_late: Mapped[bool]
    listings_scraped: Mapped[int | None]
    zipcodes_completed: Mapped[list[dict[str, Any]]] = mapped_column(server_default=text("'[]'"))
    s3_upload_complete: Mapped[bool]
    s3_upload_at: Mapped[datetime | None]
    body_sha256: Mapped[str]
    request_id: Mapped[str]
    first_completed_at: Mapped[datetime | None]
    first_completed_listings: Mapped[int | None]
    most_claimed: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    __table_args__ = (
        readable_times("reported_at", "received_at", "s3_upload_at", "first_completed_at"),
        readable_sizes("hotkey", "request_id", zipcodes_completed=300_000, most_claimed=300_000),
        CheckConstraint("status in ('IN_PROGRESS', 'COMPLETED', 'FAILED', 'TIMEOUT')", name="status"),
        CheckConstraint("listings_scraped >= 0", name="listings"),
    )


class MinerSignal(Base):
    """A signal about a miner in one epoch, for validators to examine. `kind` names the rule, and `details`
    has the facts. It has no other effect."""

    __tablename__ = "miner_signals"
    epoch_id: Mapped[str] = mapped_column(ForeignKey("epochs.epoch_id"), primary_key=True)
    hotkey: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    details: Mapped[dict[str, Any]]
    computed_at: Mapped[datetime]
    __table_args__ = (
        readable_times("computed_at"),
        readable_sizes("hotkey", "kind", details=300_000),
        CheckConstraint("kind ~ '^[a-z_]+$'", name="kind"),
    )


class UploadSeal(Base):
    """Marks that an epoch's manifest is written. `changes_checked_at` is when the uploads were checked for
    later changes."""

    __tablename__ = "upload_seals"
    epoch_id: Mapped[str] = mapped_column(ForeignKey("epochs.epoch_id"), primary_key=True)
    sealed_at: Mapped[datetime]
    changes_checked_at: Mapped[datetime | None]
    __table_args__ = (readable_times("sealed_at", "changes_checked_at"),)


class UploadManifest(Base):
    """One version of an uploaded object that counts for an epoch."""

    __tablename__ = "upload_manifests"
    epoch_id: Mapped[str] = mapped_column(ForeignKey("epochs.epoch_id"), primary_key=True)
    hotkey: Mapped[str] = mapped_column(primary_key=True)
    object_key: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[str | None]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    etag: Mapped[str]
    stored_at: Mapped[datetime]
    sealed_at: Mapped[datetime]
    __table_args__ = (
        readable_times("stored_at", "sealed_at"),
        readable_sizes("hotkey", "object_key", "version_id", "etag"),
        CheckConstraint("size_bytes >= 0", name="size"),
    )


class ValidatorResult(Base):
    """A validator's report on one epoch. It is kept when a later one replaces it. `files` has the result of
    checking each file. `is_late` is true if it was received after the epoch was revealed."""

    __tablename__ = "validator_results"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    epoch_id: Mapped[str] = mapped_column(ForeignKey("epochs.epoch_id"))
    hotkey: Mapped[str]
    alpha_stake_rao: Mapped[int] = mapped_column(BigInteger)
    reported_at: Mapped[datetime]
    received_at: Mapped[datetime]
    superseded_at: Mapped[datetime | None]
    duration_seconds: Mapped[float] = mapped_column(Double)
    miners_evaluated: Mapped[int]
    listings_validated: Mapped[int]
    top_3_miners: Mapped[list[dict[str, Any]]]
    files: Mapped[list[dict[str, Any]]]
    body_sha256: Mapped[str]
    request_id: Mapped[str]
    started_at: Mapped[datetime | None]
    is_late: Mapped[bool] = mapped_column(server_default=text("false"))
    request_key: Mapped[str | None]
    """The signed nonce or text, so that the same request is stored only once."""
    __table_args__ = (
        readable_times("reported_at", "received_at", "superseded_at", "started_at"),
        readable_sizes("hotkey", "request_id", "request_key", top_3_miners=4_000, files=300_000),
        CheckConstraint("duration_seconds >= 0", name="duration"),
        CheckConstraint("miners_evaluated >= 0", name="miners"),
        CheckConstraint("listings_validated >= 0", name="listings"),
        CheckConstraint("alpha_stake_rao >= 0", name="stake"),
        CheckConstraint(f"body_sha256 ~ '{SHA256_RULE}'", name="body_sha256"),
        Index(None, "epoch_id", "hotkey"),
        Index(
            "uq_validator_results_epoch_id_hotkey_request_key",
            "epoch_id",
            "hotkey",
            "request_key",
            unique=True,
        ),
        # Only one report of each validator and epoch is not superseded.
        Index(
            "uq_validator_results_in_force",
            "epoch_id",
            "hotkey",
            unique=True,
            postgresql_where=text("superseded_at is null"),
        ),
    )


class ValidationAudit(Base):
    """The result of one validator's check of one zipcode of one miner."""

    __tablename__ = "validation_audit"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    result_id: Mapped[UUID] = mapped_column(ForeignKey("validator_results.id"))
    epoch_id: Mapped[str] = mapped_column(ForeignKey("epochs.epoch_id"))
    miner_hotkey: Mapped[str]
    zipcode: Mapped[str]
    validation_type: Mapped[str]
    result: Mapped[str]
    score: Mapped[float] = mapped_column(Double)
    listings_checked: Mapped[int]
    issues: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    __table_args__ = (
        CheckConstraint(ZIPCODE_RULE, name="zipcode"),
        readable_sizes("miner_hotkey", issues=300_000),
        CheckConstraint("validation_type in ('basic', 'spot_check', 'full')", name="validation_type"),
        CheckConstraint("result in ('pass', 'fail', 'partial')", name="result"),
        CheckConstraint("score >= 0 and score < 'Infinity'", name="score"),
        CheckConstraint("listings_checked >= 0", name="listings"),
        Index(None, "epoch_id", "miner_hotkey"),
        Index(None, "result_id"),
    )
