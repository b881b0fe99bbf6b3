"""Checks the set-up of a bucket: reachable, versioned, closed to the public, open to our forms."""

from collections.abc import AsyncIterator

import httpx

from storage.objects.checks.probing import UNKNOWN_TO_PROVIDER, Finding, Status, attempt, client
from storage.objects.store import ObjectStore, ObjectStoreConfig

_UNREACHABLE = {
    "404": "create it, or correct S3_BUCKET and S3_VALIDATOR_BUCKET",
    "403": "give the signing user the rights of deploy/s3/user-policy.json, or correct its keys",
    "301": "correct S3_REGION",
}


async def check_bucket(
    config: ObjectStoreConfig, store: ObjectStore, http: httpx.AsyncClient, bucket: str
) -> AsyncIterator[Finding]:
    """Yield the findings; if the first one has failed, it alone: the others would say nothing."""
    code, _ = await attempt(lambda: client(config).head_bucket(Bucket=bucket))
    subject = f"{bucket}: reachable"
    if code is not None:
        fix = _UNREACHABLE.get(code, "correct S3_ENDPOINT_URL")
        yield Finding(subject, Status.FAILED, f"the store says {code}", fix)
        return
    yield Finding(subject, Status.OK, "the signing user sees it")
    yield await _versioning(config, bucket)
    yield await _public_access_block(config, bucket)
    yield await _ownership(config, bucket)
    yield await _anonymous(store, http, bucket)


async def _versioning(config: ObjectStoreConfig, bucket: str) -> Finding:
    subject = f"{bucket}: versioning"
    code, answer = await attempt(lambda: client(config).get_bucket_versioning(Bucket=bucket))
    if answer.get("Status") == "Enabled":
        return Finding(subject, Status.OK, "every version is kept")
    told = "it is off" if code is None else f"the store says {code}"
    fix = "put deploy/s3/versioning.json: what is overwritten after a deadline must not be lost"
    return Finding(subject, Status.FAILED, told, fix)


async def _public_access_block(config: ObjectStoreConfig, bucket: str) -> Finding:
    subject = f"{bucket}: public access block"
    code, answer = await attempt(lambda: client(config).get_public_access_block(Bucket=bucket))
    if code in UNKNOWN_TO_PROVIDER:
        told = "this provider has none; whether the public gets in is tried"
        return Finding(subject, Status.WARNING, told, "never make the bucket public")
    if code == "AccessDenied":
        told = "the signing user may not see it; whether the public gets in is tried"
        return Finding(subject, Status.WARNING, told, "give the user s3:GetBucketPublicAccessBlock to know")
    blocks = answer.get("PublicAccessBlockConfiguration", {})
    if len(blocks) == 4 and all(blocks.values()):
        return Finding(subject, Status.OK, "all four are on")
    told = "not all four are on" if code is None else f"the store says {code}"
    return Finding(subject, Status.FAILED, told, "put deploy/s3/public-access-block.json")


async def _ownership(config: ObjectStoreConfig, bucket: str) -> Finding:
    """Check that the bucket refuses ACLs, as buckets made since April 2023 do by default (AWS: object
    ownership)."""
    subject = f"{bucket}: takes acl=private"
    code, answer = await attempt(lambda: client(config).get_bucket_ownership_controls(Bucket=bucket))
    rules = answer.get("OwnershipControls", {}).get("Rules", [])
    if any(rule["ObjectOwnership"] == "BucketOwnerEnforced" for rule in rules):
        told = "BucketOwnerEnforced refuses every form of ours (AccessControlListNotSupported)"
        return Finding(subject, Status.FAILED, told, "put deploy/s3/ownership.json")
    if code is None or code in {*UNKNOWN_TO_PROVIDER, "OwnershipControlsNotFoundError"}:
        return Finding(subject, Status.OK, "ACLs are not turned off")
    return Finding(subject, Status.WARNING, f"the store says {code}; the form below decides")


async def _anonymous(store: ObjectStore, http: httpx.AsyncClient, bucket: str) -> Finding:
    subject = f"{bucket}: closed to the public"
    address = store.address(bucket)
    answer = await http.get(address, params={"list-type": "2"})
    if answer.status_code in {401, 403}:
        return Finding(subject, Status.OK, "an unsigned list is refused")
    told = f"an unsigned list is answered with {answer.status_code}"
    return Finding(subject, Status.FAILED, told, "take back what opens it: its policy or its ACL")
