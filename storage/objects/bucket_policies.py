"""Reads and writes the policies of the two buckets, for `storage.objects.revocation`. The calls block."""

import base64
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from storage.objects.checks.probing import client, code_of, words_of
from storage.objects.revocation import revoked_hotkeys, with_revoked
from storage.objects.store import ObjectStoreConfig
from zipcast.protocol.hotkeys import Hotkey

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


class BucketPolicyError(Exception):
    """The provider refused the request. The message has the provider's error code."""


class BucketPolicies:
    """The policies of the miners' and the validators' buckets, which are changed together."""

    def __init__(self, config: ObjectStoreConfig, miner_bucket: str, validator_bucket: str) -> None:
        self._s3: S3Client = client(config)
        # The part of a key that precedes the hotkey, for each bucket.
        self._folders = {miner_bucket: "data/hotkey=", validator_bucket: "validators/"}

    def revoked(self) -> frozenset[Hotkey]:
        """Return the hotkeys that either bucket denies. Raises BucketPolicyError and RevocationError."""
        found = (revoked_hotkeys(self._read(bucket)) for bucket in self._folders)
        return frozenset[Hotkey]().union(*found)

    def change(self, whom: Callable[[frozenset[Hotkey]], frozenset[Hotkey]]) -> frozenset[Hotkey]:
        """Call `whom` with the hotkeys that are denied now, and deny exactly those that it returns, in both
        buckets. Raises BucketPolicyError and RevocationError."""
        denied = whom(self.revoked())
        for bucket, folders in self._folders.items():
            before = self._read(bucket)
            after = with_revoked(before, bucket, folders, denied)
            if after != before:
                self._write(bucket, after)
        return denied

    def _read(self, bucket: str) -> str | None:
        try:
            return self._s3.get_bucket_policy(Bucket=bucket)["Policy"]
        except (ClientError, BotoCoreError) as error:
            if code_of(error) == "NoSuchBucketPolicy":
                return None
            raise BucketPolicyError(
                f"cannot read the policy of bucket {bucket}: {words_of(error)}"
            ) from error

    def _write(self, bucket: str, policy: str | None) -> None:
        try:
            if policy is None:
                self._s3.delete_bucket_policy(Bucket=bucket)
            else:
                # State Content-MD5. By default, boto3 sends another checksum, which some stores do not accept
                # instead.
                digest = hashlib.md5(policy.encode(), usedforsecurity=False).digest()
                md5 = base64.b64encode(digest).decode()
                # The type stubs of boto3 lack the parameter ContentMD5.
                self._s3.put_bucket_policy(Bucket=bucket, Policy=policy, ContentMD5=md5)  # type: ignore[call-arg]
        except (ClientError, BotoCoreError) as error:
            raise BucketPolicyError(
                f"cannot write the policy of bucket {bucket}: {words_of(error)}"
            ) from error
