"""Checks that forms and sessions give access to their own folder only."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx

from storage.objects import credential_policies
from storage.objects.checks.probing import (
    CONTENT,
    PROBE,
    PROBE_EPOCH,
    UNKNOWN_TO_PROVIDER,
    Finding,
    Status,
    attempt,
    client,
    code_of,
    must_be_refused,
    words_in,
    words_of,
)
from storage.objects.credential_policies import Scope
from storage.objects.store import (
    MIN_SESSION_SECONDS,
    ObjectStore,
    ObjectStoreConfig,
    ObjectStoreUnavailableError,
)
from zipcast.clock import Clock
from zipcast.protocol.hotkeys import Hotkey

SESSION = timedelta(hours=4)
_OTHER_EPOCH = "1970-01-01T04-00-00"
_ROLE_FIX = "give the role the rights of deploy/s3/role-policy.json"
_SESSION_FIXES = {
    "AccessDenied": "allow the signing user to assume the role: deploy/s3/role-trust.json and "
    "user-policy.json",
    "ValidationError": "set the role's MaxSessionDuration to 14400; if a role assumes it, the most is 1 h",
    "NoSuchEntity": "create the role, or correct S3_ROLE_ARN",
}


async def check_form(
    config: ObjectStoreConfig, store: ObjectStore, http: httpx.AsyncClient, scope: Scope, clock: Clock
) -> AsyncIterator[Finding]:
    """Check that a form uploads to its own place, and nowhere else."""
    form = store.post_form(scope, {}, clock.now(), 60)

    async def post(key: str, content: bytes = CONTENT) -> tuple[str | None, str]:
        answer = await http.post(form.url, data={**form.fields, "key": key}, files={"file": content})
        return (None, "") if answer.is_success else words_in(answer)

    code, words = await post(scope.prefix + PROBE)
    subject = f"{scope.bucket}: a form"
    if code is not None:
        fix = "allow the signing user to put objects and their ACL: deploy/s3/user-policy.json"
        if code in UNKNOWN_TO_PROVIDER:
            fix = "this store does not accept form uploads (POST), which miners need: use another store"
        yield Finding(subject, Status.FAILED, f"the store says {words}", fix)
        return
    fix = "allow the signing user to list and read: List and SignReads of deploy/s3/user-policy.json"
    yield await _read_back(f"{scope.bucket}: reading the uploaded file", client(config), scope, fix)
    yield Finding(subject, Status.OK, await _taken_away(config, scope))
    elsewhere, _ = await post(scope.prefix.replace(PROBE_EPOCH, _OTHER_EPOCH) + PROBE)
    yield must_be_refused(f"{scope.bucket}: a form with another key", elsewhere)
    too_small, _ = await post(scope.prefix + "x", b"{}")
    yield must_be_refused(f"{scope.bucket}: a form with too small a file", too_small)


async def check_sessions(
    config: ObjectStoreConfig,
    store: ObjectStore,
    miners: Scope,
    scope: Scope,
    probe: Hotkey,
    clock: Clock,
) -> AsyncIterator[Finding]:
    """Check that a validator's session lasts long enough and can write and read only below `scope`, and that
    a session for reading can read the epoch's uploads and write nothing."""
    if config.role_arn is None:
        message = "S3_ROLE_ARN is not set, so validators get only forms"
        yield Finding(
            "sessions", Status.WARNING, message, "ignore this if the provider has no STS, such as Spaces"
        )
        return
    policy, name = credential_policies.upload_session_policy(scope), credential_policies.session_name(probe)
    try:
        session = await store.session(policy, name, int(SESSION.total_seconds()))
    except ObjectStoreUnavailableError as error:
        why = code_of(error.__cause__)
        fix = _SESSION_FIXES.get(why, "correct S3_ROLE_ARN, the role and its trust policy: docs/s3-setup.md")
        yield Finding("sessions", Status.FAILED, f"STS says {words_of(error.__cause__)}", fix)
        return
    if session is None:
        return
    left = session.expires_at - clock.now()
    lasts = left > SESSION - timedelta(minutes=5)
    fix = "" if lasts else "set the role's MaxSessionDuration to 14400"
    message = f"they last {left.total_seconds() / 3600:.1f} h"
    yield Finding("sessions", Status.OK if lasts else Status.FAILED, message, fix)
    s3 = client(config, session)
    key, other = scope.prefix + PROBE, scope.prefix.replace(PROBE_EPOCH, _OTHER_EPOCH) + PROBE
    inside, _ = await attempt(lambda: s3.put_object(Bucket=scope.bucket, Key=key, Body=CONTENT))
    if inside is not None:
        yield Finding("sessions: put inside", Status.FAILED, f"the store says {inside}", _ROLE_FIX)
    outside: list[tuple[str, Callable[[], Any]]] = [
        ("put into another epoch", lambda: s3.put_object(Bucket=scope.bucket, Key=other, Body=CONTENT)),
        ("put into the miners' bucket", lambda: s3.put_object(Bucket=miners.bucket, Key=key, Body=CONTENT)),
        ("list the whole bucket", lambda: s3.list_objects_v2(Bucket=scope.bucket)),
        ("delete", lambda: s3.delete_object(Bucket=scope.bucket, Key=key)),
    ]
    for what, call in outside:
        code, _ = await attempt(call)
        yield must_be_refused(f"sessions: {what}", code)
    if inside is None:
        yield await _read_back("sessions: read inside", s3, scope, _ROLE_FIX, versions=False)
        yield Finding("sessions: put inside", Status.OK, await _taken_away(config, scope))
    async for finding in _check_reading_session(config, store, miners, probe):
        yield finding


