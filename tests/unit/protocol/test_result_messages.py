"""Tests a validator's report: both spellings, ranges, and that the database can store everything that is
accepted."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.fakes import EPOCH_ID, MINER_HOTKEY, START_AT, STRANGER_HOTKEY, VALIDATOR_HOTKEY
from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.messages.pools import ShownSignal
from zipcast.protocol.messages.results import ConsensusReply, EpochResults, ResultsRequest
from zipcast.protocol.messages.status import StatusRequest

KEY = f"validators/{VALIDATOR_HOTKEY}/epoch={EPOCH_ID}/results.json"
REPORT: dict[str, Any] = {
    "epochId": EPOCH_ID,
    "startedAt": "2026-11-22T08:10:00",
    "durationSeconds": 600.5,
    "minersEvaluated": 12,
    "topMiners": [{"hotkey": MINER_HOTKEY, "score": 0.9}, {"hotkey": STRANGER_HOTKEY, "score": 0.5}],
    "listingsValidated": 400,
    "files": [{"key": KEY, "sizeBytes": 4096, "sha256": "ab" * 32}],
    "audit": [
        {
            "minerHotkey": MINER_HOTKEY,
            "zipcode": "19104",
            "type": "SPOT_CHECK",
            "result": "partial",
            "score": 0.5,
            "listingsChecked": 20,
            "issues": ["three of twenty sold in another year"],
        }
    ],
    "somethingNew": True,
}


def changed(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    report = copy.deepcopy(REPORT)
    inside: Any = report
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    return report


def snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {"".join(f"_{c.lower()}" if c.isupper() else c for c in k): snake(v) for k, v in value.items()}
    return [snake(one) for one in value] if isinstance(value, list) else value


def test_both_spellings_come_in_and_unknown_fields_are_ignored() -> None:
    read = ResultsRequest.model_validate(REPORT)
    assert ResultsRequest.model_validate(snake(REPORT)) == read
    assert read.audit[0].type == "spot_check"
    assert read.started_at is not None
    assert read.started_at.tzinfo is not None
    assert b'"minersEvaluated":12' in read.to_bytes()
    assert ResultsRequest.model_validate_json(read.to_bytes()) == read


def test_what_may_be_absent() -> None:
    least = {k: v for k, v in REPORT.items() if k not in {"startedAt", "files", "audit"}}
    read = ResultsRequest.model_validate(least)
    assert (read.started_at, read.files, read.audit) == (None, (), ())


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("durationSeconds",), -1, "durationSeconds"),
        (("durationSeconds",), float("nan"), "durationSeconds"),
        (("minersEvaluated",), -1, "minersEvaluated"),
        (("minersEvaluated",), 2**31, "minersEvaluated"),
        (("listingsValidated",), 2**31, "listingsValidated"),
        (("topMiners", 0, "hotkey"), MINER_HOTKEY[:-1], "topMiners.0.hotkey"),
        (("topMiners", 0, "score"), -0.1, "topMiners.0.score"),
        (("topMiners", 0, "score"), float("inf"), "topMiners.0.score"),
        (("topMiners", 0, "score"), 0.4, "topMiners must be sorted"),
        (("topMiners", 1, "hotkey"), MINER_HOTKEY, "each miner once"),
        (("topMiners",), [{"hotkey": MINER_HOTKEY, "score": 1}] * 4, "topMiners"),
        (("files", 0, "sizeBytes"), -1, "files.0.sizeBytes"),
        (("files", 0, "sha256"), "AB" * 32, "files.0.sha256"),
        (("files", 0, "key"), "", "files.0.key"),
        (("files", 0, "key"), KEY + "\0", "files.0.key"),
        (("files", 0, "key"), "é" * 513, "files.0.key"),
        (("files",), [REPORT["files"][0]] * 2, "each key once"),
        (("files",), [REPORT["files"][0]] * 101, "files"),
        (("audit", 0, "minerHotkey"), "x", "audit.0.minerHotkey"),
        (("audit", 0, "zipcode"), "1910", "audit.0.zipcode"),
        (("audit", 0, "type"), "deep", "audit.0.type"),
        (("audit", 0, "result"), "maybe", "audit.0.result"),
        (("audit", 0, "listingsChecked"), -1, "audit.0.listingsChecked"),
        (("audit", 0, "issues"), ["x"] * 21, "audit.0.issues"),
        (("audit", 0, "issues"), ["x" * 501], "audit.0.issues.0"),
        (("audit", 0, "issues"), ["a\0b"], "audit.0.issues.0"),
        (("audit", 0, "issues"), ["\ud800"], "audit.0.issues.0"),
    ],
)
def test_what_breaks_a_range_is_refused_by_name(
    path: tuple[str | int, ...], value: object, field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        ResultsRequest.model_validate(changed(path, value))
    fault = caught.value.errors(include_url=False)[0]
    assert field in ".".join(str(part) for part in fault["loc"]) + fault["msg"]


def test_pages_of_an_epoch_become_one() -> None:
    first = ConsensusReply(
        epoch_id=EPOCH_ID, revealed=True, consensus=None, reports=(), signals=(), next_offset=1
    )
    signal = ShownSignal(hotkey=MINER_HOTKEY, kind="honeypot_hit", details={}, computed_at=START_AT)
    last = first.model_copy(update={"next_offset": None, "signals": (signal,)})
    joined = EpochResults.of([first, last])
    assert (joined.revealed, joined.signals) == (True, (signal,))


@pytest.mark.parametrize(
    ("model", "field"),
    [(ResultsRequest, "audit"), (ResultsRequest, "files"), (StatusRequest, "zipcodesCompleted")],
)
def test_a_list_of_nothing_is_refused_at_its_first_entry(model: type[WireModel], field: str) -> None:
    """An error for each of 60,000 entries would take a second to make."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate({field: [{}] * 1000})
    within = [error for error in refused.value.errors() if error["loc"][0] == field]
    assert {error["loc"][1] for error in within} == {0}
