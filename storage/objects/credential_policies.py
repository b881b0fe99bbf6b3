"""Makes the documents that restrict S3 credentials: prefixes, session policies, and conditions of forms.
Pure.

`storage.objects.store` signs and sends them. Only parsed ids become part of a policy, and they are checked
again here, because an unescaped `*`, `?` or `${` would give more access. A session policy may have at most
2,048 characters (AWS), and one PUT or POST at most 5 GB (S3).
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from zipcast.protocol.calendar import parse_epoch_id
from zipcast.protocol.hotkeys import Hotkey, parse_hotkey

MIN_UPLOAD_BYTES = 1024
MAX_UPLOAD_BYTES = 5 * 1024**3
SESSION_POLICY_LIMIT = 2048

_BUCKET = re.compile(r"^(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_LISTED = re.compile(r"^data/(?:hotkey=[A-Za-z0-9]+/)?$")
_PREFIX = re.compile(r"^(?:data|validators)/[A-Za-z0-9=/-]+/$")

Condition = list[str | int] | dict[str, str]


PolicyCondition = dict[str, dict[str, str]]
# Uploads that validators could not read: encrypted with a key of the client, or archived. AWS enforces these
# conditions; other stores may not know them.
_UNREADABLE: tuple[PolicyCondition, ...] = (
    {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}},
    {"Null": {"s3:x-amz-server-side-encryption-aws-kms-key-id": "false"}},
    {"StringNotEqualsIfExists": {"s3:x-amz-storage-class": "STANDARD"}},
)


class PolicyError(ValueError):
    """A policy was requested for values that must not be part of one."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One prefix of one bucket, to which a credential gives access."""

    bucket: str
    prefix: str

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise PolicyError("bucket must be a plain bucket name")
        if not _PREFIX.fullmatch(self.prefix) or "//" in self.prefix:
            raise PolicyError("prefix must be a literal path below data/ or validators/")


@dataclass(frozen=True, slots=True)
class Listing:
    """A presigned list of the keys below `prefix`, or, with a delimiter, only of its folders."""

    bucket: str
    prefix: str
    delimiter: str | None = None

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise PolicyError("bucket must be a plain bucket name")
        if not _LISTED.fullmatch(self.prefix):
            raise PolicyError("a list must be of data/ or a prefix below it")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that was found in a bucket. Only the service reads it; it never becomes part of a
    credential."""

    bucket: str
    prefix: str


def epoch_folders(bucket: str, hotkey: Hotkey) -> tuple[Folder, Folder]:
    """Return the two places of a miner's `epoch=` folders: below its folder, and below a repetition of that
    folder's path, where the subnet's published client uploads. Raises ValueError for a malformed hotkey."""
    own = f"data/hotkey={parse_hotkey(hotkey)}/"
    return Folder(bucket, f"{own}epoch="), Folder(bucket, f"{own}{own}epoch=")


def all_uploads(bucket: str) -> Listing:
    """Return the list of all miners' uploads."""
    return Listing(bucket, "data/")


def all_miners(bucket: str) -> Listing:
    """Return the list of the miners' folders."""
    return Listing(bucket, "data/", "/")


def miner_scope(bucket: str, hotkey: Hotkey, epoch_id: str) -> Scope:
    """Return the folder of one miner's uploads for one epoch. Raises ValueError for a malformed hotkey or
    id."""
    parse_epoch_id(epoch_id)
    return Scope(bucket, f"data/hotkey={parse_hotkey(hotkey)}/epoch={epoch_id}/")


def miner_epoch_scopes(bucket: str, hotkey: Hotkey, epoch_id: str) -> tuple[Scope, Scope]:
    """Return the two folders whose path names the epoch: `miner_scope`, and this path repeated below the
    miner's folder, where the subnet's published client uploads. Raises ValueError for a malformed hotkey or
    id."""
    plain = miner_scope(bucket, hotkey, epoch_id)
    return plain, Scope(bucket, miner_folder_scope(bucket, hotkey).prefix + plain.prefix)


def miner_folder_scope(bucket: str, hotkey: Hotkey) -> Scope:
    """Return the folder of all uploads of one miner, for any epoch or none. Raises ValueError for a malformed
    hotkey."""
    return Scope(bucket, f"data/hotkey={parse_hotkey(hotkey)}/")


