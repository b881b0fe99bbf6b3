"""Defines the settings of the object store for the responder and the operator's commands."""

from typing import Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from service.settings import EnvironmentSettings
from storage.objects.store import ObjectStoreConfig

BucketName = Annotated[
    str, StringConstraints(min_length=3, max_length=63, pattern=r"^[a-z0-9](\.?[a-z0-9-])*[a-z0-9]$")
]


class ObjectStoreSettings(EnvironmentSettings):
    s3_bucket: BucketName = Field(description="bucket of the miners' uploads", examples=["zipcast-miners"])
    s3_validator_bucket: BucketName = Field(
        default="resi-validated-data", description="bucket of the validators' results"
    )
    s3_region: str = Field(
        default="us-east-1", pattern=r"^[A-Za-z0-9-]{1,63}$", description="region of both buckets"
    )
    s3_endpoint_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL of an S3-compatible provider; leave empty for AWS",
    )
    s3_takes_forms: bool = Field(
        default=True,
        description="whether the store takes uploads by form (POST); set it to false for Backblaze B2",
    )
    s3_role_arn: str | None = Field(
        default=None, description="role that upload sessions assume; leave empty if the provider has no STS"
    )
    aws_access_key_id: str = Field(description="access key of the user that signs (rights: docs/s3-setup.md)")
    aws_secret_access_key: SecretStr = Field(description="secret key of the same user")
    s3_deadline_seconds: float = Field(
        default=5, gt=0, le=30, description="timeout of requests to the object store, in seconds"
    )

    @model_validator(mode="after")
    def _two_buckets(self) -> Self:
        if self.s3_bucket == self.s3_validator_bucket:
            raise ValueError("S3_BUCKET and S3_VALIDATOR_BUCKET must be different buckets")
        return self

    @property
    def object_store(self) -> ObjectStoreConfig:
        return ObjectStoreConfig(
            endpoint_url=self.s3_endpoint_url,
            region=self.s3_region,
            access_key_id=self.aws_access_key_id,
            secret_access_key=self.aws_secret_access_key,
            role_arn=self.s3_role_arn,
            takes_forms=self.s3_takes_forms,
            deadline_seconds=self.s3_deadline_seconds,
        )
