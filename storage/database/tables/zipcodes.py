"""Defines the tables of zipcodes and of imports, which are versions of the zipcode data."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Double, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.database.tables.base import SHA256_RULE, ZIPCODE_RULE, Base


class ZipcodeColumns:
    """The operator's data about one zipcode, from the newest or an earlier import."""

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
    """One import, which is one version of the zipcode data. Versions are ordered by id."""

    __tablename__ = "zipcode_imports"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    imported_at: Mapped[datetime]
    source_name: Mapped[str]
    source_sha256: Mapped[str]
    added: Mapped[int]
    changed: Mapped[int]
    unchanged: Mapped[int]
    rejected: Mapped[int]
    trimmed_at: Mapped[datetime | None]
    """When revisions of this version that no epoch needs were deleted. Since then, the version cannot be
    rebuilt."""
    __table_args__ = (CheckConstraint(f"source_sha256 ~ '{SHA256_RULE}'", name="source_sha256"),)


class Zipcode(ZipcodeColumns, Base):
    """The newest version of each zipcode."""

    __tablename__ = "zipcodes"
    zipcode: Mapped[str] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"))
    __table_args__ = (*zipcode_checks(), Index(None, "state"))


class PublishedZipcode(Base):
    """The published data of one active zipcode of one import. Epochs are drawn from it, and validators can
    see it. `commitment` is the commitment to the real count, which may differ from the published one."""

    __tablename__ = "published_zipcodes"
    import_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"), primary_key=True)
    zipcode: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    city: Mapped[str]
    county: Mapped[str]
    market_tier: Mapped[str]
    geographic_region: Mapped[str]
    expected_listings: Mapped[int]
    population: Mapped[int | None]
    base_weight: Mapped[float] = mapped_column(Double)
    last_scraped_at: Mapped[datetime]
    commitment: Mapped[str]
    __table_args__ = (
        CheckConstraint(ZIPCODE_RULE, name="zipcode"),
        CheckConstraint("expected_listings >= 0", name="listings"),
        CheckConstraint(f"commitment ~ '{SHA256_RULE}'", name="commitment"),
    )


class ZipcodeHoneypot(Base):
    """A zipcode whose published count is false in one import. Only schedulers may read this table. `salt` is
    the salt of its commitment; its real count is below `threshold`."""

    __tablename__ = "zipcode_honeypots"
    import_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"), primary_key=True)
    zipcode: Mapped[str] = mapped_column(primary_key=True)
    real_listings: Mapped[int]
    threshold: Mapped[int]
    salt: Mapped[str]
    __table_args__ = (
        CheckConstraint(ZIPCODE_RULE, name="zipcode"),
        CheckConstraint("0 <= real_listings and real_listings < threshold", name="real_listings"),
    )


class RetiredHoneypot(Base):
    """A zipcode that was a honeypot until this import and never will be again."""

    __tablename__ = "retired_honeypots"
    zipcode: Mapped[str] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"))
    __table_args__ = (CheckConstraint(ZIPCODE_RULE, name="zipcode"),)


class ZipcodeRevision(ZipcodeColumns, Base):
    """The data of one zipcode from one import on. The data of import N consists of each zipcode's newest
    revision up to N. Revisions are never changed. A replaced one is deleted when no epoch whose details are
    kept uses it."""

    __tablename__ = "zipcode_revisions"
    zipcode: Mapped[str] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"), primary_key=True)
    __table_args__ = zipcode_checks()
