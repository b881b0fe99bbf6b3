"""Tests that an S3 credential gives access to exactly one literal prefix."""

import json

import pytest
from bittensor_core import ss58_encode
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.objects import credential_policies
from storage.objects.credential_policies import (
    SESSION_POLICY_LIMIT,
    Folder,
    Listing,
    PolicyError,
    Scope,
)
from tests.support.fakes import EPOCH_ID, MINER_HOTKEY, VALIDATOR_HOTKEY, ZERO_KEY
from zipcast.protocol.hotkeys import Hotkey

PREFIX = f"validators/{VALIDATOR_HOTKEY}/epoch={EPOCH_ID}/"
HOSTILE = [
    "*",
    "?",
    f"{MINER_HOTKEY[:-1]}*",
    f"{MINER_HOTKEY[:-1]}?",
    "${aws:username}",
    "${*}",
    "..",
    "../" + MINER_HOTKEY,
    f"{MINER_HOTKEY}/../{VALIDATOR_HOTKEY}",
    f"{MINER_HOTKEY}/",
    f"/{MINER_HOTKEY}",
    f"{MINER_HOTKEY}//",
    f" {MINER_HOTKEY}",
    f"{MINER_HOTKEY} ",
    f"{MINER_HOTKEY}\n",
    f"{MINER_HOTKEY}\0",
    f"{MINER_HOTKEY}%2F",
    f'{MINER_HOTKEY}"',
    MINER_HOTKEY.lower(),
    MINER_HOTKEY.upper(),
    MINER_HOTKEY.swapcase(),
    ZERO_KEY,
    "",
]
HOSTILE_IDS = [
    "",
    "*",
    f"{EPOCH_ID[:-1]}*",
    f"{EPOCH_ID[:-1]}?",
    f"{EPOCH_ID}/",
    f"{EPOCH_ID}/../x",
    f"{EPOCH_ID} ",
    f"{EPOCH_ID}\n",
    "${aws:username}",
    "2026-11-22t04-00-00",
    "2026-11-22T04:00:00",
    "２０２６-11-22T04-00-00",
    "2026-13-22T04-00-00",
]


def statements(scope: Scope) -> list[dict[str, object]]:
    read: list[dict[str, object]] = json.loads(credential_policies.upload_session_policy(scope))["Statement"]
    return read


def test_scopes_are_the_folders_of_the_contract() -> None:
    assert credential_policies.miner_scope("miners", MINER_HOTKEY, EPOCH_ID) == Scope(
        "miners", f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/"
    )
    assert credential_policies.validator_scope("validators", VALIDATOR_HOTKEY, EPOCH_ID) == Scope(
        "validators", PREFIX
    )


@pytest.mark.parametrize("scope", [credential_policies.miner_scope, credential_policies.validator_scope])
@pytest.mark.parametrize("hotkey", HOSTILE)
def test_a_hostile_hotkey_never_reaches_a_document(scope, hotkey: str) -> None:
    with pytest.raises(ValueError, match=r"address|checksum|prefix 42"):
        scope("bucket", Hotkey(hotkey), EPOCH_ID)


@pytest.mark.parametrize("scope", [credential_policies.miner_scope, credential_policies.validator_scope])
@pytest.mark.parametrize("epoch_id", HOSTILE_IDS)
def test_a_hostile_epoch_id_never_reaches_a_document(scope, epoch_id: str) -> None:
    with pytest.raises(ValueError, match="an epoch id"):
        scope("bucket", MINER_HOTKEY, epoch_id)


