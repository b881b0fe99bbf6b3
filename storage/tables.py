"""The PostgreSQL tables (design: data model). Rows live here and in repositories, nowhere else.

Owns table shapes and constraint names; the migrations under `migrations/` bring a real
database to this shape, and `devstack.check_migrations` refuses a difference between the two.
No relationships are declared: every read says what it loads.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ZIPCODE_RULE = "zipcode ~ '^[0-9]{5}$'"
SHA256_RULE = "^[0-9a-f]{64}$"


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text(),
        list[str]: ARRAY(Text()),
        dict[str, Any]: JSONB(),
    }


class ZipcodeColumns:
    """What the operator states about one zipcode, in force or in a past import."""

    state: Mapped[str]
    city: Mapped[str]
    county: Mapped[str]
    population: Mapped[int | None]
    median_home_value: Mapped[int | None]
    recently_sold_listings: Mapped[int]
    market_tier: Mapped[str]
    geographic_region: Mapped[str]
    base_weight: Mapped[float] = mapped_column(Double, server_default=text("1"))
    last_scraped_at: Mapped[datetime]
    active: Mapped[bool] = mapped_column(server_default=text("true"))


def zipcode_checks() -> tuple[CheckConstraint, ...]:
    return (
        CheckConstraint(ZIPCODE_RULE, name="zipcode"),
        CheckConstraint("state ~ '^[A-Z]{2}$'", name="state"),
        CheckConstraint("recently_sold_listings >= 0", name="listings"),
        CheckConstraint("population >= 0", name="population"),
        CheckConstraint("median_home_value >= 0", name="home_value"),
        CheckConstraint("base_weight > 0", name="base_weight"),
        CheckConstraint("market_tier in ('PREMIUM', 'STANDARD', 'EMERGING')", name="market_tier"),
    )


class ZipcodeImport(Base):
    """One import is one version of the zipcode data; its id orders versions."""

    __tablename__ = "zipcode_imports"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    imported_at: Mapped[datetime]
    source_name: Mapped[str]
    source_sha256: Mapped[str]
    added: Mapped[int]
    changed: Mapped[int]
    unchanged: Mapped[int]
    rejected: Mapped[int]
    __table_args__ = (CheckConstraint(f"source_sha256 ~ '{SHA256_RULE}'", name="source_sha256"),)


class Zipcode(ZipcodeColumns, Base):
    """The newest version of each zipcode."""

    __tablename__ = "zipcodes"
    zipcode: Mapped[str] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"))
    __table_args__ = (*zipcode_checks(), Index(None, "state"))


class ZipcodeRevision(ZipcodeColumns, Base):
    """Append-only: the pool as of import N is, for each zipcode, its newest revision <= N."""

    __tablename__ = "zipcode_revisions"
    zipcode: Mapped[str] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"), primary_key=True)
    __table_args__ = zipcode_checks()


class Epoch(Base):
    """One epoch from preparation on. `start_at`/`end_at` are the half-open interval."""

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
    import_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"))
    message_sha256: Mapped[str | None]
    prepared_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    stream_sequence: Mapped[int | None] = mapped_column(BigInteger)
    completed_at: Mapped[datetime | None]
    __table_args__ = (
        CheckConstraint("status in ('pending', 'active', 'completed', 'archived', 'missed')", name="status"),
        CheckConstraint("start_at < end_at", name="interval"),
        # One epoch at a time, whatever length epochs had when each was prepared.
        ExcludeConstraint((text("tstzrange(start_at, end_at)"), "&&"), name="ex_epochs_overlap"),
        # What was published has all that a reader needs; a missed epoch has invented nothing.
        CheckConstraint("(status = 'missed') = (message_sha256 is null)", name="message"),
        CheckConstraint("published_at is not null or status in ('pending', 'missed')", name="published"),
        Index(None, "end_at"),
        Index("ix_epochs_unfinished", "start_at", postgresql_where=text("status in ('pending', 'active')")),
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


class EpochMessage(Base):
    """The signed bytes, append-only; `epochs.message_sha256` names the one in force.

    A second row for one epoch exists only where the stream turned out to hold other bytes
    than this database: the stream's are what subscribers have, so they come into force.
    """

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
    """What an epoch's selection was committed to, one epoch ahead, as the exact hashed bytes."""

    __tablename__ = "epoch_inputs"
    epoch_id: Mapped[str] = mapped_column(primary_key=True)
    inputs: Mapped[bytes]
    inputs_sha256: Mapped[str]
    committed_at: Mapped[datetime]
    __table_args__ = (CheckConstraint("inputs_sha256 = encode(sha256(inputs), 'hex')", name="inputs_hash"),)


class RegistrySnapshot(Base):
    """One reading of the metagraph: who is registered, as whom, with how much stake (rao)."""

    __tablename__ = "registry_snapshots"
    network: Mapped[str] = mapped_column(primary_key=True)
    netuid: Mapped[int] = mapped_column(primary_key=True)
    block_number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    taken_at: Mapped[datetime]
    snapshot: Mapped[dict[str, Any]]


class CredentialIssuance(Base):
    """Every credential that left the responder: to whom, for what prefix, until when."""

    __tablename__ = "credential_issuances"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    hotkey: Mapped[str]
    role: Mapped[str]
    kind: Mapped[str]
    bucket: Mapped[str]
    prefix: Mapped[str]
    epoch_id: Mapped[str | None]
    request_id: Mapped[str]
    source: Mapped[str]
    __table_args__ = (
        CheckConstraint("role in ('miner', 'validator')", name="role"),
        CheckConstraint("issued_at < expires_at", name="lifetime"),
        Index(None, "hotkey", "issued_at"),
    )
