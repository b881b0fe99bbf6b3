"""Writes the documents that limit S3 credentials: prefixes, session policies, form conditions. Pure
functions.

`object_store` signs and sends them. Ids enter a policy only parsed, and are checked once more here: an
unescaped `*`, `?` or `${` would widen it. Limits: AWS, session policy at most 2,048 characters; S3, one PUT
or POST at most 5 GB.
"""

import json
import re
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


class PolicyError(ValueError):
    """A policy was asked for something that must not enter one."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One prefix of one bucket: the whole of what a credential opens."""

    bucket: str
    prefix: str

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise PolicyError("bucket must be a plain bucket name")
        if not _PREFIX.fullmatch(self.prefix) or "//" in self.prefix:
            raise PolicyError("prefix must be a literal path below data/ or validators/")


@dataclass(frozen=True, slots=True)
class Listing:
    """A presigned list of the keys below `prefix`, or with a delimiter only of its folders."""

    bucket: str
    prefix: str
    delimiter: str | None = None

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise PolicyError("bucket must be a plain bucket name")
        if not _LISTED.fullmatch(self.prefix):
            raise PolicyError("a list shows data/ or what is below it")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as it was found in a bucket, for the service to read itself: never part of a credential."""

    bucket: str
    prefix: str


def epoch_folders(bucket: str, hotkey: Hotkey) -> tuple[Folder, Folder]:
    """Return where one miner's `epoch=` folders begin: below its folder, and below that folder's own path in
    it, which the subnet's published client repeats. Raises ValueError for a malformed hotkey."""
    own = f"data/hotkey={parse_hotkey(hotkey)}/"
    return Folder(bucket, f"{own}epoch="), Folder(bucket, f"{own}{own}epoch=")


def all_uploads(bucket: str) -> Listing:
    """Everything that miners uploaded."""
    return Listing(bucket, "data/")


def all_miners(bucket: str) -> Listing:
    """The miners' folders."""
    return Listing(bucket, "data/", "/")


def miner_scope(bucket: str, hotkey: Hotkey, epoch_id: str) -> Scope:
    """Return the folder of one miner's uploads of one epoch. Raises ValueError for a malformed hotkey or
    id."""
    parse_epoch_id(epoch_id)
    return Scope(bucket, f"data/hotkey={parse_hotkey(hotkey)}/epoch={epoch_id}/")


def miner_epoch_scopes(bucket: str, hotkey: Hotkey, epoch_id: str) -> tuple[Scope, Scope]:
    """Return the two folders whose path names the epoch: `miner_scope`, and that path below the miner's
    folder, where the subnet's published client uploads. Raises ValueError for a malformed hotkey or id."""
    plain = miner_scope(bucket, hotkey, epoch_id)
    return plain, Scope(bucket, miner_folder_scope(bucket, hotkey).prefix + plain.prefix)


def miner_folder_scope(bucket: str, hotkey: Hotkey) -> Scope:
    """All that one miner uploads, of any epoch or none. Raises ValueError for a malformed hotkey."""
    return Scope(bucket, f"data/hotkey={parse_hotkey(hotkey)}/")


def validator_scope(bucket: str, hotkey: Hotkey, epoch_id: str) -> Scope:
    """Return the folder of one validator's results of one epoch. Raises ValueError for a malformed hotkey or
    id."""
    parse_epoch_id(epoch_id)
    return Scope(bucket, f"validators/{parse_hotkey(hotkey)}/epoch={epoch_id}/")


def upload_session_policy(scope: Scope) -> str:
    """The inline session policy of a validator's credentials: write, read and list that prefix.

    Raises PolicyError above AWS's limit of 2,048 characters."""
    objects = ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    return _session_policy(scope.bucket, f"{scope.prefix}*", objects, ["s3:ListBucket"])


def _session_policy(bucket: str, pattern: str, objects: list[str], lists: list[str]) -> str:
    """`objects` on the keys that match, `lists` of prefixes that match."""
    arn = f"arn:aws:s3:::{bucket}"
    condition = {"StringLike": {"s3:prefix": pattern}}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": objects, "Resource": f"{arn}/{pattern}"},
            {"Effect": "Allow", "Action": lists, "Resource": arn, "Condition": condition},
        ],
    }
    document = json.dumps(policy, separators=(",", ":"))
    if len(document) > SESSION_POLICY_LIMIT:
        raise PolicyError("the session policy exceeds 2,048 characters")
    return document


def reading_session_policy(bucket: str, epoch_id: str) -> str:
    """Return the inline session policy of a validator that reads an ended epoch: every miner's uploads of it,
    in all versions.

    The first `*` stands for a hotkey. It may match more, but no form writes a key in which `/epoch={id}/`
    comes later, except the legacy form, into the miner's own folder.

    Raises ValueError for a malformed id, PolicyError above AWS's limit."""
    if not _BUCKET.fullmatch(bucket):
        raise PolicyError("bucket must be a plain bucket name")
    objects = ["s3:GetObject", "s3:GetObjectVersion"]
    return _session_policy(
        bucket, uploads_pattern(epoch_id), objects, ["s3:ListBucket", "s3:ListBucketVersions"]
    )


def uploads_pattern(epoch_id: str) -> str:
    """Return the pattern of the keys that a reading session opens. Raises ValueError for a malformed id."""
    parse_epoch_id(epoch_id)
    return f"data/hotkey=*/epoch={epoch_id}/*"


def session_name(hotkey: Hotkey) -> str:
    """The STS session name: what AWS's own logs show. Characters and length are within its rule."""
    return f"zipcast-{hotkey}"


CHECKSUM_FIELD = "x-amz-checksum-sha256"


def upload_form(
    scope: Scope,
    metadata: dict[str, str],
    *,
    with_checksum: bool = False,
    least_bytes: int = MIN_UPLOAD_BYTES,
) -> tuple[dict[str, str], list[Condition]]:
    """The fields a form carries besides its key and signature, and the conditions it is bound to.

    `metadata` names are bare; they travel as x-amz-meta-*. `with_checksum`: the client adds the file's
    SHA-256, which the store then verifies and keeps; without that field such a form may be refused."""
    fields = {"acl": "private", "x-amz-storage-class": "STANDARD"}
    fields |= {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    conditions: list[Condition] = [["starts-with", "$key", scope.prefix]]
    conditions += [{name: value} for name, value in fields.items()]
    if with_checksum:
        conditions.append(["starts-with", f"${CHECKSUM_FIELD}", ""])
    conditions.append(["content-length-range", least_bytes, MAX_UPLOAD_BYTES])
    return fields, conditions
