"""Tests the bucket policy that revokes access: only the named hotkeys lose it, and the operator's own rules
stay."""

import json

import pytest
from bittensor_core import ss58_encode
from hypothesis import given
from hypothesis import strategies as st

from storage.objects.revocation import RevocationError, older_sessions_policy, revoked_hotkeys, with_revoked
from tests.support.fakes import MINER_HOTKEY, VALIDATOR_HOTKEY
from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError

OWN = {"Sid": "Own", "Effect": "Allow", "Principal": {"AWS": "1"}, "Action": "s3:GetObject", "Resource": "*"}
hotkeys = st.binary(min_size=32, max_size=32).filter(any).map(lambda key: Hotkey(ss58_encode(key, 42)))


def denied(document: str | None, *named: str) -> str:
    changed = with_revoked(document, "miners", "data/hotkey=", [Hotkey(name) for name in named])
    assert changed is not None
    return changed


@given(st.frozensets(hotkeys, max_size=20), st.frozensets(hotkeys, max_size=20), st.booleans())
def test_who_is_named_is_denied_and_nobody_else_whatever_was_there(
    before: frozenset[Hotkey], after: frozenset[Hotkey], own: bool
) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": [OWN]}) if own else None
    first = with_revoked(document, "miners", "data/hotkey=", before)
    second = with_revoked(first, "miners", "data/hotkey=", after)
    assert revoked_hotkeys(first) == before
    assert revoked_hotkeys(second) == after
    if own:
        assert second is not None
        assert json.loads(second)["Statement"][0] == OWN
    elif not after:
        assert second is None


def test_a_revoked_hotkey_may_not_write_its_folder_and_its_sessions_open_nothing() -> None:
    writes, sessions = json.loads(denied(None, MINER_HOTKEY))["Statement"]
    assert writes["Effect"] == sessions["Effect"] == "Deny"
    assert writes["Principal"] == sessions["Principal"] == "*"
    assert writes["Resource"] == [f"arn:aws:s3:::miners/data/hotkey={MINER_HOTKEY}/*"]
    assert "s3:PutObject" in writes["Action"]
    assert "s3:GetObject" not in writes["Action"]  # validators can still read
    assert sessions["Action"] == "s3:*"
    assert sessions["Condition"] == {"StringLike": {"aws:userid": [f"*:zipcast-{MINER_HOTKEY}"]}}


def test_a_list_of_one_may_come_back_as_that_one() -> None:
    """AWS normalises policies in this way."""
    policy = json.loads(denied(None, MINER_HOTKEY))
    policy["Statement"][1]["Condition"]["StringLike"]["aws:userid"] = f"*:zipcast-{MINER_HOTKEY}"
    assert revoked_hotkeys(json.dumps(policy)) == {MINER_HOTKEY}


def test_a_denial_that_somebody_else_changed_is_said_to_be_so() -> None:
    policy = json.loads(denied(None, MINER_HOTKEY))
    for condition in ({}, {"StringLike": {"aws:userid": ["*:somebody"]}}):
        policy["Statement"][1]["Condition"] = condition
        with pytest.raises(RevocationError, match="statement of revoked hotkeys"):
            revoked_hotkeys(json.dumps(policy))


def test_a_single_statement_of_the_operators_is_kept() -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": OWN})
    assert json.loads(denied(document, MINER_HOTKEY))["Statement"][0] == OWN


@pytest.mark.parametrize("name", ["*", f"{MINER_HOTKEY}*", "", "${aws:username}"])
def test_only_hotkeys_enter_a_policy(name: str) -> None:
    with pytest.raises(MalformedHotkeyError):
        denied(None, VALIDATOR_HOTKEY, name)


def test_a_policy_beyond_awss_limit_is_refused_rather_than_cut() -> None:
    many = [ss58_encode(number.to_bytes(32, "big"), 42) for number in range(1, 200)]
    with pytest.raises(RevocationError, match="20 KB"):
        denied(None, *many)


def test_older_sessions_are_denied_by_their_time_of_issue() -> None:
    (statement,) = json.loads(older_sessions_policy("2026-11-22T04:00:00Z"))["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"DateLessThan": {"aws:TokenIssueTime": "2026-11-22T04:00:00Z"}}
