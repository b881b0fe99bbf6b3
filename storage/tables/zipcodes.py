"""Zipcodes, and the imports that are their versions."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Double, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables.base import SHA256_RULE, ZIPCODE_RULE, Base


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
    trimmed_at: Mapped[datetime | None]
    """Since then it cannot be rebuilt: revisions that it needs were dropped, since no epoch needed them."""
    __table_args__ = (CheckConstraint(f"source_sha256 ~ '{SHA256_RULE}'", name="source_sha256"),)


class Zipcode(ZipcodeColumns, Base):
    """The newest version of each zipcode."""

    __tablename__ = "zipcodes"
    zipcode: Mapped[str] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"))
    __table_args__ = (*zipcode_checks(), Index(None, "state"))


class ZipcodeRevision(ZipcodeColumns, Base):
    """The pool as of import N is, for each zipcode, its newest revision <= N. None is ever changed; one that
    was superseded is dropped once no epoch in detail is made from it."""

    __tablename__ = "zipcode_revisions"
    zipcode: Mapped[str] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("zipcode_imports.id"), primary_key=True)
    __table_args__ = zipcode_checks()