@pytest.mark.parametrize(
    "bad",
    [
        *sorted({*HOSTILE} - {MINER_HOTKEY.lower()}),
        "a" * 64,
        "ab",
        "a..b",
        "-bucket",
        "bucket-",
        "Bucket",
        "b/x",
    ],
)
def test_a_bucket_is_a_plain_name(bad: str) -> None:
    with pytest.raises(PolicyError, match="bucket must be"):
        Scope(bad, PREFIX)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "/",
        "data/",
        "validators/",
        "data//",
        "data//x/",
        "data/x//",
        "data/x",
        "/data/x/",
        "other/x/",
        "data/x/../y/",
        "data/./",
        "data/*/",
        "data/x?/",
        "data/${aws:username}/",
        "data/x y/",
        "data/x/\n",
        "Data/x/",
        "data/é/",
        "data/x%2Fy/",
        "data\\x/",
    ],
)
def test_a_prefix_is_a_literal_path_below_data_or_validators(prefix: str) -> None:
    with pytest.raises(PolicyError, match="prefix must be"):
        Scope("bucket", prefix)


@settings(max_examples=200)
@given(st.text("data/vliors=-.*?${}: AZ09\n%é", max_size=24))
def test_no_text_widens_a_scope(rest: str) -> None:
    try:
        scope = Scope("bucket", f"data/{rest}/")
    except PolicyError:
        return
    # The only wildcard is the one that we append, and the pattern begins with the named folder.
    for statement in statements(scope):
        assert str(statement["Resource"]).removesuffix("*").count("*") == 0
    assert not set(scope.prefix) & set("*?${}. \n%")
    assert "//" not in scope.prefix


