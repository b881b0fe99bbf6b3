"""Tests which JSON is accepted. JSON that two parsers could read differently is refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.strict_json import _twins, parse_object

texts = st.text('abé"\\\n{}', max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(texts, values, max_size=4))
def test_any_object_is_read_as_it_was_written(document: dict[str, object]) -> None:
    assert parse_object(json.dumps(document).encode()) == document
    assert parse_object(json.dumps(document, ensure_ascii=False).encode()) == document


def test_what_nests_as_deep_as_may_be_is_read() -> None:
    assert parse_object(b'{"a":' * 16 + b"1" + b"}" * 16)


def test_both_spellings_of_a_key_may_say_the_same() -> None:
    document = {"miner_hotkey": "a", "minerHotkey": "a", "_": 1, "__": 2}
    assert parse_object(json.dumps(document).encode()) == document


def test_names_that_no_field_has_are_not_looked_at() -> None:
    """It would take too long to look for the other spelling of countless invented names."""
    document = {"x": [{"is_it": 1, "isIt": True, "a" * 1_000 + "_": 1}]}
    assert parse_object(json.dumps(document).encode()) == document


def test_each_field_in_two_spellings_is_known() -> None:
    read = {"epoch_id", "miner_hotkey", "listings_scraped", "zipcodes_completed", "s3_upload_complete"}
    assert read <= _twins().keys()


def test_no_body_is_an_empty_object() -> None:
    assert parse_object(b"") == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a":1,"a":1}', "a key occurs twice"),
        (json.dumps({f"{n}_a": n for n in range(65)}).encode(), "an object has more than 64 keys"),
        (b'{"a":1,"\\u0061":2}', "a key occurs twice"),
        (b'{"x":[{"a":1,"b":2,"a":3}]}', "a key occurs twice"),
        (b'{"miner_hotkey":"a","minerHotkey":"b"}', "a key occurs in two spellings"),
        (b'{"epochId":null,"epoch_id":[]}', "a key occurs in two spellings"),
        (b'{"x":[{"listings_scraped":1,"listingsScraped":true}]}', "a key occurs in two spellings"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":Infinity}', "Infinity is not JSON"),
        (b'{"a":[-Infinity]}', "-Infinity is not JSON"),
        (b'{"a":1e999}', "a number is too large"),
        (b'{"a":[-1e999]}', "a number is too large"),
        (b"{", "it is not valid JSON"),
        (b"{}{}", "it is not valid JSON"),
        (b"{'a':1}", "it is not valid JSON"),
        (b'{"a":1,}', "it is not valid JSON"),
        (b'{"a":"\xff"}', "it is not valid JSON"),
        (b"\xef\xbb\xbf{}", "it is not valid JSON"),
        ('{"a":1}'.encode("utf-16"), "it is not valid JSON"),
        (b" ", "it is not valid JSON"),
        (b'{"a":' + b"1" * 5_000 + b"}", "it is not valid JSON"),
        (b'{"a":' * 100_000, "it is not valid JSON"),
        (b"[" * 100_000, "it is not valid JSON"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "deeper than 16"),
        (b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", "deeper than 16"),
    ],
    ids=lambda given: given[:24] if isinstance(given, str) else repr(given[:16]),
)
def test_each_refusal_names_the_rule_and_repeats_nothing_of_the_body(body: bytes, reason: str) -> None:
    with pytest.raises(ServiceError) as refused:
        parse_object(body)
    assert refused.value.code is ErrorCode.MALFORMED_REQUEST
    assert reason in refused.value.message
    assert len(refused.value.message) < 100
    assert not any(key in refused.value.message for key in ("miner_hotkey", "epochId", "isIt"))


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true", b"[{}]"])
def test_anything_but_an_object_is_refused(body: bytes) -> None:
    with pytest.raises(ServiceError, match="must be a JSON object"):
        parse_object(body)
