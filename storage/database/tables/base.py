"""Defines what all tables share: the schema, names of constraints, types of columns, and common rules."""

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, DateTime, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

# A separate schema, because other logins may be allowed to create objects in `public`.
SCHEMA = "zipcast"
# The search path that every login must have. Temporary tables come last; otherwise they would hide ours.
SEARCH_PATH = f"{SCHEMA}, pg_temp"
ZIPCODE_RULE = "zipcode ~ '^[0-9]{5}$'"
MAX_TEXT = 1100
"""The largest length of a text, in characters. The key of an object has at most 1,024 bytes."""
SHA256_RULE = "^[0-9a-f]{64}$"


class Base(DeclarativeBase):
    metadata = MetaData(
        schema=SCHEMA,
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        },
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text(),
        list[str]: ARRAY(Text()),
        dict[str, Any]: JSONB(),
        list[dict[str, Any]]: JSONB(),
    }


def readable_sizes(*texts: str, **documents: int) -> CheckConstraint:
    """Return a constraint that the texts have at most MAX_TEXT characters, and each JSON document at most the
    given number. Null is allowed.

    It is for tables that one login writes and another reads. Decoding a document with millions of entries
    would block the reading process for seconds."""
    rules = [f"length({name}) <= {MAX_TEXT}" for name in texts]
    rules += [f"length({name}::text) <= {most}" for name, most in documents.items()]
    return CheckConstraint(" and ".join(rules), name="sizes")


def readable_times(*columns: str) -> CheckConstraint:
    """Return a constraint that these columns have times that Python can represent. Null is allowed.

    It is for tables that one login writes and another reads. PostgreSQL's times range from 4713 BC to
    infinity, and a reader would fail again and again at a row that it cannot decode."""
    listed = ", ".join(columns)
    return CheckConstraint(
        f"least({listed}) >= '2000-01-01 00:00+00' and greatest({listed}) < '3000-01-01 00:00+00'",
        name="times",
    )
