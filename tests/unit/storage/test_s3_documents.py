"""Tests the documents of deploy/s3: the page shows them, AWS accepts them, and they grant what is needed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from schedulers.settings import SchedulerSettings
from storage.objects import credential_policies
from tests.support.fakes import EPOCH_ID, MINER_HOTKEY, VALIDATOR_HOTKEY

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "s3"
PAGE = (ROOT / "docs" / "s3-setup.md").read_text()
MINERS, VALIDATORS = "zipcast-miners", "resi-validated-data"


def document(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


def test_the_page_shows_every_document_as_it_is() -> None:
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.S)]
    kept = [json.loads(path.read_text()) for path in FOLDER.glob("*.json")]
    assert sorted(map(json.dumps, shown)) == sorted(map(json.dumps, kept))
    for path in FOLDER.glob("*.json"):
        assert path.name in PAGE


@pytest.mark.parametrize(
    ("operation", "parameter", "name"),
    [
        ("PutBucketVersioning", "VersioningConfiguration", "versioning"),
        ("PutPublicAccessBlock", "PublicAccessBlockConfiguration", "public-access-block"),
        ("PutBucketOwnershipControls", "OwnershipControls", "ownership"),
        ("PutBucketLifecycleConfiguration", "LifecycleConfiguration", "lifecycle"),
        ("PutBucketCors", "CORSConfiguration", "cors"),
    ],
)
def test_awss_own_model_takes_it(operation: str, parameter: str, name: str) -> None:
    model = boto3.client("s3", region_name="us-east-1").meta.service_model.operation_model(operation)
    report = ParamValidator().validate({"Bucket": "b", parameter: document(name)}, model.input_shape)
    assert not report.has_errors(), report.generate_report()


def test_the_lifecycle_is_a_month_then_cold_and_a_year_in_all() -> None:
    first, _ = document("lifecycle")["Rules"]
    assert [(step["Days"], step["StorageClass"]) for step in first["Transitions"]] == [
        (30, "STANDARD_IA"),
        (90, "GLACIER"),
    ]
    assert first["Expiration"]["Days"] == 365
    # The days are counted from when a version is overwritten, so sealed versions are kept longer than
    # validators may read them.
    limits = SchedulerSettings.model_fields["epoch_retention_days"].metadata
    longest = next(limit.le for limit in limits if hasattr(limit, "le"))
    assert first["NoncurrentVersionExpiration"]["NoncurrentDays"] == longest + 1


def grants(policy: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for statement in policy["Statement"]:
        if statement["Effect"] == "Deny":
            continue
        assert statement["Effect"] == "Allow"
        actions, resources = statement["Action"], statement["Resource"]
        for action in [actions] if isinstance(actions, str) else actions:
            for resource in [resources] if isinstance(resources, str) else resources:
                yield action, resource


def matches(pattern: str, resource: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), resource) is not None


@pytest.mark.parametrize(
    "session",
    [
        credential_policies.upload_session_policy(
            credential_policies.validator_scope(VALIDATORS, VALIDATOR_HOTKEY, EPOCH_ID)
        ),
        credential_policies.upload_session_policy(
            credential_policies.miner_scope(MINERS, MINER_HOTKEY, EPOCH_ID)
        ),
        credential_policies.reading_session_policy(MINERS, EPOCH_ID),
    ],
)
def test_the_role_allows_all_that_a_session_narrows(session: str) -> None:
    """A session may do what both its policy and its role allow, so the role must allow everything that a
    policy names."""
    allowed = list(grants(document("role-policy")))
    for action, resource in grants(json.loads(session)):
        assert any(action == given and matches(where, resource) for given, where in allowed), action


def test_neither_user_nor_role_may_delete_or_reach_beyond_the_two_buckets() -> None:
    for name in ("user-policy", "role-policy"):
        for action, resource in grants(document(name)):
            assert "Delete" not in action
            assert "*" not in action
            if action.startswith("s3:"):
                assert resource.startswith((f"arn:aws:s3:::{MINERS}", f"arn:aws:s3:::{VALIDATORS}"))


def test_only_the_signing_user_may_assume_the_role() -> None:
    (statement,) = document("role-trust")["Statement"]
    assert statement["Principal"]["AWS"].endswith(":user/zipcast-responder")
    assert statement["Action"] == "sts:AssumeRole"
    assert ("sts:AssumeRole", "arn:aws:iam::111122223333:role/zipcast-uploads") in grants(
        document("user-policy")
    )
