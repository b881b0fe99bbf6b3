"""Defines the settings of the responder process."""

from datetime import timedelta
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from service.object_store_settings import ObjectStoreSettings
from service.settings import AccessSettings, InternalPort, PoolSize
from zipcast.protocol.calendar import scaled


class ResponderSettings(AccessSettings, ObjectStoreSettings):
    own_prefix: ClassVar[str | None] = "RESPONDER_"
    internal_port: InternalPort = 9102
    responder_database_connections: PoolSize = 16
    responder_writer_connections: int = Field(
        default=3,
        ge=1,
        le=100,
        description="additional connections of a replica that write credentials and status reports",
    )

    responder_nats_seed: SecretStr = Field(description="nkey seed of the NATS user RESPONDER")
    responder_follow_nats_seed: SecretStr = Field(description="nkey seed of the user RESPONDER_FOLLOW")

    s3_seal_after_seconds: float = Field(
        default=60,
        ge=0,
        le=3600,
        description="seconds from an epoch's end until its uploads are listed; shorter if epochs are below "
        "4 h",
    )

    s3_most_hashed_mb: int = Field(
        default=256,
        ge=1,
        le=16_384,
        description="maximum size of one report's files without a stored SHA-256, in megabytes",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        plain = (self.s3_endpoint_url or "").startswith("http://")
        if plain and self.zipcast_environment == "production":
            raise ValueError("S3_ENDPOINT_URL must be https:// in ZIPCAST_ENVIRONMENT=production")
        return self

    @property
    def most_hashed_bytes(self) -> int:
        """Return the largest size, in bytes, of a report's files that are hashed."""
        return self.s3_most_hashed_mb * 1024**2

    @property
    def seal_after(self) -> timedelta:
        """Return the time from an epoch's end until its manifest is written."""
        return scaled(timedelta(seconds=self.s3_seal_after_seconds), self.epoch_seconds)
