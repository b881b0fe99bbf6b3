"""Settings of the responder process."""

import re
from datetime import timedelta
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from runtime.settings import DoorwaySettings, InternalPort
from storage.object_store import ObjectStoreConfig
from zipcast.calendar import scaled

_HEX_KEY = re.compile(r"[0-9a-f]{64}")


class ResponderSettings(DoorwaySettings):
    own_prefix: ClassVar[str | None] = "RESPONDER_"
    internal_port: InternalPort = 9102

    responder_nats_seed: SecretStr = Field(description="nkey seed of the NATS user RESPONDER")
    responder_follow_nats_seed: SecretStr = Field(description="nkey seed of the user RESPONDER_FOLLOW")
    responder_seal_key: SecretStr = Field(
        description="seals stored answers, the same for all replicas; 64 hex digits"
    )

    s3_bucket: str = Field(description="bucket of the miners' uploads", examples=["zipcast-miners"])
    s3_validator_bucket: str = Field(
        default="resi-validated-data", description="bucket of the validators' results"
    )
    s3_region: str = Field(default="us-east-1", description="region of both buckets")
    s3_endpoint_url: str | None = Field(
        default=None, pattern=r"^https?://", description="of an S3-compatible provider; unset for AWS"
    )
    s3_role_arn: str | None = Field(
        default=None, description="role that upload sessions assume; None where there is no STS"
    )
    aws_access_key_id: str = Field(description="of the user that signs; its rights: docs/operations.md")
    aws_secret_access_key: SecretStr = Field(description="of the same user")
    s3_deadline_seconds: float = Field(
        default=5, gt=0, le=30, description="how long the object store may take to answer, in seconds"
    )

    s3_seal_after_seconds: float = Field(
        default=60,
        ge=0,
        le=3600,
        description="from an epoch's end until its uploads are listed; shrinks with epochs shorter than 4 h",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not _HEX_KEY.fullmatch(self.responder_seal_key.get_secret_value()):
            raise ValueError("RESPONDER_SEAL_KEY must be 64 hex digits")
        if self.s3_bucket == self.s3_validator_bucket:
            raise ValueError("S3_BUCKET and S3_VALIDATOR_BUCKET must be two buckets")
        plain = (self.s3_endpoint_url or "").startswith("http://")
        if plain and self.zipcast_environment == "production":
            raise ValueError("S3_ENDPOINT_URL must be https:// in ZIPCAST_ENVIRONMENT=production")
        return self

    @property
    def seal_after(self) -> timedelta:
        return scaled(timedelta(seconds=self.s3_seal_after_seconds), self.epoch_seconds)

    @property
    def object_store(self) -> ObjectStoreConfig:
        return ObjectStoreConfig(
            endpoint_url=self.s3_endpoint_url,
            region=self.s3_region,
            access_key_id=self.aws_access_key_id,
            secret_access_key=self.aws_secret_access_key,
            role_arn=self.s3_role_arn,
            deadline_seconds=self.s3_deadline_seconds,
        )