def test_a_session_policy_opens_exactly_one_prefix_of_one_bucket() -> None:
    objects, listing, *denied = statements(Scope("validators", PREFIX))
    assert objects["Effect"] == listing["Effect"] == "Allow"
    assert {statement["Effect"] for statement in denied} == {"Deny"}
    assert objects["Resource"] == f"arn:aws:s3:::validators/{PREFIX}*"
    assert set(objects["Action"]) == {
        *("s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
    }
    assert listing["Action"] == ["s3:ListBucket"]
    assert listing["Resource"] == "arn:aws:s3:::validators"
    assert listing["Condition"] == {"StringLike": {"s3:prefix": f"{PREFIX}*"}}


def test_a_reading_session_policy_opens_one_ended_epoch_of_every_miner_and_writes_nothing() -> None:
    document = json.loads(credential_policies.reading_session_policy("miners", EPOCH_ID))
    objects, listing = document["Statement"]
    pattern = f"data/hotkey=*/epoch={EPOCH_ID}/*"
    assert objects["Resource"] == f"arn:aws:s3:::miners/{pattern}"
    assert objects["Action"] == ["s3:GetObject", "s3:GetObjectVersion"]
    assert listing["Action"] == ["s3:ListBucket", "s3:ListBucketVersions"]
    assert listing["Resource"] == "arn:aws:s3:::miners"
    assert listing["Condition"] == {"StringLike": {"s3:prefix": pattern}}


@pytest.mark.parametrize("epoch_id", ["", "*", "2026-11-22T04-00-0?", f"{EPOCH_ID}/*", "${aws:username}"])
def test_only_an_epoch_id_enters_a_reading_session_policy(epoch_id: str) -> None:
    with pytest.raises(ValueError, match="epoch id"):
        credential_policies.reading_session_policy("miners", epoch_id)
    with pytest.raises(PolicyError, match="bucket"):
        credential_policies.reading_session_policy("miners/*", EPOCH_ID)


@settings(max_examples=50)
@given(st.binary(min_size=32, max_size=32).filter(any), st.text("ab.-", min_size=61, max_size=61))
def test_the_longest_ids_stay_within_awss_limits(key: bytes, name: str) -> None:
    hotkey = Hotkey(ss58_encode(key, 42))
    bucket = f"a{name.replace('..', 'ab').replace('..', 'ab')}z"
    scope = credential_policies.validator_scope(bucket, hotkey, EPOCH_ID)
    assert len(scope.bucket) == 63
    assert len(credential_policies.upload_session_policy(scope)) <= 2048
    assert 2 <= len(credential_policies.session_name(hotkey)) <= 64
    assert set(credential_policies.session_name(hotkey)) <= set(hotkey) | set("zipcast-")


def test_a_policy_beyond_awss_limit_is_refused_rather_than_cut() -> None:
    with pytest.raises(PolicyError, match="2,048"):
        credential_policies.upload_session_policy(Scope("bucket", f"data/{'x' * 1000}/"))


def test_a_form_is_bound_to_prefix_size_and_every_field_it_carries() -> None:
    fields, conditions = credential_policies.upload_form(Scope("validators", PREFIX), {"epoch-id": EPOCH_ID})
    assert fields == {
        "acl": "private",
        "x-amz-storage-class": "STANDARD",
        "x-amz-meta-epoch-id": EPOCH_ID,
    }
    assert [c for c in conditions if isinstance(c, list)] == [
        ["starts-with", "$key", PREFIX],
        ["content-length-range", 1024, 5 * 1024**3],
    ]
    assert [c for c in conditions if isinstance(c, dict)] == [{name: v} for name, v in fields.items()]


def test_the_whole_policy_of_an_upload_session() -> None:
    policy = credential_policies.upload_session_policy(Scope("bucket", PREFIX))
    refused = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::bucket/*"}
    encryption = "s3:x-amz-server-side-encryption"
    assert json.loads(policy) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [
                    *("s3:PutObject", "s3:GetObject"),
                    *("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
                ],
                "Resource": f"arn:aws:s3:::bucket/{PREFIX}*",
            },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": "arn:aws:s3:::bucket",
                "Condition": {"StringLike": {"s3:prefix": f"{PREFIX}*"}},
            },
            {**refused, "Condition": {"Null": {f"{encryption}-customer-algorithm": "false"}}},
            {**refused, "Condition": {"Null": {f"{encryption}-aws-kms-key-id": "false"}}},
            {**refused, "Condition": {"StringNotEqualsIfExists": {"s3:x-amz-storage-class": "STANDARD"}}},
        ],
    }
    assert " " not in policy  # AWS counts spaces against its limit


def test_a_session_policy_may_have_the_largest_size_and_not_a_character_more() -> None:
    def scope(length: int) -> Scope:
        return Scope("bucket", f"data/{'x' * length}/")

    spare = SESSION_POLICY_LIMIT - len(credential_policies.upload_session_policy(scope(1)))
    longest = 1 + spare // 2  # the prefix occurs twice
    assert len(credential_policies.upload_session_policy(scope(longest))) in {
        SESSION_POLICY_LIMIT,
        SESSION_POLICY_LIMIT - 1,
    }
    with pytest.raises(PolicyError):
        credential_policies.upload_session_policy(scope(longest + 1))


def test_a_form_with_a_checksum_lets_the_client_add_it() -> None:
    _, without = credential_policies.upload_form(Scope("bucket", PREFIX), {})
    _, conditions = credential_policies.upload_form(Scope("bucket", PREFIX), {}, with_checksum=True)
    assert [one for one in conditions if one not in without] == [
        ["starts-with", "$x-amz-checksum-sha256", ""]
    ]


def test_a_miner_has_two_folders_for_an_epoch_and_one_for_everything() -> None:
    own = f"data/hotkey={MINER_HOTKEY}/"
    assert [
        scope.prefix for scope in credential_policies.miner_epoch_scopes("b-1", MINER_HOTKEY, EPOCH_ID)
    ] == [
        f"{own}epoch={EPOCH_ID}/",
        f"{own}{own}epoch={EPOCH_ID}/",
    ]
    assert credential_policies.miner_folder_scope("b-1", MINER_HOTKEY) == Scope("b-1", own)
    assert credential_policies.epoch_folders("b-1", MINER_HOTKEY) == (
        Folder("b-1", f"{own}epoch="),
        Folder("b-1", f"{own}{own}epoch="),
    )
    assert credential_policies.all_uploads("b-1") == Listing("b-1", "data/")
    assert credential_policies.all_miners("b-1") == Listing("b-1", "data/", "/")
