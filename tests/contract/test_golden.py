"""Tests that messages are the same as in the golden files, key for key.

To write the files again after an intended change: `python -m tests.contract.golden`.
"""

import json
from datetime import datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from http_bridge.health import HealthcheckReply
from http_bridge.statistics import StatisticsReply
from tests.contract.documents import documents, epoch_message, requests
from tests.contract.golden import FOLDER, golden, readable
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.messages.access import MinerUploadReply, ValidatorReadReply, ValidatorUploadReply
from zipcast.protocol.messages.epochs import EpochDraft, EpochMessage
from zipcast.protocol.messages.health import HealthReply
from zipcast.protocol.messages.legacy import FolderAccessReply
from zipcast.protocol.messages.pools import EpochPoolReply
from zipcast.protocol.messages.registry import RegistrySnapshot
from zipcast.protocol.messages.results import ConsensusReply, ResultsReply

READERS = {
    "epoch-message": EpochMessage,
    "epoch-message-first": EpochMessage,
    "epoch-message-drafted": EpochMessage,
    "epoch-draft": EpochDraft,
    "miner-upload-reply": MinerUploadReply,
    "validator-upload-reply": ValidatorUploadReply,
    "validator-upload-reply-without-sts": ValidatorUploadReply,
    "validator-read-reply": ValidatorReadReply,
    "epoch-pool-reply": EpochPoolReply,
    "results-reply": ResultsReply,
    "consensus-reply": ConsensusReply,
    "folder-access-reply": FolderAccessReply,
    "healthcheck-reply": HealthcheckReply,
    "health-reply": HealthReply,
    "stats-reply": StatisticsReply,
    "registry-snapshot": RegistrySnapshot,
} | {name: type(request) for name, request in requests()}


async def test_every_document_is_its_golden_file_and_no_file_is_left_over() -> None:
    bodies = {name: document async for name, document in documents()}
    made = {f"{name}.json": readable(document) for name, document in bodies.items()}
    committed = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert sorted(made) == sorted(committed)
    for name, text in made.items():
        assert text == committed[name], name


@pytest.mark.parametrize("name", sorted(READERS))
def test_clients_read_a_golden_file_back_without_loss(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text()
    assert readable(READERS[name].model_validate_json(text).to_bytes()) == text


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("current-reply", {"success", "epochId", "nonce", "submissionDeadline", "zipcodes", "assignments"}),
        ("validator-upload-reply", {"success", "uploadUrl", "fields", "s3Credentials", "metadata"}),
        ("healthcheck-reply", {"status", "folder_structure", "services", "currentEpoch"}),
        ("folder-access-reply", {"success", "folder", "url", "fields", "list_url", "structure_info"}),
        ("validator-upload-reply-without-sts", {"success", "uploadUrl", "fields", "s3Credentials"}),
    ],
)
def test_the_keys_that_clients_in_the_field_read_are_there(name: str, keys: set[str]) -> None:
    assert keys <= golden(name).keys()


def test_the_current_reply_has_the_keys_of_the_contract_and_no_others() -> None:
    reply = golden("current-reply")
    assert list(reply) == [
        *("success", "epochId", "epochStart", "epochEnd", "nonce", "targetListings", "tolerancePercent"),
        *("submissionDeadline", "zipcodes", "assignments", "metadata", "proof"),
    ]
    assert set(reply["zipcodes"][0]) == {
        *("zipcode", "expectedListings", "state", "city", "county", "marketTier", "geographicRegion")
    }
    assert set(reply["metadata"]) == {
        *("totalExpectedListings", "zipcodeCount", "algorithmVersion", "seedCommitment")
    }
    assert reply["metadata"]["totalExpectedListings"] == sum(z["expectedListings"] for z in reply["zipcodes"])
    assert reply["submissionDeadline"] == reply["epochEnd"]


def test_the_proof_of_the_current_reply_is_the_text_that_was_signed() -> None:
    proof = golden("current-reply")["proof"]
    assert set(proof) == {"payload", "signer", "signature"}
    assert proof["payload"].encode() == epoch_message().to_bytes()


def test_an_upload_form_is_for_the_prefix_it_names_and_holds_every_required_value() -> None:
    miner, validator = golden("miner-upload-reply"), golden("validator-upload-reply")
    assert miner["fields"]["key"] == miner["prefix"] + "${filename}"
    assert miner["expiresAt"] <= golden("epoch-message")["submissionDeadline"]
    assert validator["fields"]["key"] == validator["metadata"]["folderPath"] + "${filename}"
    assert validator["s3Credentials"]["prefix"] == validator["metadata"]["folderPath"]
    for name in validator["uploadGuidelines"]["requiredMetadata"]:
        assert validator["fields"][f"x-amz-meta-{name}"]
    assert golden("validator-upload-reply-without-sts")["s3Credentials"] is None


def test_every_code_has_a_golden_body_with_the_fields_of_the_contract() -> None:
    bodies = golden("errors")
    assert set(bodies) == set(ErrorCode)
    for code, body in bodies.items():
        assert body["success"] is False
        assert body["error"] == code
        assert body["detail"] == body["message"]
        assert ("retryAfter" in body) == (body["code"] in {429, 503})


def test_every_time_in_every_document_is_utc_with_a_z() -> None:
    seen = 0
    for path in FOLDER.glob("*.json"):
        for text in strings(json.loads(path.read_text())):
            if is_time(text):
                seen += 1
                assert text.endswith("Z"), (path.name, text)
    assert seen > 10


def strings(document: Any) -> list[str]:
    if isinstance(document, str):
        return [document]
    parts = document.values() if isinstance(document, dict) else document
    return [text for part in parts for text in strings(part)] if isinstance(document, dict | list) else []


def is_time(text: str) -> bool:
    """Return whether the text is a date with a time of day. An epoch id is not, because of its dashes."""
    try:
        TypeAdapter(datetime).validate_strings(text)
    except ValueError:
        return False
    return "T" in text
