"""Settings of the responder process."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from runtime.settings import DatabaseSettings, RegistryAgeSettings, ServiceSettings, SignerSettings
from storage.object_store import ObjectStoreConfig


class ResponderSettings(ServiceSettings, DatabaseSettings, SignerSettings, RegistryAgeSettings):
    responder_nats_seed: SecretStr = Field(description="nkey seed of the NATS user RESPONDER")
    responder_follow_nats_seed: SecretStr = Field(description="nkey seed of the user RESPONDER_FOLLOW")
    validator_min_stake: int = Field(default=1000, ge=0, description="alpha a validator must hold")

    s3_bucket: str = Field(description="bucket of the miners' uploads")
    s3_validator_bucket: str = "resi-validated-data"
    s3_region: str = "us-east-1"
    s3_endpoint_url: str | None = Field(default=None, description="None for AWS")
    s3_role_arn: str | None = Field(
        default=None, description="role that upload sessions assume; None where there is no STS"
    )
    aws_access_key_id: str
    aws_secret_access_key: SecretStr
    s3_deadline_seconds: float = Field(default=5, gt=0, le=30)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.s3_bucket == self.s3_validator_bucket:
            raise ValueError("S3_BUCKET and S3_VALIDATOR_BUCKET must be two buckets")
        return self

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
