"""Returns the settings of the object store that a test started."""

from pydantic import SecretStr

from devstack.servers import Servers
from storage.objects.store import (
    ObjectStoreConfig,
)


def config(servers: Servers) -> ObjectStoreConfig:
    environment = servers.s3_environment
    return ObjectStoreConfig(
        endpoint_url=environment["S3_ENDPOINT_URL"],
        region=environment["S3_REGION"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=SecretStr(environment["AWS_SECRET_ACCESS_KEY"]),
        role_arn=environment["S3_ROLE_ARN"],
    )
