"""Tests every error code: its meaning, and the form in which it is sent."""

import json
from datetime import UTC, datetime

import pytest

from tests.support.fakes import START_AT
from zipcast.protocol.errors import ERRORS, ErrorCode, ServiceError
from zipcast.protocol.messages.access import MinerUploadRequest, ValidatorReadRequest
from zipcast.protocol.messages.base import error_body, first_fault, parse_error, stated_server_time

RETRYABLE = {code for code, meaning in ERRORS.items() if meaning.retryable}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_status_a_meaning_and_a_remedy(code: ErrorCode) -> None:
    meaning = ERRORS[code]
    assert 400 <= meaning.status <= 599
    for sentence in (meaning.meaning, meaning.remedy):
        assert sentence[0].isupper()
        assert sentence.endswith(".")


def test_the_table_holds_every_code_once_and_codes_are_plain_words() -> None:
    assert set(ERRORS) == set(ErrorCode)
    assert all(str(code).replace("_", "").isalpha() and str(code).islower() for code in ErrorCode)


def test_what_can_be_tried_again_is_exactly_what_the_contract_gives_retry_after() -> None:
    assert {code for code in ErrorCode if ERRORS[code].status in {429, 503}} == RETRYABLE
    assert ErrorCode.SERVICE_UNAVAILABLE in RETRYABLE


@pytest.mark.parametrize("code", ErrorCode)
def test_an_error_body_has_the_fields_of_the_contract(code: ErrorCode) -> None:
    body = error_body(ServiceError(code, "One sentence."))
    expected = {
        "success": False,
        "error": str(code),
        "message": "One sentence.",
        "code": ERRORS[code].status,
        "detail": "One sentence.",
    }
    assert body == expected | ({"retryAfter": 1} if code in RETRYABLE else {})


@pytest.mark.parametrize("code", ErrorCode)
def test_a_retry_is_offered_for_retryable_codes_alone(code: ErrorCode) -> None:
    error = ServiceError(code, "x", retry_after_seconds=5)
    assert error.retry_after_seconds == (5 if code in RETRYABLE else None)


@pytest.mark.parametrize("code", ErrorCode)
def test_the_time_is_told_to_a_stale_request_alone(code: ErrorCode) -> None:
    body = error_body(ServiceError(code, "x"), server_time=START_AT)
    if code is ErrorCode.STALE_REQUEST:
        assert body["serverTime"] == 1_795_320_000
    else:
        assert "serverTime" not in body


@pytest.mark.parametrize("code", ErrorCode)
def test_a_client_reads_back_the_error_that_was_sent(code: ErrorCode) -> None:
    sent = ServiceError(code, "One sentence.", retry_after_seconds=7)
    read = parse_error(json.dumps(error_body(sent)).encode())
    assert (read.code, read.message, read.status) == (sent.code, sent.message, sent.status)
    assert read.retry_after_seconds == sent.retry_after_seconds


@pytest.mark.parametrize("body", [{}, {"error": "later_code"}, {"error": None}, {"error": ["x"]}])
def test_an_error_of_a_later_version_is_read_as_a_fault(body: dict[str, object]) -> None:
    assert parse_error(json.dumps(body).encode()).code is ErrorCode.INTERNAL


def test_a_client_reads_the_servers_time_where_it_is_stated() -> None:
    stale = error_body(ServiceError(ErrorCode.STALE_REQUEST, "x"), server_time=START_AT)
    assert stated_server_time(json.dumps(stale).encode()) == datetime(2026, 11, 22, 4, tzinfo=UTC)
    assert stated_server_time(b"{}") is None


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (
            MinerUploadRequest,
            {"epochId": "hunter2" * 20},
            "epochId: String should have at most 64 characters.",
        ),
        (MinerUploadRequest, {"epoch_id": 7}, "epoch_id: Input should be a valid string."),
        (ValidatorReadRequest, {"minerHotkey": "x"}, "epochId: Field required."),
    ],
)
def test_a_fault_names_the_field_as_it_was_sent_and_its_rule_and_never_the_value(
    model, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match="validation error") as refused:
        model.model_validate(fields)
    fault = first_fault(refused.value)
    assert (fault.code, fault.message) == (ErrorCode.MALFORMED_REQUEST, message)
