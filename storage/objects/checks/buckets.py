"""Checks the set-up of a bucket: that it is reachable, versioned, not public, and accepts Zipcast's forms."""

from collections.abc import AsyncIterator

import httpx

from storage.objects.checks.probing import UNKNOWN_TO_PROVIDER, Finding, Status, attempt, client
from storage.objects.store import ObjectStore, ObjectStoreConfig

_UNREACHABLE = {
    "404": "create the bucket, or correct S3_BUCKET and S3_VALIDATOR_BUCKET",
    "403": "give the signing user the rights of deploy/s3/user-policy.json, or correct its keys",
    "301": "correct S3_REGION",
}


async def check_bucket(
    config: ObjectStoreConfig, store: ObjectStore, http: httpx.AsyncClient, bucket: str
) -> AsyncIterator[Finding]:
    """Yield the findings. If the first check fails, yield only its finding, because the others would mean
    nothing."""
    code, _ = await attempt(lambda: client(config).head_bucket(Bucket=bucket))
    subject = f"{bucket}: reachable"
    if code is not None:
        fix = _UNREACHABLE.get(code, "correct S3_ENDPOINT_URL")
        yield Finding(subject, Status.FAILED, f"the store says {code}", fix)
        return
    yield Finding(subject, Status.OK, "the signing user can reach it")
    yield await _versioning(config, bucket)
    yield await _public_access_block(config, bucket)
    yield await _ownership(config, bucket)
    yield await _anonymous(store, http, bucket)


async def _versioning(config: ObjectStoreConfig, bucket: str) -> Finding:
    subject = f"{bucket}: versioning"
    code, answer = await attempt(lambda: client(config).get_bucket_versioning(Bucket=bucket))
    if answer.get("Status") == "Enabled":
        return Finding(subject, Status.OK, "every version is kept")
    message = "it is off" if code is None else f"the store says {code}"
    fix = "put deploy/s3/versioning.json, so that files overwritten after a deadline are not lost"
    return Finding(subject, Status.FAILED, message, fix)


async def _public_access_block(config: ObjectStoreConfig, bucket: str) -> Finding:
    subject = f"{bucket}: public access block"
    code, answer = await attempt(lambda: client(config).get_public_access_block(Bucket=bucket))
    if code in UNKNOWN_TO_PROVIDER:
        message = "this provider has none; public access is tested below"
        return Finding(subject, Status.WARNING, message, "never make the bucket public")
    if code == "AccessDenied":
        message = "the signing user may not read it; public access is tested below"
        return Finding(
            subject, Status.WARNING, message, "to check it, allow the user s3:GetBucketPublicAccessBlock"
        )
    blocks = answer.get("PublicAccessBlockConfiguration", {})
    if len(blocks) == 4 and all(blocks.values()):
        return Finding(subject, Status.OK, "all four settings are on")
    message = "not all four settings are on" if code is None else f"the store says {code}"
    return Finding(subject, Status.FAILED, message, "put deploy/s3/public-access-block.json")


async def _ownership(config: ObjectStoreConfig, bucket: str) -> Finding:
    """Check whether the bucket accepts ACLs, which Zipcast's forms set. Buckets made since April 2023 refuse
    them by default (AWS: object ownership)."""
    subject = f"{bucket}: accepts acl=private"
    code, answer = await attempt(lambda: client(config).get_bucket_ownership_controls(Bucket=bucket))
    rules = answer.get("OwnershipControls", {}).get("Rules", [])
    if any(rule["ObjectOwnership"] == "BucketOwnerEnforced" for rule in rules):
        message = "BucketOwnerEnforced makes every form fail (AccessControlListNotSupported)"
        return Finding(subject, Status.FAILED, message, "put deploy/s3/ownership.json")
    if code is None or code in {*UNKNOWN_TO_PROVIDER, "OwnershipControlsNotFoundError"}:
        return Finding(subject, Status.OK, "ACLs are accepted")
    return Finding(subject, Status.WARNING, f"the store says {code}; a form is tested below")


async def _anonymous(store: ObjectStore, http: httpx.AsyncClient, bucket: str) -> Finding:
    subject = f"{bucket}: not public"
    address = store.address(bucket)
    answer = await http.get(address, params={"list-type": "2"})
    if answer.status_code in {401, 403}:
        return Finding(subject, Status.OK, "an unsigned list is refused")
    message = f"the reply to an unsigned list has status {answer.status_code}"
    return Finding(subject, Status.FAILED, message, "remove the policy or ACL that makes it public")
