"""Revokes issued access with bucket policies that deny one hotkey, whatever credentials it has. Pure.

A presigned form cannot be withdrawn, and a session is valid until it ends. But the store checks the bucket's
policy at every request, and a Deny statement overrides both (AWS: policy evaluation logic). Writes are denied
by the hotkey's prefix. Reads are denied by the name of its sessions: AWS appends this name to the role's id
in `aws:userid`. The operator's own statements in the policy are kept.
"""

import json
from collections.abc import Iterable
from typing import Any

from storage.objects.credential_policies import session_name
from zipcast.protocol.hotkeys import Hotkey, parse_hotkey

_WRITES, _SESSIONS = "ZipcastRevokedWrites", "ZipcastRevokedSessions"
# The largest size of a bucket policy on AWS, in bytes.
BUCKET_POLICY_LIMIT = 20 * 1024


class RevocationError(ValueError):
    """The policy cannot be changed as requested."""


def revoked_hotkeys(document: str | None) -> frozenset[Hotkey]:
    """Return the hotkeys that a bucket's policy denies. Raises RevocationError."""
    sessions = [one for one in _statements(document) if one.get("Sid") == _SESSIONS]
    try:
        names = [name for one in sessions for name in _listed(one["Condition"]["StringLike"]["aws:userid"])]
        return frozenset(parse_hotkey(name.removeprefix(f"*:{session_name(Hotkey(''))}")) for name in names)
    except (KeyError, TypeError, ValueError) as error:
        raise RevocationError(
            "the statement of revoked hotkeys was changed by hand: restore or remove it"
        ) from error


def with_revoked(document: str | None, bucket: str, folders: str, hotkeys: Iterable[Hotkey]) -> str | None:
    """Return the bucket's policy with exactly these hotkeys denied, and with the operator's other statements
    unchanged. Return None if the policy would be empty.

    `folders` is the part of the bucket's keys before the hotkey, such as `validators/`. Raises
    RevocationError."""
    kept = [one for one in _statements(document) if one.get("Sid") not in {_WRITES, _SESSIONS}]
    named = sorted(parse_hotkey(hotkey) for hotkey in hotkeys)
    statements = kept + (_denials(bucket, folders, named) if named else [])
    if not statements:
        return None
    changed = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    if len(changed) > BUCKET_POLICY_LIMIT:
        raise RevocationError(f"the policy of {bucket} would exceed 20 KB: rotate the signing key instead")
    return changed


def older_sessions_policy(issued_before: str) -> str:
    """Return an inline policy for the role that ends every session issued before this instant (RFC 3339).
    AWS's console calls this revoking sessions."""
    denial = {
        "Sid": "ZipcastRevokedOlderSessions",
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": issued_before}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [denial]}, indent=2)


def _denials(bucket: str, folders: str, hotkeys: list[Hotkey]) -> list[dict[str, Any]]:
    arn = f"arn:aws:s3:::{bucket}"
    writes = {
        "Sid": _WRITES,
        "Effect": "Deny",
        "Principal": "*",
        # Do not deny GetObject, so that validators can still read uploads that counted.
        "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
        "Resource": [f"{arn}/{folders}{hotkey}/*" for hotkey in hotkeys],
    }
    sessions = {
        "Sid": _SESSIONS,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"StringLike": {"aws:userid": [f"*:{session_name(hotkey)}" for hotkey in hotkeys]}},
    }
    return [writes, sessions]


def _listed(value: Any) -> list[Any]:
    """Return the value as a list, because AWS returns a list with one entry as that entry."""
    return value if isinstance(value, list) else [value]


def _statements(document: str | None) -> list[dict[str, Any]]:
    if document is None:
        return []
    parsed = json.loads(document)
    return _listed(parsed.get("Statement", []))
