"""Wire models of a miner's status report (docs/http-contract.md, `POST …/status`)."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from zipcast.protocol.messages.base import EpochId, Success, WireModel, WireTime, ZipcodeText

MAX_LISTINGS = 1_000_000_000
MAX_ZIPCODES = 1000


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _utc(value: datetime) -> datetime:
    """Return the time in UTC. A time without a zone is UTC (docs/http-contract.md, "Conventions")."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be in the years 1 to 9999 in UTC") from None


STATUSES = ("IN_PROGRESS", "COMPLETED", "FAILED", "TIMEOUT")


def _any_case(word: str) -> str:
    """Return a pattern that matches the word in any case, because JSON Schema has no flag for that."""
    return "".join(f"[{letter}{letter.lower()}]" if letter.isalpha() else letter for letter in word)


Status = Annotated[
    Literal["IN_PROGRESS", "COMPLETED", "FAILED", "TIMEOUT"],
    BeforeValidator(_upper),
    WithJsonSchema(
        {"type": "string", "pattern": f"^({'|'.join(map(_any_case, STATUSES))})$"}, mode="validation"
    ),
]
StatedTime = Annotated[datetime, AfterValidator(_utc)]
Listings = Annotated[int, Field(ge=0, le=MAX_LISTINGS)]


class ZipcodeProgress(WireModel):
    zipcode: ZipcodeText
    listings_scraped: Listings = Field(default=0, description="Listings collected so far.", examples=[1960])
    completed_at: StatedTime | None = Field(
        default=None, description="When the zipcode was completed. A time without a time zone is read as UTC."
    )


class StatusRequest(WireModel):
    """A miner's progress in an epoch. `nonce` is the epoch's nonce, which proves that the miner received
    it."""

    epoch_id: EpochId
    nonce: Annotated[str, StringConstraints(max_length=128)] = Field(
        description="The epoch's nonce, which proves that the miner received it."
    )
    status: Status = Field(description="The miner's progress in this epoch.", examples=["COMPLETED"])
    listings_scraped: Listings | None = Field(
        default=None, description="Listings collected so far.", examples=[1960]
    )
    zipcodes_completed: (
        Annotated[tuple[ZipcodeProgress, ...], Field(max_length=MAX_ZIPCODES, fail_fast=True)] | None
    ) = Field(default=None, description="Completed zipcodes.")
    s3_upload_complete: bool = Field(default=False, description="Whether the upload is complete.")
    s3_upload_timestamp: StatedTime | None = Field(
        default=None, description="When the upload ended. A time without a time zone is read as UTC."
    )


class StatusReply(WireModel):
    """The receipt of a status report. `timestamp` is when it was received."""

    success: Success = True
    message: str = Field(description="The result as one readable sentence.", examples=["Recorded."])
    epoch_id: EpochId
    status: Status = Field(description="The miner's progress in this epoch.", examples=["COMPLETED"])
    timestamp: WireTime = Field(description="When the report was received, UTC.")


class EpochGetRequest(WireModel):
    """Request the signed bytes of an epoch that has started."""

    epoch_id: EpochId