async def _check_reading_session(
    config: ObjectStoreConfig, store: ObjectStore, miners: Scope, probe: Hotkey
) -> AsyncIterator[Finding]:
    subject, key = "sessions for reading", miners.prefix + PROBE
    policy = credential_policies.reading_session_policy(miners.bucket, PROBE_EPOCH)
    put, _ = await attempt(lambda: client(config).put_object(Bucket=miners.bucket, Key=key, Body=CONTENT))
    if put is not None:
        yield Finding(subject, Status.FAILED, f"could not be tested ({put})", "repair the form above first")
        return
    try:
        session = await store.session(policy, credential_policies.session_name(probe), MIN_SESSION_SECONDS)
    except ObjectStoreUnavailableError as error:
        yield Finding(subject, Status.FAILED, f"STS says {words_of(error.__cause__)}", _ROLE_FIX)
        return
    s3 = client(config, session)
    yield await _read_back(subject, s3, miners, _ROLE_FIX)
    code, _ = await attempt(lambda: s3.put_object(Bucket=miners.bucket, Key=key, Body=CONTENT))
    yield must_be_refused(f"{subject}: put", code)
    code, _ = await attempt(lambda: s3.list_objects_v2(Bucket=miners.bucket))
    yield must_be_refused(f"{subject}: list the whole bucket", code)
    await _taken_away(config, miners)


async def _read_back(subject: str, s3: Any, scope: Scope, fix: str, *, versions: bool = True) -> Finding:
    """Try to list, inspect and read an existing file, as the responder and validators do. With `versions`,
    also list versions and read by version."""
    bucket, key = scope.bucket, scope.prefix + PROBE
    exactly: dict[str, str] = {}
    codes: dict[str, str | None] = {}
    if versions:
        codes["list versions"], listed = await attempt(
            lambda: s3.list_object_versions(Bucket=bucket, Prefix=scope.prefix)
        )
        newest = next((one for one in listed.get("Versions", []) if one["Key"] == key), None)
        exactly = {} if newest is None else {"VersionId": newest["VersionId"]}
    codes["list"], _ = await attempt(lambda: s3.list_objects_v2(Bucket=bucket, Prefix=scope.prefix))
    codes["inspect"], _ = await attempt(lambda: s3.head_object(Bucket=bucket, Key=key))
    codes["read"], _ = await attempt(lambda: s3.get_object(Bucket=bucket, Key=key, **exactly))
    denied = [f"{what} ({code})" for what, code in codes.items() if code is not None]
    if denied:
        return Finding(subject, Status.FAILED, f"refused: {', '.join(denied)}", fix)
    return Finding(subject, Status.OK, ", ".join(codes))


async def _taken_away(config: ObjectStoreConfig, scope: Scope) -> str:
    """Try to delete the test file with the signing user's keys, which may not delete in production."""
    s3, key = client(config), scope.prefix + PROBE
    listing, found = await attempt(lambda: s3.list_object_versions(Bucket=scope.bucket, Prefix=key))
    codes = [listing]
    for version in found.get("Versions", []):
        code, _ = await attempt(_deletion(s3, scope.bucket, key, version["VersionId"]))
        codes.append(code)
    return "uploading works" if set(codes) == {None} else f"uploading works; {key} could not be deleted"


def _deletion(s3: Any, bucket: str, key: str, version_id: str) -> Callable[[], Any]:
    return lambda: s3.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