def validator_scope(bucket: str, hotkey: Hotkey, epoch_id: str) -> Scope:
    """Return the folder of one validator's results for one epoch. Raises ValueError for a malformed hotkey or
    id."""
    parse_epoch_id(epoch_id)
    return Scope(bucket, f"validators/{parse_hotkey(hotkey)}/epoch={epoch_id}/")


def upload_session_policy(scope: Scope) -> str:
    """Return the inline session policy of credentials for uploads, which can write, read and list this
    prefix.

    Raises PolicyError if it exceeds AWS's limit of 2,048 characters."""
    objects = ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    return _session_policy(scope.bucket, f"{scope.prefix}*", objects, ["s3:ListBucket"], _UNREADABLE)


def _session_policy(
    bucket: str,
    pattern: str,
    objects: list[str],
    lists: list[str],
    denied: Sequence[PolicyCondition] = (),
) -> str:
    """Return a policy that allows the actions `objects` on keys that match `pattern`, and the actions `lists`
    for prefixes that match it. Uploads under one of the conditions `denied` are refused."""
    arn = f"arn:aws:s3:::{bucket}"
    condition = {"StringLike": {"s3:prefix": pattern}}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": objects, "Resource": f"{arn}/{pattern}"},
            {"Effect": "Allow", "Action": lists, "Resource": arn, "Condition": condition},
            *(
                {"Effect": "Deny", "Action": "s3:PutObject", "Resource": f"{arn}/*", "Condition": refused}
                for refused in denied
            ),
        ],
    }
    document = json.dumps(policy, separators=(",", ":"))
    if len(document) > SESSION_POLICY_LIMIT:
        raise PolicyError("the session policy exceeds 2,048 characters")
    return document


def reading_session_policy(bucket: str, epoch_id: str) -> str:
    """Return the inline session policy of a validator that reads an ended epoch: every miner's uploads for
    it, in all versions.

    The first `*` stands for a hotkey. It also matches keys with `/epoch={id}/` deeper in a miner's folder,
    which only that miner can write.

    Raises ValueError for a malformed id, and PolicyError if the policy exceeds AWS's limit."""
    if not _BUCKET.fullmatch(bucket):
        raise PolicyError("bucket must be a plain bucket name")
    objects = ["s3:GetObject", "s3:GetObjectVersion"]
    return _session_policy(
        bucket, uploads_pattern(epoch_id), objects, ["s3:ListBucket", "s3:ListBucketVersions"]
    )


def uploads_pattern(epoch_id: str) -> str:
    """Return the pattern of the keys that a reading session can read. Raises ValueError for a malformed
    id."""
    parse_epoch_id(epoch_id)
    return f"data/hotkey=*/epoch={epoch_id}/*"


def session_name(hotkey: Hotkey) -> str:
    """Return the STS session name, which AWS's logs show. Its characters and length follow AWS's rules."""
    return f"zipcast-{hotkey}"


CHECKSUM_FIELD = "x-amz-checksum-sha256"


def upload_form(
    scope: Scope,
    metadata: dict[str, str],
    *,
    with_checksum: bool = False,
    least_bytes: int = MIN_UPLOAD_BYTES,
) -> tuple[dict[str, str], list[Condition]]:
    """Return a form's fields besides key and signature, and its conditions.

    Names in `metadata` have no prefix; they are sent as x-amz-meta-*. With `with_checksum`, the client must
    add the file's SHA-256, which the store verifies and keeps."""
    fields = {"acl": "private", "x-amz-storage-class": "STANDARD"}
    fields |= {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    conditions: list[Condition] = [["starts-with", "$key", scope.prefix]]
    conditions += [{name: value} for name, value in fields.items()]
    if with_checksum:
        conditions.append(["starts-with", f"${CHECKSUM_FIELD}", ""])
    conditions.append(["content-length-range", least_bytes, MAX_UPLOAD_BYTES])
    return fields, conditions


def upload_headers(metadata: dict[str, str], size_bytes: int, sha256: str | None) -> dict[str, str]:
    """Return the headers of a presigned upload of one file, for stores that take no forms. The signature
    covers them, so only a file of this size, and with this SHA-256 (hex), is accepted."""
    headers = {"content-length": str(size_bytes)}
    headers |= {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    if sha256 is not None:
        headers[CHECKSUM_FIELD] = base64.b64encode(bytes.fromhex(sha256)).decode()
    return headers
