"""Provides the files that tests upload, and the client with which they upload."""

import boto3
from botocore.config import Config

from zipcast.protocol.messages.access import S3Credentials

CONTENT = b"listing,price\n" * 100


def s3_client(credentials: S3Credentials):
    return boto3.client(
        "s3",
        endpoint_url=credentials.endpoint,
        region_name=credentials.region,
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.session_token,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
